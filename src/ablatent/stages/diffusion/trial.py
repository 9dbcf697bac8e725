"""The training of a diffusion model on made-up latents."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ablatent.conditioning.source import blank
from ablatent.data.latents import LatentNormalizer, Latents
from ablatent.stages.check_helpers import classes_of
from ablatent.stages.diffusion.build import make_trainee
from ablatent.stages.first_stage.check import model_of
from ablatent.stages.kind_base import Config
from ablatent.stages.models import dummy_inputs, make_denoiser
from ablatent.stages.trial import TrialTraining
from ablatent.training.diffusion import DiffusionTraining, LatentBatches


def diffusion_trial(config: Config, options: Mapping[str, Any]) -> TrialTraining:
    """Of a job and its diffusion stage's options: latents are zeros with deviation one, conditions those of white
    images with empty annotations, and pretrained encoders of images give zeros at once."""
    train_config, seed = DiffusionTraining(**options["training"]), int(options["seed"])
    side, count = int(config["data"]["size"]), train_config.batch_size
    model, (classes, segments) = model_of(config), classes_of(config)
    shape = model.latent_shape(side, side)
    setting = dummy_inputs(shape, side, classes, segments, model.image_channels)
    denoiser, conditioner = make_denoiser(options, setting)
    source = blank(count, (side, side), classes, segments, conditioner.needs, model.image_channels)
    normalizer = LatentNormalizer((0.0,) * shape[0], (1.0,) * shape[0])
    zeros = np.zeros((1, count, *shape), dtype=np.float32)
    latents = Latents(zeros, np.ones_like(zeros), normalizer)
    batches = LatentBatches(latents, np.arange(count), conditioner.rows(source), count, seed, conditioner)
    trainee = make_trainee(options, train_config, denoiser, conditioner, [], lambda: np.zeros((1, 1, 3), np.uint8))
    return TrialTraining(trainee, batches, [(0, train_config.steps)], train_config.precision)
