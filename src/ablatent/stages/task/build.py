"""task: a trained model put to a use that ends in a figure and numbers of its own, not in scored samples."""

from typing import Any

import numpy as np
import torch

from ablatent.core.files import write_json
from ablatent.core.images import labelled, save_gif, save_png
from ablatent.core.instantiate import make
from ablatent.core.progress import track
from ablatent.evaluation.scores import Score, versions
from ablatent.samplers.base import Sampler
from ablatent.stages.context import Context
from ablatent.stages.extractor import extractor_of
from ablatent.stages.generator import load_generator, validation_source
from ablatent.stages.kept_weights import fit_summary
from ablatent.stages.models import source_of
from ablatent.stages.scores.build import as_json, cached_features
from ablatent.tasks.base import FigureTask, Restoration, TaskContext

RESTORED = ("restored.npy", "truth.npy", "baseline.npy")


@torch.no_grad()
def build(ctx: Context) -> None:
    """figure.png, images.npy (n, H, W, C) uint8 (row by row of the figure), animation.gif where the task has frames,
    scores.json, summary.json; of a task that restores images, all of them, the true ones, and a baseline:
    restored.npy, truth.npy, baseline.npy, (n, H, W, C) uint8."""
    config = ctx.config
    task: FigureTask = make(config["task"], FigureTask)
    sampler: Sampler = make(config["sampler"], Sampler)
    seed, extractor = int(config["seed"]), extractor_of(ctx)
    generator = load_generator(ctx.inputs, config, lambda needs: validation_source(ctx, needs))
    model, size = generator.model, ctx.compute.batch_size
    prepared = ctx.images()
    rows = prepared.indices("validation")
    source = generator.validation_source
    if task.needs_images or source.n:
        source = source_of(ctx, prepared).rows(rows)

    with track(ctx.title, task.image_steps(sampler), "image steps") as bar:
        draw = generator.drawing(seed, size, bar, ctx.blocks)

        def features(drawn: np.ndarray) -> np.ndarray:
            return cached_features(ctx, extractor, drawn, "images")

        context = TaskContext(
            model=model,
            sampler=sampler,
            seed=seed,
            draw=draw,
            features=features,
            validation_source=source,
            conditions_of=generator.source,
            max_conditions=generator.max_conditions,
        )
        result = task.run(context)
    np.save(ctx.work.files / "images.npy", result.images)
    scale = max(1, 64 // result.images.shape[1])
    save_png(
        ctx.work.files / "figure.png",
        labelled(result.images, result.columns, result.rows, scale),
        {"stage": ctx.stage.key},
    )
    if result.frames:
        save_gif(ctx.work.files / "animation.gif", result.frames)
    protocol = {"measure": result.note, **extractor.protocol(), "versions": versions()}
    if result.restoration is not None:
        protocol["degradation"] = result.restoration.degradation
    scores = {name: _score(task, name, value, protocol, result.restoration) for name, value in result.scores.items()}
    write_json(ctx.work.files / "scores.json", {"metrics": as_json(scores)})
    summary: dict[str, Any] = {"columns": result.columns, "rows": result.rows, "note": result.note}
    summary |= fit_summary(ctx.input("diffusion").path, config)
    if (restoration := result.restoration) is not None:
        for name, images in zip(RESTORED, (restoration.restored, restoration.truth, restoration.baseline), strict=True):
            np.save(ctx.work.files / name, images)
        summary |= {
            "baseline": restoration.baseline_name,
            "baseline_label": restoration.baseline_label,
            "samples_per_image": restoration.samples_per_image,
            "degradation": restoration.degradation,
        }
    write_json(ctx.work.files / "summary.json", summary)


def _score(
    task: FigureTask, name: str, value: float, protocol: dict[str, Any], restoration: Restoration | None
) -> Score:
    """As the task declares it in `displays`; the score of its baseline beside its own; others under their name."""
    plain = name if restoration is None else name.removesuffix(f"_of_{restoration.baseline_name}")
    score = Score(value, None, protocol, **{"label": plain, "better": None, **task.displays.get(plain, {})})
    return score if plain == name or restoration is None else score.yardstick(plain, restoration.baseline_label)
