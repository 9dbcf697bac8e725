"""Training a UNet with our recommended settings against diffusers as its example trains one."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ablatent.core.ranks import BatchShard
from ablatent.data.latents import LatentNormalizer, Latents
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.parameterization import Eps
from ablatent.schedules.linear import Linear
from ablatent.training.diffusion import DiffusionTraining, LatentBatches
from bench.equal_networks import our_network, their_network, unet_config
from bench.row import Bound, Case, Prepared, Row, compiled, in_bfloat16
from bench.training_loop import STEPS, TrainingInTurns, diffusion_trainee, how
from bench.unet_sides import SHAPE, SIZES

ROWS, T, EMA = 4096, 1000, 0.9999
BETAS = (1e-4, 0.02)


def _config(case: Case) -> dict[str, Any]:
    return unet_config(ch=case.options["ch"], ch_mult=[1, 2])


def _settings(case: Case) -> DiffusionTraining:
    return DiffusionTraining(
        steps=STEPS, batch_size=case.options["batch"], warmup_steps=0, decay="none", clip=1.0, loss="mse",
        ema={"decay": EMA, "warmup": True, "extra_decays": []}, snapshots=[], validate_every=STEPS,
        precision=case.options.get("precision", "32-true"),
    )  # fmt: skip


def _batches(settings: DiffusionTraining) -> LatentBatches:
    mean = np.random.default_rng(0).normal(size=(1, ROWS, *SHAPE)).astype(np.float32)
    channels = SHAPE[0]
    latents = Latents(mean, np.zeros_like(mean), LatentNormalizer((0.0,) * channels, (1.0,) * channels))
    return LatentBatches(latents, np.arange(ROWS), {}, settings.batch_size, 0)


def ours(case: Case) -> Prepared:
    """The loop of a diffusion training: in bfloat16 as it comes, in float32 as `runtime.compile=true` runs it."""
    settings = _settings(case)
    denoiser = Denoiser(our_network(_config(case)), Linear(T, *BETAS, False), Eps())
    trainee = diffusion_trainee(denoiser, settings)
    device = "gpu" if case.device == "cuda" else "cpu"
    training = TrainingInTurns(trainee, _batches(settings), case.scratch, device=device, **how(case))
    return Prepared(
        loop=training.run, value=lambda: {"loss": np.asarray(training.losses[:1])}, units=settings.batch_size
    )


def diffusers(case: Case) -> Prepared:
    """Eager, torch's AdamW as it comes, clipped gradients, EMAModel, a DataLoader over latents in memory."""
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel

    settings = _settings(case)
    batches = _batches(settings)
    network = their_network(_config(case), SHAPE[1]).to(case.device).train()
    scheduler = DDPMScheduler(num_train_timesteps=T, beta_start=BETAS[0], beta_end=BETAS[1], beta_schedule="linear")
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    average = EMAModel(network.parameters(), decay=EMA, use_ema_warmup=True)
    images = torch.from_numpy(batches.latents.mean[0])
    losses: list[float] = []

    def endless() -> Any:
        (first,) = batches(0, BatchShard())
        yield first["z"], first["eps"], (first["u"] * T).long()
        while True:
            for clean in torch.utils.data.DataLoader(images, batch_size=settings.batch_size, shuffle=True):
                yield clean, torch.randn(clean.shape), torch.randint(0, T, (len(clean),))

    source = endless()

    def call() -> None:
        clean, noise, t = (part.to(case.device) for part in next(source))
        loss = F.mse_loss(network(scheduler.add_noise(clean, noise, t), t).sample, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(network.parameters())
        losses.append(loss.detach().item())

    return Prepared(call, value=lambda: {"loss": np.asarray(losses[:1])}, units=settings.batch_size)


ROW = Row(
    title="Training a UNet: our recommended settings against diffusers as its example runs it",
    sides={"ours": ours, "diffusers": diffusers},
    cases={**compiled(in_bfloat16(SIZES)), **in_bfloat16(SIZES), **SIZES},
    unit="images",
    agree=1e-4,
    agree_in=dict.fromkeys([*compiled(in_bfloat16(SIZES)), *in_bfloat16(SIZES)], 1e-2),
    bounds=(Bound("diffusers", time=0.85),),
    seconds=8,
    warmup=4,
    note="Both with an average of the weights. Ours: the whole loop of a training, batches and logs included; compiled"
    " (runtime.compile=true, which is not counted), and where the processor has bfloat16 units with"
    " runtime.precision=bf16-mixed; bf16 alone: not compiled. diffusers: eager AdamW, clipped gradients and"
    " EMAModel, as in its train_unconditional.py, which reads the loss at each step. The first losses must agree.",
)
