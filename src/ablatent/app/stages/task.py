"""task: a trained model put to a use that ends in a figure and numbers of its own, not in scored samples."""

import numpy as np
import torch

from ablatent.app.context import Context
from ablatent.app.models import source_of
from ablatent.app.objects import make
from ablatent.app.stages.samples import load_generator
from ablatent.app.stages.scores import as_json, cached_features
from ablatent.core.files import write_json
from ablatent.core.images import labelled, save_gif, save_png
from ablatent.core.progress import track
from ablatent.evaluation.features import extract
from ablatent.evaluation.reconstruction import reconstruction_scores
from ablatent.evaluation.scores import Score, score_features, versions
from ablatent.samplers.base import Sampler
from ablatent.tasks.base import Bench, Restored, Task

FEWEST = 50
"""From so many pictures on, restored ones are also compared as a set (FID and the like)."""


@torch.no_grad()
def build(ctx: Context) -> None:
    """figure.png, images.npy (n, H, W, 3) uint8 (row by row of the figure), animation.gif where the task has frames,
    restored.npy (n, H, W, 3) uint8, all pictures of a task that restores some; scores.json, summary.json."""
    config = ctx.config
    task: Task = make(config["task"])
    sampler: Sampler = make(config["sampler"])
    seed, extractor = int(config["seed"]), make(config["extractor"])
    generator = load_generator(ctx)
    model, size = generator.model, ctx.compute.batch_size
    prepared = ctx.images()
    rows = prepared.indices("validation")
    known = source_of(ctx, prepared).rows(rows) if task.needs_images or generator.known.n else generator.known

    with track(ctx.title, task.image_steps(sampler), "image steps") as bar:
        draw = generator.drawing(seed, size, bar)

        def features(drawn: np.ndarray) -> np.ndarray:
            return extract(extractor, drawn, ctx.device, size, f"{ctx.title}: features")

        outcome = task.run(Bench(model, sampler, seed, draw, features, known, generator.source))
    np.save(ctx.work.files / "images.npy", outcome.images)
    scale = max(1, 64 // outcome.images.shape[1])
    save_png(
        ctx.work.files / "figure.png",
        labelled(outcome.images, outcome.columns, outcome.rows, scale),
        {"stage": ctx.stage.key},
    )
    if outcome.frames:
        save_gif(ctx.work.files / "animation.gif", outcome.frames)
    protocol = {"measure": outcome.note, **extractor.protocol(), "versions": versions()}
    scores = {name: Score(value, None, protocol) for name, value in outcome.numbers.items()}
    if outcome.restored is not None:
        np.save(ctx.work.files / "restored.npy", outcome.restored.drawn)
        scores |= _against_truth(ctx, outcome.restored)
    write_json(ctx.work.files / "scores.json", {"metrics": as_json(scores)})
    write_json(
        ctx.work.files / "summary.json", {"columns": outcome.columns, "rows": outcome.rows, "note": outcome.note}
    )


def _against_truth(ctx: Context, restored: Restored) -> dict[str, Score]:
    """PSNR, SSIM, perceptual distance, and of enough pictures the metrics of sets, of restored pictures and of their
    baseline; the real set is the pictures themselves."""
    config = ctx.config
    extractor, perceptual = make(config["extractor"]), make(config["perceptual"])
    metrics = {name: make(metric) for name, metric in config["metrics"].items()}
    metrics = {name: metric for name, metric in metrics.items() if metric.against != "captions"}
    scores: dict[str, Score] = {}
    for images, suffix in ((restored.drawn, ""), (restored.baseline, f"_of_{restored.baseline_name}")):
        found = reconstruction_scores(restored.truth, images, perceptual, ctx.device)
        if len(images) >= FEWEST:
            found |= score_features(
                metrics,
                extractor,
                lambda used, images=images: cached_features(ctx, used, images, "restored pictures"),  # type: ignore[misc]
                lambda used: cached_features(ctx, used, restored.truth, "true pictures"),
            )
        scores |= {name + suffix: score for name, score in found.items()}
    return scores
