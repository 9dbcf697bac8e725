"""Whether a first stage can be built, and its size."""

import json
from functools import lru_cache

import torch

from ablatent.core.errors import ConfigError
from ablatent.core.instantiate import make
from ablatent.core.progress import warn_once
from ablatent.core.values import without
from ablatent.first_stage.base import FirstStage, Reconstruction
from ablatent.first_stage.losses import AutoencoderLoss
from ablatent.first_stage.perceptual import Perceptual
from ablatent.stages.check_helpers import check_weights_found, construct, explained, parameter_count
from ablatent.stages.kind_base import Config, Size
from ablatent.stages.step_memory import STATE_BYTES, pass_cost, without_numbers
from ablatent.stages.stored import make_first_stage


def model_of(config: Config) -> FirstStage:
    """The model of a job's first stage on the meta device, with errors that name `first_stage`.

    Several checks ask for the shapes of the same one, which nothing may change.
    """
    return _model_of(json.dumps(config["first_stage"], sort_keys=True))


@lru_cache(maxsize=64)
def _model_of(node: str) -> FirstStage:
    with torch.device("meta"):
        model: FirstStage = explained("first_stage", lambda: make_first_stage(json.loads(node)))
    return model


def check_first_stage(config: Config) -> None:
    """Check the shape of its latents, its loss, and the weights that this needs. Raises ConfigError."""
    node, size = config["first_stage"], int(config["data"]["size"])
    model = model_of(config)
    model.latent_shape(size, size)
    channels = int(config["data"].get("channels", 3))
    if model.image_channels != channels:
        expected = f"{model.image_channels}, as the first stage has"
        raise ConfigError("data.channels", expected, channels, "Or choose first_stage=kl, vq or identity.")
    check_weights_found(node)
    if model.trainable and "loss" in node:  # imported weights come without
        if not model.regularized and (weight := node["loss"].get("regularizer_weight")):
            expected = "0: this first stage has no term that it would weigh"
            raise ConfigError("first_stage.loss.regularizer_weight", expected, weight)
        loss: AutoencoderLoss = explained("first_stage.loss", lambda: _loss(node["loss"]))
        steps = int(node["training"]["steps"])
        if loss.disc_start is not None and loss.disc_weight > 0 and not loss.counts(steps - 1):
            start = f"first_stage.loss.disc_start={loss.disc_start}"
            warn_once(f"The critic does not count: first_stage.training.steps={steps} end before {start}.")


def _loss(node: Config) -> AutoencoderLoss:
    """The loss of a node; its perceptual distance has shapes alone, since `check_perceptual` reads the weights."""
    if node.get("perceptual") is None:
        return make(node, AutoencoderLoss)
    with torch.device("meta"):
        perceptual = make(node["perceptual"], Perceptual)
    return make(without(node, "perceptual"), AutoencoderLoss, perceptual=perceptual)


def check_perceptual(node: Config) -> None:
    """Check a perceptual distance and that its weights are those that it names. Raises ConfigError."""
    construct("first_stage.loss.perceptual", node, Perceptual)


def first_stage_size(config: Config) -> Size:
    """The size of the autoencoder with its codebook, without the networks of its loss, which a step needs besides."""
    node = config["first_stage"]
    side, name = int(config["data"]["size"]), str(node["_target_"]).rsplit(".", 1)[-1]
    model = model_of(config)
    count, latent = parameter_count(model), model.latent_shape(side, side)
    if not model.trainable or "training" not in node:  # of the store, or imported: nothing is trained
        return Size(kind="first_stage", part=name, parameters=count)
    training = node["training"]
    batch_size = int(training["batch_size"])
    with without_numbers(count, side):
        model = make_first_stage(node).eval()

        def forward(n: int) -> Reconstruction:
            rec: Reconstruction = model(torch.zeros(n, model.image_channels, side, side), torch.zeros(n, *latent))
            return rec

        activations, flops = pass_cost(model, forward, training["precision"], batch_size)
    return Size(
        kind="first_stage",
        part=name,
        parameters=count,
        state=STATE_BYTES * count,
        activations=activations,
        flops=flops,
        batch_size=batch_size,
        steps=training["steps"],
        preset_steps=config["preset"].get("first_stage", {}).get("steps"),
    )
