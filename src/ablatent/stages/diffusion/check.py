"""Whether a diffusion model can be built and trained, and its size."""

import torch

from ablatent.core.errors import ConfigError
from ablatent.core.instantiate import make
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.loss import DiffusionLoss
from ablatent.diffusion.parameterization import Parameterization
from ablatent.diffusion.timesteps import TimestepSampler
from ablatent.diffusion.weighting import Weighting
from ablatent.schedules.base import NoiseSchedule
from ablatent.stages.check_helpers import (
    check_weights_found,
    classes_of,
    explained,
    parameter_count,
    trial_device,
)
from ablatent.stages.first_stage.check import model_of
from ablatent.stages.kind_base import Config, Size
from ablatent.stages.models import blank_condition, dummy_inputs, make_network
from ablatent.stages.step_memory import EMA_BYTES, STATE_BYTES, pass_cost, without_numbers
from ablatent.stages.train import check_optimizer
from ablatent.training.ema import EMAs
from ablatent.training.settings import EMAOptions

LEARNING = ("schedule", "parameterization", "weighting", "timestep_sampler", "optimizer")


def check_network(config: Config) -> None:
    """Check the shapes from latents to the network's output, with the condition. Raises ConfigError."""
    size, learned = int(config["data"]["size"]), bool(config["diffusion"]["learned_variance"])
    classes, segments = classes_of(config)
    model = model_of(config)
    shape = model.latent_shape(size, size)
    with torch.device("meta"):
        setting = dummy_inputs(shape, size, classes, segments, model.image_channels)
        parts = explained("network", lambda: make_network(config, setting, learned))
    check_weights_found(config["conditioner"])
    with trial_device(parameter_count(*parts)), torch.no_grad():
        network, conditioner = explained("network", lambda: make_network(config, setting, learned))
        cond = explained("conditioner", lambda: blank_condition(conditioner, 2, setting))
        out = explained("network", lambda: network(torch.zeros(2, *shape), torch.zeros(2), cond))
    expected = (shape[0] * (2 if learned else 1), *shape[1:])
    if tuple(out.shape[1:]) != expected:
        raise ConfigError("network", f"an output of shape {expected}", tuple(out.shape[1:]))


def check_learning(config: Config) -> None:
    """Check that schedule, parameterization, weighting and loss fit together, and that there is such an optimiser.

    Raises ConfigError.
    """
    schedule = make(config["schedule"], NoiseSchedule)
    denoiser = Denoiser(torch.nn.Identity(), schedule, make(config["parameterization"], Parameterization))
    rho, vlb_weight = config["training"]["loss"], config["diffusion"]["vlb_weight"]
    explained("weighting", lambda: DiffusionLoss(denoiser, make(config["weighting"], Weighting), rho, vlb_weight))
    explained("optimizer", lambda: check_optimizer(config["optimizer"]))
    explained("training.ema", lambda: EMAs.of(EMAOptions(**config["training"]["ema"])))
    explained("timestep_sampler", lambda: make(config["timestep_sampler"], TimestepSampler, schedule=schedule))


def diffusion_sizes(config: Config) -> list[Size]:
    """The sizes of the network, and of the conditioner where it has parameters."""
    side, training = int(config["data"]["size"]), config["training"]
    batch_size, learned = int(training["batch_size"]), bool(config["diffusion"]["learned_variance"])
    model = model_of(config)
    shape = model.latent_shape(side, side)
    with torch.device("meta"):
        setting = dummy_inputs(shape, side, *classes_of(config), model.image_channels)
        network, conditioner = make_network(config, setting, learned)
        count, beside = parameter_count(network), parameter_count(conditioner)
        like = blank_condition(conditioner, 1, setting)
    with without_numbers(count, shape[1]):
        network, _ = make_network(config, setting, learned)

        def forward(n: int) -> torch.Tensor:
            out: torch.Tensor = network(torch.zeros(n, *shape), torch.zeros(n), like.of_ones(n))
            return out

        activations, flops = pass_cost(network, forward, training["precision"], batch_size)
    averages = 1 + len(training["ema"]["extra_decays"]) + len(training["ema"]["power_widths"])
    network_size = Size(
        kind="diffusion",
        part=type(network).__name__,
        parameters=count,
        state=(STATE_BYTES + EMA_BYTES * averages) * count,
        activations=activations,
        flops=flops,
        batch_size=batch_size,
        steps=training["steps"],
        preset_steps=config["preset"].get("training", {}).get("steps"),
    )
    if not beside:
        return [network_size]
    part = type(conditioner).__name__
    return [network_size, Size(kind="diffusion", part=part, parameters=beside, state=STATE_BYTES * beside)]
