"""Trained models from the store, and untrained ones from configurations."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ablatent.conditioning.base import Conditioner, Setting
from ablatent.conditioning.none import NoConditioner
from ablatent.conditioning.several import Several
from ablatent.conditioning.source import Source, blank
from ablatent.core.errors import ConfigError
from ablatent.core.instantiate import make
from ablatent.core.rng import stream
from ablatent.core.targets import class_of
from ablatent.core.types import Cond
from ablatent.data.base import Annotations
from ablatent.data.latents import LatentNormalizer
from ablatent.data.prepared import Images
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.parameterization import Parameterization
from ablatent.first_stage.base import FirstStage
from ablatent.schedules.base import NoiseSchedule
from ablatent.stages.context import Context, StageInputs
from ablatent.stages.kept_weights import WeightsChoice, load_weights
from ablatent.stages.stored import make_first_stage, stored_config
from ablatent.store.artifacts import Artifact
from ablatent.tasks.generate import Model

IMPORTED_SIZE = 256
"""Side in pixels of the images of released models where neither `size` nor the imported file says it."""


def load_first_stage(artifact: Artifact, device: torch.device) -> FirstStage:
    """The first stage of an artifact, in evaluation mode, frozen, float32."""
    from safetensors.torch import load_file

    model: FirstStage = make_first_stage(stored_config(artifact))
    if model.state_dict():
        model.load_state_dict(load_file(str(artifact.path / "model.safetensors")))
    return model.to(device).eval().requires_grad_(False)


def make_conditioner(config: Mapping[str, Any], setting: Setting) -> Conditioner:
    """The conditioner of a node, with the arguments that follow from its surroundings."""
    if "parts" in config:
        return Several({name: make_conditioner(part, setting) for name, part in config["parts"].items()})
    filled = {name: getattr(setting, name) for name in class_of(config).filled}
    return make(config, Conditioner, **filled)


def make_network(config: Mapping[str, Any], setting: Setting, learned_variance: bool) -> tuple[nn.Module, Conditioner]:
    """(network, conditioner) of a diffusion node, with fresh weights, in the shapes that follow from the setting."""
    conditioner = make_conditioner(config["conditioner"], setting)
    latent_channels = setting.latent_shape[0]
    network = make(
        config["network"],
        nn.Module,
        in_channels=latent_channels,
        out_channels=latent_channels * (2 if learned_variance else 1),
        context_dim=conditioner.context_dim,
        vector_dim=conditioner.vector_dim,
        spatial_channels=conditioner.spatial_channels,
    )
    return network, conditioner


def make_denoiser(config: Mapping[str, Any], setting: Setting) -> tuple[Denoiser, Conditioner]:
    """(denoiser, conditioner) of a diffusion node, with fresh weights."""
    learned = bool(config["learned_variance"])
    network, conditioner = make_network(config, setting, learned)
    return _denoiser(network, config, learned), conditioner


def _denoiser(network: nn.Module, config: Mapping[str, Any], learned_variance: bool) -> Denoiser:
    parameterization = make(config["parameterization"], Parameterization)
    return Denoiser(network, make(config["schedule"], NoiseSchedule), parameterization, learned_variance)


def dummy_inputs(
    latent_shape: tuple[int, int, int], size: int, classes: int = 0, segments: int = 0, channels: int = 3
) -> Setting:
    """A setting whose first stage and other pretrained encoders give zeros: to try shapes out.

    latent_shape: (c, h, w); size: side of the images in pixels; channels: of the images.
    """
    depth, rows, columns = latent_shape

    def encode(x: Tensor) -> Tensor:
        return x.new_zeros(len(x), depth, x.shape[2] * rows // size, x.shape[3] * columns // size)

    return Setting(classes, segments, size, latent_shape, encode, False, channels)


def blank_condition(conditioner: Conditioner, n: int, setting: Setting, canvas: tuple[int, int] | None = None) -> Cond:
    """The condition of n images with empty annotations; the conditioner is on the default device.

    canvas: (height, width) of the images, None for the setting's.
    """
    canvas = canvas or (setting.size, setting.size)
    source = blank(n, canvas, setting.classes, setting.segments, conditioner.needs, setting.channels)
    rows = {**conditioner.rows(source), "flipped": np.zeros(n, dtype=bool)}
    drawn = conditioner.draw(rows, [stream(0, "blank", i) for i in range(n)])
    device = torch.get_default_device()
    return conditioner.embed({name: torch.from_numpy(np.asarray(v)).to(device) for name, v in drawn.items()})


def setting_of(
    first_stage: FirstStage,
    normalizer: LatentNormalizer,
    latent_shape: tuple[int, int, int],
    summary: Mapping[str, Any],
) -> Setting:
    """The setting of the conditioner of a trained or untrained model. summary: with "classes" and "segments"."""
    device = next((p.device for p in first_stage.parameters()), torch.device("cpu"))

    @torch.no_grad()
    def encode(x: Tensor) -> Tensor:
        return normalizer.normalize(first_stage.moments(x.to(device)).mean)

    size = latent_shape[1] * first_stage.downsample
    classes, segments = int(summary["classes"]), int(summary.get("segments", 0))
    return Setting(classes, segments, size, latent_shape, encode, channels=first_stage.image_channels)


def source_of(ctx: Context, images: Images) -> Source:
    """All images of a stage, with their annotations where the stage reads some."""
    annotations = ctx.annotations() if "annotations" in ctx.stage.digests else Annotations()
    embeddings = ctx.input("embeddings").path if "embeddings" in ctx.stage.inputs else None
    return Source(len(images), annotations, images.pixels, embeddings)


def load_model(inputs: StageInputs, choice: WeightsChoice) -> Model:
    """A trained model, by the roles first_stage, latents and diffusion. Raises ConfigError for weights not kept."""
    diffusion, latents = inputs.open("diffusion"), inputs.open("latents")
    first_stage = load_first_stage(inputs.open("first_stage"), inputs.device)
    summary = diffusion.json("summary.json")
    normalizer = LatentNormalizer.load(latents.path / "normalizer.json")
    shape: tuple[int, int, int] = tuple(latents.json("summary.json")["shape"])
    setting = setting_of(first_stage, normalizer, shape, summary)
    denoiser, conditioner = make_denoiser(stored_config(diffusion), setting)
    _give_weights(denoiser, conditioner, load_weights(diffusion.path, choice), inputs.device)
    return Model(
        first_stage=first_stage,
        normalizer=normalizer,
        denoiser=denoiser,
        conditioner=conditioner,
        latent_shape=shape,
        device=inputs.device,
    )


def _give_weights(
    denoiser: Denoiser, conditioner: Conditioner, state: Mapping[str, Tensor], device: torch.device
) -> None:
    """Load weights into both, and put them into evaluation mode, frozen, on the device."""
    for name, module in (("network.", denoiser.network), ("conditioner.", conditioner)):
        module.load_state_dict({k.removeprefix(name): v for k, v in state.items() if k.startswith(name)})
    for whole in (denoiser, conditioner):
        whole.to(device).eval().requires_grad_(False)


def load_imported(inputs: StageInputs, weights: str, size: int | None) -> Model:
    """An imported network as a model, by the roles imported and first_stage.

    size: side of its images in pixels; None: as its file has it, else IMPORTED_SIZE. weights: ema or raw; where the
    file has one kind, that one. Raises ConfigError for a network whose condition was not imported.
    """
    imported = inputs.open("imported")
    first_stage, config = load_first_stage(inputs.open("first_stage"), inputs.device), stored_config(imported)
    network, channels = config["network"], first_stage.latent_channels
    if network["in_channels"] != channels:
        raise ConfigError("model", f"a network of {channels} latent channels", network["in_channels"])
    conditioner: Conditioner = make(config["conditioner"], Conditioner) if config["conditioner"] else NoConditioner()
    for part in ("context_dim", "vector_dim", "spatial_channels"):
        if (network[part] or None) != (getattr(conditioner, part) or None):
            do = "Its condition was not in the file. Models of classes, of latent-diffusion's own text transformer, "
            do += "or without a condition can be sampled."
            raise ConfigError("model", "an imported network with its conditioner", f"{part}={network[part]}", do)
    learned = bool(config["learned_variance"])
    denoiser = _denoiser(make(network, nn.Module), config, learned)
    there = imported.json("summary.json")["weights"]
    choice = WeightsChoice(weights if len(there) > 1 else there[0], "last")
    _give_weights(denoiser, conditioner, load_weights(imported.path, choice), inputs.device)
    normalizer = LatentNormalizer((0.0,) * channels, (1.0 / config["scale_factor"],) * channels)
    side = size or (config.get("latent_size") or 0) * first_stage.downsample or IMPORTED_SIZE
    return Model(
        first_stage=first_stage,
        normalizer=normalizer,
        denoiser=denoiser,
        conditioner=conditioner,
        latent_shape=first_stage.latent_shape(side, side),
        device=inputs.device,
    )
