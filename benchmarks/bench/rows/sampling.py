"""Sampling against diffusers' pipelines, with the same sampler, steps and weights."""

from typing import Any

import numpy as np
import torch

from ablatent.conditioning.none import NoConditioner
from ablatent.data.latents import LatentNormalizer
from ablatent.data.pixels import to_uint8
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.parameterization import Eps
from ablatent.first_stage.identity import IdentityFirstStage
from ablatent.samplers.base import Sampler
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.dpm_solver import DPMSolver
from ablatent.samplers.guidance import NoGuidance
from ablatent.schedules.linear import Linear
from ablatent.tasks.generate import Draws, Guided, Model, generate
from bench.equal_networks import our_network, their_network, unet_config
from bench.row import Bound, Case, Prepared, Row

SHAPE, T = (3, 32, 32), 1000
SAMPLERS: dict[str, type[Sampler]] = {"ddim": DDIM, "dpm_solver": DPMSolver}


def _count(case: Case) -> int:
    return 8 if case.quick else 64


def _config() -> dict[str, Any]:
    return unet_config(in_channels=3, out_channels=3, ch=32, ch_mult=[1, 2])


def _start(count: int) -> torch.Tensor:
    """The x_T that a pipeline draws by this generator."""
    return torch.randn((count, *SHAPE), generator=torch.Generator().manual_seed(0))


def ours(case: Case) -> Prepared:
    """`generate` of a model in pixel space, and its images as bytes."""
    network, count = our_network(_config()).to(case.device).eval(), _count(case)
    device = torch.device(case.device)
    channels = SHAPE[0]
    model = Model(
        first_stage=IdentityFirstStage(),
        normalizer=LatentNormalizer((0.0,) * channels, (1.0,) * channels),
        denoiser=Denoiser(network, Linear(T, 1e-4, 0.02, False), Eps()),
        conditioner=NoConditioner(),
        latent_shape=SHAPE,
        device=device,
    )
    sampler = SAMPLERS[case.options["sampler"]](steps=case.options["steps"])

    def images(x: torch.Tensor | None) -> torch.Tensor:
        draws = Draws(0, range(count), count, x=None if x is None else x.to(device))
        return torch.cat([model.decode(z) for _, z in generate(model, sampler, Guided(NoGuidance()), draws, {})])

    def call() -> None:
        to_uint8(images(None).cpu().numpy())

    def value() -> dict[str, np.ndarray]:
        drawn = images(_start(count)).clamp(-1, 1) / 2 + 0.5
        return {"images": drawn.permute(0, 2, 3, 1).cpu().numpy()}

    return Prepared(call, value=value, units=count)


def diffusers(case: Case) -> Prepared:
    """A pipeline of UNet2DModel and a scheduler: DDIMPipeline; for other schedulers DDPMPipeline, which takes them."""
    from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DPMSolverMultistepScheduler

    network, count, steps = their_network(_config(), SHAPE[1]).eval(), _count(case), case.options["steps"]
    network.register_to_config(sample_size=SHAPE[1])
    betas = {"num_train_timesteps": T, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
    if case.options["sampler"] == "ddim":
        scheduler = DDIMScheduler(**betas, clip_sample=False, timestep_spacing="trailing")
        pipeline: Any = DDIMPipeline(network, scheduler)
    else:
        scheduler = DPMSolverMultistepScheduler(
            **betas, timestep_spacing="trailing", final_sigmas_type="zero", lower_order_final=True
        )
        pipeline = DDPMPipeline(network, scheduler)
    pipeline.to(case.device)
    pipeline.set_progress_bar_config(disable=True)

    def images() -> np.ndarray:
        draw = torch.Generator().manual_seed(0)
        drawn = pipeline(batch_size=count, generator=draw, num_inference_steps=steps, output_type="np").images
        return np.asarray(drawn)

    def call() -> None:
        (images() * 255).round().astype(np.uint8)

    return Prepared(call, value=lambda: {"images": images()}, units=count)


ROW = Row(
    title="Sampling 64 images of 32 px against diffusers' pipelines: same sampler, steps and weights",
    sides={"ours": ours, "diffusers": diffusers},
    cases={
        "DDIM, 10 steps": {"sampler": "ddim", "steps": 10},
        "DPM-Solver++(2M), 10 steps": {"sampler": "dpm_solver", "steps": 10},
    },
    unit="images",
    agree=1e-3,
    bounds=(Bound("diffusers", time=0.85),),
    seconds=15,
    rounds=(3, 10),
    note="A UNet of 1.1M parameters in pixel space, all images in one batch; from noise to bytes. The images of one x_T"
    " must agree (diffusers' tables are float32).",
)
