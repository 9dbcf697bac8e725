"""A score and its protocol, the contracts of extractors and metrics, and one function that scores a set of images."""

import importlib.metadata
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.weights import Found
from ablatent.store.artifacts import Artifact

CHANCE = "By chance: the same with the conditions shuffled among the samples."
NOT_INCEPTION: Mapping[str, tuple[str, str]] = {
    "fid": ("fd", "FD"),
    "fid_inf": ("fd_inf", "FD∞"),
    "kid": ("kd", "KD"),
}
"""Names and labels of the distances on features of other networks than Inception, see `Extractor.renamed`."""
NOISE = "Decoded N(0, I): what the decoder makes of latents that are pure noise; samples must be well below it."


@dataclass(frozen=True)
class Score:
    """A number, its spread over subsets where it has one, how it was measured, and what a reader must know beside it.

    Only scores of equal `protocol` may be compared.

    interval: (low, high), 95 % over the samples: of what the score is in the mean over other samples, as many and by
    the same model, against the same reference; another training may give quite another score. None: not known.
    interval_by: the method.

    The rest is for reports. label: its name there; better: which direction is, None: nothing to win; beside: the name
    of the score that this one is a yardstick of; shown_in: "terminal": in all tables, "report": not on the terminal,
    "csv": nowhere else; remark: a sentence for whoever reads the table, once for all scores that have it.
    """

    value: float
    std: float | None = None
    protocol: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    interval: tuple[float, float] | None = field(default=None, kw_only=True)
    interval_by: str = field(default="", kw_only=True)
    label: str = field(kw_only=True)
    better: Literal["lower", "higher"] | None = field(kw_only=True)
    beside: str | None = field(default=None, kw_only=True)
    shown_in: Literal["terminal", "report", "csv"] = field(default="report", kw_only=True)
    remark: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise DataError(f"a score came out as {self.value}: images or features are not finite")
        if self.interval is not None and not all(math.isfinite(end) for end in self.interval):
            object.__setattr__(self, "interval", None)
        if self.interval is None:
            object.__setattr__(self, "interval_by", "")

    def yardstick(self, name: str, what: str, remark: str = "") -> "Score":
        """This score, measured of a baseline, as one that stands beside the score `name` of the samples.

        what: ends its label; remark: see the class.
        """
        return replace(self, label=f"{self.label} {what}", better=None, beside=name, remark=remark)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class Weights(Protocol):
    """Pretrained files, see `PretrainedFile` and `HubFolder`."""

    def check(self) -> None:
        """Raise ConfigError unless they can be had."""


class Extractor(ABC):
    """A frozen network that turns uint8 images into one vector each. Constructing one loads nothing.

    name: network and layer; dim: width of the vectors; suffix, label: what the names and the labels of its scores end
    with ("" for the default one); digest: of the tensors that it uses; resize: how images are brought to the network's
    size; served: where the weights came from, None until `load`. remark: on its scores, see `Score`.

    needs_stages: kinds of stages of the job that it reads, for a network that is trained there; they decide the stages
    that use it, and are given to `read`. renamed: name of a score → (name, label) that it has on these features, where
    its own is kept for others: FID and KID are distances between features of Inception.
    """

    needs_stages: ClassVar[tuple[str, ...]] = ()
    renamed: ClassVar[Mapping[str, tuple[str, str]]] = {}

    name: str
    layer: str
    dim: int
    suffix: str
    label: str = ""
    digest: str
    resize: str
    weights: Weights
    served: Found | None = None
    remark: str = ""

    def read(self, artifact: Artifact, config: Mapping[str, Any]) -> None:
        """Take a stage that `needs_stages` names: its artifact, and its options as the current code reads them.

        Called once for each, before `load`.
        """
        raise TypeError(f"{type(self).__name__} reads no stage, {artifact.key} neither")

    def check(self) -> None:
        """Raise ConfigError unless the weights can be had; reads nothing."""
        self.weights.check()

    @abstractmethod
    def load(self, device: torch.device | str = "cpu") -> None:
        """Load the network onto a device (once); raises ConfigError for weights that are not those of `digest`."""

    @abstractmethod
    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """float32 features of images on the device of `load`."""

    def texts(self, captions: Sequence[str], device: torch.device | str = "cpu") -> Float[np.ndarray, "n d"]:
        """Features (n, d) of captions, for networks that read them too. Raises DataError for others."""
        raise DataError(f"{self.name} reads no captions")

    def protocol(self) -> dict[str, Any]:
        """What decides its features, by name, for the protocol of a score."""
        return {"extractor": self.name, "layer": self.layer, "extractor_digest": self.digest, "resize": self.resize}


