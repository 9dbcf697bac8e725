"""restoration: pictures that a task restored, against what they should be."""

from dataclasses import replace
from typing import Any

import numpy as np

from ablatent.core.files import write_json
from ablatent.evaluation.reconstruction import reconstruction_scores
from ablatent.evaluation.scores import Score, score_features
from ablatent.stages.context import Context
from ablatent.core.instantiate import make
from ablatent.stages.scores.build import as_json, cached_features
from ablatent.stages.task.build import RESTORED

FEWEST = 50
"""From so many pictures on they are also compared as a set (FID and the like)."""


def build(ctx: Context) -> None:
    """scores.json: PSNR, SSIM, perceptual distance of all restored pictures, and of enough of them the metrics of sets,
    with the true pictures as the real set. NAME_of_BASELINE: the same of what stands there without a model."""
    task = ctx.input("task")
    summary = task.json("summary.json")
    drawn, truth, baseline = (np.load(task.path / name) for name in RESTORED)
    told = {"real": "the true pictures", "lost": summary["lost"]}
    scores: dict[str, Score] = {}
    for images, suffix in ((drawn, ""), (baseline, f"_of_{summary['baseline']}")):
        scores |= {name + suffix: score for name, score in _scores(ctx, images, truth, summary["each"], told).items()}
    write_json(ctx.work.files / "scores.json", {"metrics": as_json(scores)})


def _scores(ctx: Context, images: np.ndarray, truth: np.ndarray, each: int, told: dict[str, Any]) -> dict[str, Score]:
    """each: rows of one true picture, of which sets take the first, so that no picture is in the real set twice."""
    extractor, perceptual = make(ctx.config["extractor"]), make(ctx.config["perceptual"])
    metrics = {name: make(metric) for name, metric in ctx.config["metrics"].items()}
    scores = reconstruction_scores(truth, images, perceptual, ctx.device)
    if len(images) // each >= FEWEST:
        scores |= score_features(
            metrics,
            extractor,
            lambda used: cached_features(ctx, used, images[::each], "restored pictures"),
            lambda used: cached_features(ctx, used, truth[::each], "true pictures"),
        )
    return {name: replace(score, protocol=score.protocol | told) for name, score in scores.items()}
