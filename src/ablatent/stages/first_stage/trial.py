"""The training of a first stage on made-up images."""

import numpy as np

from ablatent.core.instantiate import make
from ablatent.core.rng import stream
from ablatent.first_stage.base import FirstStage
from ablatent.first_stage.losses import AutoencoderLoss
from ablatent.stages.kind_base import Config
from ablatent.stages.stored import make_first_stage
from ablatent.stages.trial import TrialTraining
from ablatent.training.first_stage import FirstStageTrainee, FirstStageTraining, ImageBatches


def first_stage_trial(config: Config) -> TrialTraining | None:
    """Of a job: images are noise, and the networks of the loss are the real ones. None for a first stage that is not
    trained."""
    node, side = config["first_stage"], int(config["data"]["size"])
    model: FirstStage = make_first_stage(node)
    if not model.trainable or "training" not in node:
        return None
    train_config, seed = FirstStageTraining(**node["training"]), int(node["seed"])
    shape = (2 * train_config.batch_size, side, side, model.image_channels)
    pixels = stream(seed, "made-up images").integers(256, size=shape, dtype=np.uint8)
    batches = ImageBatches(pixels, np.arange(len(pixels)), model.latent_shape(side, side), train_config, seed)
    loss = make(node["loss"], AutoencoderLoss)
    trainee = FirstStageTrainee(model, loss, train_config, seed, pixels)
    return TrialTraining(trainee, batches, _phases(loss, train_config.steps), train_config.precision)


def _phases(loss: AutoencoderLoss, steps: int) -> list[tuple[int, int]]:
    """(first step, number): before the critic trains, before it counts, and from there on."""
    begins = [0]
    if loss.disc_start is not None and loss.disc_weight > 0:
        begins += [loss.disc_start - loss.disc_warmup, loss.disc_start]
    firsts = sorted({min(max(begin, 0), steps) for begin in begins} - {steps})
    return [(first, after - first) for first, after in zip(firsts, [*firsts[1:], steps], strict=True)]