class Metric(ABC):
    """Scores of a set of images from its features. A frozen dataclass whose fields are its knobs.

    against: what it compares images with: a reference set ("real"), their captions ("captions"), or "nothing".
    unbiased: its expectation is the same for any number of images, so that it tells samples from noise at small ones.
    training_images: the real images must be those that the model was trained on; it is measured of held-out ones, too.
    """

    against: ClassVar[str] = "real"
    unbiased: ClassVar[bool] = False
    training_images: ClassVar[bool] = False

    @property
    def min_images(self) -> int:
        """The number of images below which it has no value, of each set that it compares."""
        return 1

    @property
    def min_real(self) -> int:
        """The same of the reference alone, where that is another number."""
        return self.min_images

    @property
    def own_extractor(self) -> Extractor | None:
        """The extractor it insists on, None when any will do (the evaluation's)."""
        return None

    def check(self) -> None:
        """Raise ConfigError when the metric cannot be had on this machine; cheap, for planning."""
        if self.own_extractor is not None:
            self.own_extractor.check()

    @abstractmethod
    def __call__(self, fake: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"] | None) -> dict[str, Score]:
        """Scores by name, without the extractor's suffix. real: features of what it compares with. Raises DataError for
        too few images."""


@cache
def versions() -> dict[str, str]:
    """The versions of the libraries that decide a score's last digits, and of torch-fidelity, whose definitions they
    follow, by name."""
    return {name: importlib.metadata.version(name) for name in ("torch", "torch-fidelity", "numpy")}


def counts(fake: np.ndarray, real: np.ndarray | None) -> dict[str, int]:
    """How many images were compared, by name, for the protocol of a score."""
    return {"count_fake": len(fake)} | ({} if real is None else {"count_real": len(real)})


def check_knobs(metric: str, **knobs: int) -> None:
    """Raise ConfigError for a knob of a metric, by its name, that is below 1."""
    for name, value in knobs.items():
        if value < 1:
            raise ConfigError(f"evaluation.metrics.{metric}.{name}", "an integer >= 1", value)


def reference_of(metric: str, fake: np.ndarray, real: np.ndarray | None, least: int) -> np.ndarray:
    """The features (m, d) that a metric compares with. Raises DataError for none, and for fewer than `least` rows of
    either."""
    if real is None or min(len(fake), len(real)) < least:
        raise DataError(f"{metric}: expected at least {least} images a set; got {counts(fake, real)}.")
    return real


def small_sample_notes(fake: np.ndarray, real: np.ndarray) -> list[str]:
    """A note when a covariance of the features is singular: fewer images than dimensions."""
    n, dim = min(len(fake), len(real)), fake.shape[1]
    if n > dim:
        return []
    what = f"{n} images for {dim} feature dimensions"
    return [f"{what}: the covariance is singular and this distance biased, as the kernel distance (KID) is not"]


def score_features(
    metrics: Mapping[str, Metric],
    extractor: Extractor,
    fake: Callable[[Extractor], np.ndarray],
    real: Callable[[Extractor], np.ndarray],
    captions: Callable[[Extractor], np.ndarray] | None = None,
    decoded_noise: bool = False,
) -> dict[str, Score]:
    """All metrics of one set of images.

    fake, real, captions: give the features of the generated and the reference images, and of the captions, under an
    extractor; they may cache. Raises DataError for a metric of captions where there are none. Names get the suffix of
    the evaluation's extractor (fid_192), and the name that it has for a distance on its features (fd_judge); a metric
    with an extractor of its own has it in its name already. decoded_noise: the images are the baseline of samples:
    names end in _baseline.
    """
    scores: dict[str, Score] = {}
    for metric in metrics.values():
        used = metric.own_extractor or extractor
        suffix = used.suffix if metric.own_extractor is None else ""
        others = {"real": real, "captions": captions, "nothing": None}[metric.against]
        if others is None and metric.against == "captions":
            raise DataError(f"{type(metric).__name__}: expected images with captions; these have none.")
        for name, score in metric(fake(used), None if others is None else others(used)).items():
            name, label = used.renamed.get(name, (name, score.label))
            full, label = name + suffix, label + (used.label if metric.own_extractor is None else "")
            protocol = score.protocol | used.protocol() | {"versions": versions()}
            score = replace(score, label=label, protocol=protocol, remark=score.remark or used.remark)
            if decoded_noise:
                score = score.yardstick(full, "of decoded N(0, I)", NOISE)
                full = f"{full}_baseline"
                score = score if metric.unbiased else replace(score, shown_in="csv")
            scores[full] = score
    return scores
