"""FID, KID, precision and recall of large sets of features."""

import numpy as np

from ablatent.evaluation.fid import FID
from ablatent.evaluation.kid import KID
from ablatent.evaluation.precision_recall import PrecisionRecall
from ablatent.evaluation.scores import Metric
from bench.row import Bound, Case, Prepared, Row

DIM = 2048
METRICS: dict[str, type[Metric]] = {"fid": FID, "kid": KID, "prc": PrecisionRecall}


def _features(count: int, seed: int) -> np.ndarray:
    """About as correlated and as skewed as those of images: not negative, with a spectrum that falls."""
    draw = np.random.default_rng(seed)
    mix = np.random.default_rng(0).normal(size=(64, DIM)).astype(np.float32)
    out = np.empty((count, DIM), dtype=np.float32)
    for first in range(0, count, 4096):
        n = min(4096, count - first)
        hidden = draw.normal(0.02 * seed, 1, size=(n, 64)).astype(np.float32)
        out[first : first + n] = np.maximum(0.1 * hidden @ mix + 0.3 * draw.normal(size=(n, DIM)), 0)
    return out


def ours(case: Case) -> Prepared:
    """The metrics of the case, on two sets of features."""
    count = case.options["count"] // (10 if case.quick else 1)
    real, fake = _features(count, 0), _features(count, 1)
    metrics = [METRICS[name]() for name in case.options["metrics"]]

    def call() -> None:
        for metric in metrics:
            metric(fake, real)

    return Prepared(call, units=count)


ROW = Row(
    title="FID, KID, precision and recall on synthetic features of 2048 dimensions",
    sides={"ours": ours},
    cases={
        "KID, 50k": {"metrics": ["kid"], "count": 50_000},
        "precision and recall, 10k": {"metrics": ["prc"], "count": 10_000},
        "FID, 50k": {"metrics": ["fid"], "count": 50_000},
        "KID, precision and recall, 50k": {"metrics": ["kid", "prc"], "count": 50_000},
    },
    bounds=(Bound(gigabytes=4.0, cases=("KID, 50k", "precision and recall, 10k", "KID, precision and recall, 50k")),),
    seconds=20,
    rounds=(1, 3),
    warmup=0,
    full=frozenset({"KID, precision and recall, 50k", "FID, 50k"}),
    note="The two sets (0.8 GB at 50k) are in memory and count.",
)
