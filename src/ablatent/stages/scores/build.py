"""scores: samples against the reference, and beside them the baseline of decoded noise."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import numpy as np

from ablatent.core.files import write_json
from ablatent.evaluation.features import extract
from ablatent.evaluation.scores import Extractor, Metric, Score, score_features
from ablatent.stages.context import Context
from ablatent.stages.extractor import extractor_of
from ablatent.stages.kept import make_kept
from ablatent.stages.scores.neighbours import write_neighbours
from ablatent.store.identity import Key
from ablatent.store.work import Work

HASHED = 256  # images at once


def build(ctx: Context) -> None:
    """scores.json: {"metrics": {name: {value, std, interval, protocol, notes, …}}, see `Score`}.

    NAME_baseline: the same metric for decoded N(0, I) latents, what a diffusion model that learnt nothing would give.
    Where a metric is about training images, also NAME_held_out, the same for held-out images, and the figure of
    `write_neighbours`.
    """
    config, samples = ctx.config, ctx.input("samples")
    real = np.load(ctx.input("reference").path / "features.npy", mmap_mode="r")
    extractor = extractor_of(ctx)
    metrics = {name: make_kept(metric, Metric) for name, metric in config["metrics"].items()}
    captions = samples.json("summary.json").get("captions")
    texts = None if captions is None else cache(lambda used: used.texts(captions, ctx.device))
    scores: dict[str, Score] = {}
    for file, is_noise, title in (("images", False, "samples"), ("prior", True, "decoded noise")):
        images = np.load(samples.path / f"{file}.npy", mmap_mode="r")
        scores |= score_features(
            metrics,
            extractor,
            lambda used, images=images, title=title: cached_features(ctx, used, images, title),  # type: ignore[misc]
            lambda used: real,
            texts,
            decoded_noise=is_noise,
        )
    if of_training := {name: metric for name, metric in metrics.items() if metric.training_images}:
        scores |= _beside_training(ctx, of_training, extractor, real, scores)
    write_json(ctx.work.files / "scores.json", {"metrics": as_json(scores)})


def _beside_training(
    ctx: Context, metrics: Mapping[str, Metric], extractor: Extractor, real: np.ndarray, scores: Mapping[str, Score]
) -> dict[str, Score]:
    """The scores of metrics that are about training images, with a note where the reference has not all of them, and
    the same of held-out images beside each; writes the figure of the nearest."""
    images, rows = ctx.images(), np.load(ctx.input("reference").path / "rows.npy")
    samples = np.load(ctx.input("samples").path / "images.npy", mmap_mode="r")
    write_neighbours(ctx, samples, cached_features(ctx, extractor, samples, "samples"), real, rows, images)
    held_out = np.load(ctx.input("held_out").path / "features.npy", mmap_mode="r")
    found = score_features(metrics, extractor, lambda used: held_out, lambda used: real)
    notes = []
    if (there := len(images.indices("train"))) > len(rows):
        notes = [f"nearest among {len(rows)} of {there} training images: a copy of another one is not seen"]
    out = {}
    for name, score in found.items():
        out[name] = replace(scores[name], notes=[*scores[name].notes, *notes])
        out[f"{name}_held_out"] = score.yardstick(name, "of held-out images")
    return out


def as_json(scores: Mapping[str, Score]) -> dict[str, Any]:
    """name → plain values of a score, as scores.json holds them."""
    return {name: asdict(score) for name, score in scores.items()}


def cached_features(ctx: Context, extractor: Extractor, images: np.ndarray, title: str) -> np.ndarray:
    """Features by content: equal images (the decoded noise of two samplers) are extracted once for the whole store.

    float32 (n, d), mapped into memory.
    """
    content = hashlib.blake2b(digest_size=16)
    for first in range(0, len(images), HASHED):
        content.update(np.ascontiguousarray(images[first : first + HASHED]).data)
    content.update(f"{images.shape}/{extractor.name}/{extractor.digest}".encode())
    key = Key(f"features-{content.hexdigest()}")

    def write(work: Work) -> None:
        size, about = ctx.compute.batch_size, f"{ctx.title}: features of {title}"
        out = work.files / "features.npy"
        extract(extractor, images, ctx.device, size, about, work.blocks(f"features-{size}", about), out)

    artifact, _ = ctx.store.get_or_build(key, write)
    ctx.work.add_use(f"{extractor.name} of {title}", key)
    return np.asarray(np.load(artifact.path / "features.npy", mmap_mode="r"))
