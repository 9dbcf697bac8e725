"""Objectives: scores, and what a job costs; which there are is known before anything is built."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.instantiate import make
from ablatent.evaluation.scores import Extractor, Metric, Score, score_features
from ablatent.report.model import JobResult, Sweep
from ablatent.search.record import Objective
from ablatent.stages.reconstruction.kind import ReconstructionKind
from ablatent.stages.samples.kind import SamplesKind
from ablatent.stages.scores.kind import ScoresKind
from ablatent.sweep.plan import Job

KEY = "hydra.sweeper.objectives"
OF_PAIRS = {"psnr": "higher", "ssim": "higher", "perceptual": "lower"}
"""Scores of images beside their originals, and which direction is better."""
WIDTH, ROWS = 8, 16  # of the features on which metrics tell the names of their scores


def _nfe(sweep: Sweep, job: JobResult) -> float | None:
    """Rows of the network that one sample takes: calls of the sampler, times those of its guidance."""
    samples = sweep.objects.get(job.stages.get(SamplesKind.name, ""))
    about = {} if samples is None or samples.problem else samples.summary
    return float(about["nfe"] * about.get("network_rows", 1)) if "nfe" in about else None


COSTS: Mapping[str, Callable[[Sweep, JobResult], float | None]] = {"nfe": _nfe, "seconds": Sweep.job_seconds}
"""Objectives that are no scores: what a job costs. Lower is better."""


def value_of(name: str, sweep: Sweep, job: JobResult) -> float | None:
    """The value of an objective for a finished job; None where it has none."""
    if name in COSTS:
        return COSTS[name](sweep, job)
    return job.scores[name].value if name in job.scores else None


def objectives_of(job: Job, names: Sequence[str], directions: Sequence[str] | None) -> list[Objective]:
    """The objectives of these names. job: planned, any of the search.

    Raises ConfigError for none, for a score that no stage of the job publishes, and for one without a direction.
    """
    known = {**scores_of(job), **{name: "lower" for name in COSTS if name != "nfe" or SamplesKind.name in job.stages}}
    offered = ", ".join(name for name, better in known.items() if better is not None)
    if not names:
        raise ConfigError(KEY, f"one or more of {offered}", [], f"For example {KEY}=[{next(iter(known))}].")
    others = [
        s.kind for s in job.stages.values() if s.scored and s.kind not in (ScoresKind.name, ReconstructionKind.name)
    ]
    found = []
    for n, name in enumerate(names):
        if name not in known and not others:
            raise ConfigError(KEY, f"scores of this job: {offered}", name, did_you_mean(name, known))
        better = known.get(name) if directions is None else directions[n]
        if better is None:
            why = f"What is better of {name} is known when it was measured, or a matter of taste."
            raise ConfigError("hydra.sweeper.directions", "lower or higher for each objective", directions, why)
        found.append(Objective(name, better))
    return found


def scores_of(job: Job) -> dict[str, str | None]:
    """Name → which direction is better, of the scores that the job's samples and reconstructions get.

    Those of other kinds of stages are known only when they are built.
    """
    config, found = job.config["evaluation"], dict[str, str | None]()
    kinds = {stage.kind for stage in job.stages.values()}
    if ScoresKind.name in kinds:
        found |= {name: score.better for name, score in _rehearsed(config, config["metrics"]).items()}
    if ReconstructionKind.name in kinds:
        metrics = {name: config["metrics"][name] for name in config["reconstruction_metrics"]}
        found |= {f"r{name}": score.better for name, score in _rehearsed(config, metrics).items()}
        found |= OF_PAIRS
    return found


class _NamedLike(Extractor):
    """An extractor that stands for another one, which it takes names from: it reads no weights and no stages."""

    name = layer = digest = resize = ""

    def __init__(self, like: Extractor):
        self.suffix, self.label, self.renamed = like.suffix, like.label, like.renamed  # type: ignore[misc]

    def load(self, device: Any = "cpu") -> None:
        """There is nothing to load."""

    def __call__(self, images: Any) -> Any:
        raise TypeError("it stands for the names of scores alone")


def _rehearsed(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Score]:
    """The scores of random features by these metrics: their names and directions are those of any images."""
    names, found = _NamedLike(make(config["extractor"], Extractor)), dict[str, Score]()
    for name, node in metrics.items():  # one by one: some want many rows, which would take others long
        metric = make(node, Metric)
        features = np.random.default_rng(0).random((2, max(ROWS, metric.min_images), WIDTH)).astype(np.float32)
        fake, real = (partial(_given, rows) for rows in features)
        found |= score_features({name: metric}, names, fake, real, real)
    return found


def _given(features: np.ndarray, extractor: Extractor) -> np.ndarray:
    """These features, whatever the extractor."""
    return features
