"""task: a trained model put to a use that ends in a figure and numbers of its own, not in scored samples."""

from typing import Any

import numpy as np
import torch

from ablatent.core.files import write_json
from ablatent.core.images import labelled, save_gif, save_png
from ablatent.core.progress import track
from ablatent.evaluation.scores import Score, versions
from ablatent.samplers.base import Sampler
from ablatent.stages.context import Context
from ablatent.stages.models import source_of
from ablatent.stages.objects import make
from ablatent.stages.samples.build import load_generator
from ablatent.stages.scores.build import as_json, cached_features
from ablatent.tasks.base import Bench, Task

RESTORED = ("restored.npy", "truth.npy", "baseline.npy")


@torch.no_grad()
def build(ctx: Context) -> None:
    """figure.png, images.npy (n, H, W, 3) uint8 (row by row of the figure), animation.gif where the task has frames,
    scores.json, summary.json; of a task that restores images, all of them, the true ones, and a baseline:
    restored.npy, truth.npy, baseline.npy, (n, H, W, 3) uint8."""
    config = ctx.config
    task: Task = make(config["task"])
    sampler: Sampler = make(config["sampler"])
    seed, extractor = int(config["seed"]), make(config["extractor"])
    generator = load_generator(ctx)
    model, size = generator.model, ctx.compute.batch_size
    prepared = ctx.images()
    rows = prepared.indices("validation")
    validation_source = generator.validation_source
    if task.needs_images or validation_source.n:
        validation_source = source_of(ctx, prepared).rows(rows)

    with track(ctx.title, task.image_steps(sampler), "image steps") as bar:
        draw = generator.drawing(seed, size, bar)

        def features(drawn: np.ndarray) -> np.ndarray:
            return cached_features(ctx, extractor, drawn, "images")

        bench = Bench(
            model, sampler, seed, draw, features, validation_source, generator.source, most=generator.max_conditions
        )
        outcome = task.run(bench)
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
    if outcome.restored is not None:
        protocol["degradation"] = outcome.restored.lost
    scores = {name: Score(value, None, protocol) for name, value in outcome.numbers.items()}
    write_json(ctx.work.files / "scores.json", {"metrics": as_json(scores)})
    summary: dict[str, Any] = {"columns": outcome.columns, "rows": outcome.rows, "note": outcome.note}
    if (restored := outcome.restored) is not None:
        for name, images in zip(RESTORED, (restored.drawn, restored.truth, restored.baseline), strict=True):
            np.save(ctx.work.files / name, images)
        summary |= {
            "baseline": restored.baseline_name,
            "samples_per_image": restored.each,
            "degradation": restored.lost,
        }
    write_json(ctx.work.files / "summary.json", summary)
