"""Jobs of made-up sweeps, as contrasts see them."""

from collections.abc import Mapping, Sequence
from typing import Any

from ablatent.claims.claim import Contrast
from ablatent.claims.observations import Observation, arms_of
from ablatent.claims.verdict import ContrastVerdict, contrast_verdict


def contrast(expect: str = "lower", margin: float = 0.0, **values: Any) -> Contrast:
    """kl against vq on one score."""
    about = {"metric": "fid", "of": {"first_stage": "vq"}, "against": {"first_stage": "kl"}}
    return Contrast(**{**about, "expect": expect, "margin": margin, **values})


def job(value: float | None, training: str = "", interval: Any = None, first: str = "", **axes: Any) -> Observation:
    """One job; training: of diffusion; first: of the first stage; a double underscore in an axis is a point."""
    trainings = {kind: key for kind, key in (("first_stage", first), ("diffusion", training)) if key}
    named = {axis.replace("__", "."): v for axis, v in axes.items()}
    return Observation(
        name=" ".join(f"{a}={v}" for a, v in named.items()),
        axes=named,
        trainings=trainings,
        unit="diffusion" if training else "first_stage" if first else "",
        value=value,
        interval=interval,
        missing="" if value is not None else "failed",
    )


def seeds(of: Sequence[float | None], against: Sequence[float | None], other: int = 0) -> list[Observation]:
    """Trainings with the seeds 0, 1, … of two first stages; those of `against` begin with `other`."""
    arms: Mapping[str, tuple[int, Sequence[float | None]]] = {"vq": (0, of), "kl": (other, against)}
    return [
        job(value, f"{name}-{start + n}", first_stage=name, seed=start + n)
        for name, (start, values) in arms.items()
        for n, value in enumerate(values)
    ]


def verdict(jobs: Sequence[Observation], about: Contrast | None = None, confidence: float = 0.95) -> ContrastVerdict:
    """Of one contrast, `contrast()` where none is given."""
    about = about or contrast()
    return contrast_verdict("x", about, arms_of(about, jobs), confidence)
