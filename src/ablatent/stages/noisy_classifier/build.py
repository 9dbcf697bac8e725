"""noisy_classifier: latents and labels → a classifier of noisy latents, for guidance=classifier."""

import torch

from ablatent.core.errors import DataError
from ablatent.core.files import write_json
from ablatent.data.latents import Latents
from ablatent.stages.context import Context
from ablatent.stages.noisy_classifier.load import make_logits
from ablatent.stages.train import optimizer_factory, save_weights, seed_initial_weights, train
from ablatent.training.batches import Batch
from ablatent.training.diffusion import LatentBatches
from ablatent.training.noisy_classifier import PARTS, ClassifierTrainee, ClassifierTraining
from ablatent.training.sharded import gathered

VALIDATION_ROWS = 256


def build(ctx: Context) -> None:
    """Write model.safetensors, curves.csv, summary.json: accuracy on held-out latents, overall and by noise level.

    Raises DataError for data without labels.
    """
    config = ctx.config
    train_config = ClassifierTraining(**config["training"])
    seed = int(config["seed"])
    latents, images, annotations = Latents.load(ctx.input("latents").path), ctx.images(), ctx.annotations()
    if annotations.labels is None:
        raise DataError("guidance: expected data with class labels for the classifier of noisy latents; got none.")
    classes = len(annotations.classes)
    seed_initial_weights(seed)
    logits = make_logits(config, latents.shape[0], classes)
    fields = {"label": annotations.labels}
    batches = LatentBatches(latents, images.indices("train"), fields, train_config.batch_size, seed)
    validation = at_every_noise_level(batches.validation(images.indices("validation")[:VALIDATION_ROWS], PARTS))
    trainee = ClassifierTrainee(logits, train_config, seed, optimizer_factory(config["optimizer"]), validation)
    train(ctx, trainee, batches)
    state = gathered(logits.network.state_dict())
    if ctx.rank:
        return
    ctx.work.check()
    save_weights(ctx, state)
    write_json(
        ctx.work.files / "summary.json",
        {
            "parameters": sum(p.numel() for p in logits.network.parameters()),
            "steps": train_config.steps,
            "classes": classes,
            "class_names": list(annotations.classes),
            "chance": 1 / classes,
            "validation": trainee.scores,
        },
    )


def at_every_noise_level(batches: list[Batch]) -> list[Batch]:
    """The same rows in each batch, with times such that a row falls once into each of len(batches) equal parts.

    So the accuracies of two noise levels differ by the noise alone, not by the images they were measured on. batches:
    with "z" (n, c, h, w); "u" (n,) in [0, 1) is added.
    """
    for k, batch in enumerate(batches):
        n = len(batch["z"])
        place = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        batch["u"] = (place + k / len(batches)) % 1.0
    return batches
