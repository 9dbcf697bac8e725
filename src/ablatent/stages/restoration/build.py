"""restoration: images that a task restored, against the true ones."""

from dataclasses import replace
from typing import Any

import numpy as np

from ablatent.core.files import write_json
from ablatent.core.instantiate import make
from ablatent.evaluation.reconstruction import reconstruction_scores
from ablatent.evaluation.scores import Metric, Score, score_features
from ablatent.first_stage.perceptual import Perceptual
from ablatent.stages.context import Context
from ablatent.stages.extractor import extractor_of
from ablatent.stages.kept import make_kept
from ablatent.stages.scores.build import as_json, cached_features
from ablatent.stages.task.build import RESTORED

MIN_SET = 50
"""From so many images on they are also compared as a set (FID and the like)."""


def build(ctx: Context) -> None:
    """scores.json: PSNR, SSIM, perceptual distance of all restored images, and of enough of them the metrics of sets,
    with the true images as the real set. NAME_of_BASELINE: the same of the baseline."""
    task = ctx.input("task")
    summary = task.json("summary.json")
    restored, truth, baseline = (np.load(task.path / name, mmap_mode="r") for name in RESTORED)
    protocol = {"real": "the true images", "degradation": summary["degradation"]}
    scores: dict[str, Score] = {}
    scores |= _scores(ctx, "restored", restored, truth, summary["samples_per_image"], protocol)
    for name, score in _scores(ctx, "baseline", baseline, truth, summary["samples_per_image"], protocol).items():
        scores[f"{name}_of_{summary['baseline']}"] = score.yardstick(name, summary["baseline_label"])
    write_json(ctx.work.files / "scores.json", {"metrics": as_json(scores)})


def _scores(
    ctx: Context, title: str, images: np.ndarray, truth: np.ndarray, samples_per_image: int, protocol: dict[str, Any]
) -> dict[str, Score]:
    """title: which images these are. samples_per_image: rows of one true image, of which sets take the first, so that
    no image is in the real set twice. protocol: added to that of each score."""
    extractor, perceptual = extractor_of(ctx), make(ctx.config["perceptual"], Perceptual)
    metrics = {name: make_kept(metric, Metric) for name, metric in ctx.config["metrics"].items()}
    metrics = {name: metric for name, metric in metrics.items() if not metric.training_images}
    scores = reconstruction_scores(
        truth, images, perceptual, ctx.device, blocks=ctx.blocks(title), per_image=samples_per_image
    )
    if len(images) // samples_per_image >= MIN_SET:
        scores |= score_features(
            metrics,
            extractor,
            lambda used: cached_features(ctx, used, images[::samples_per_image], "restored images"),
            lambda used: cached_features(ctx, used, truth[::samples_per_image], "true images"),
        )
    return {name: replace(score, protocol=score.protocol | protocol) for name, score in scores.items()}
