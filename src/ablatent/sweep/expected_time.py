"""How long a stage will take: by what stages of the store took that did the same work, or ran the same network.

Free of torch.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from statistics import median
from typing import Any

from ablatent.core.errors import AblatentError
from ablatent.core.values import get, without
from ablatent.stages.stage import Stage
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key, digest
from ablatent.store.layout import newest_keys, object_folder
from ablatent.store.records import Manifest
from ablatent.store.verify import read_manifest

NO_WORK = ("seed", "lr", "disc_lr", "betas", "weight_decay", "warmup_steps", "decay", "clip")
"""Fields, at any depth, that change what a stage computes, and not how much."""
SCALED = ("training.steps", "sampler.steps", "count", "task.count")
"""Fields of a stage in proportion to which it takes longer."""
NOT_NETWORK = (
    *("schedule", "parameterization", "weighting", "timestep_sampler", "optimizer", "vlb_weight", "init_from"),
    *("weights", "snapshot", "ema_width", "normalizer"),
)
"""Fields, at any depth, beside those of NO_WORK, on which the speed of a network hardly depends."""
NEWEST = 1000
"""So many stored stages of a kind are looked at: reading all of a large store would take longer than a plan may."""
GUESS = {True: 600.0, False: 20.0}
"""Seconds of a stage, trained or not, of whose work nothing is known."""


class TimeSource(IntEnum):
    """Where an expected time comes from, the surest first: stored stages of the same work; those that ran the same
    network; steps that were timed for this; a rule."""

    WORK = 0
    NETWORK = 1
    TIMED = 2
    RULE = 3


@dataclass(frozen=True)
class Expected:
    """The seconds that a stage will take, and where they come from."""

    seconds: float
    source: TimeSource


class ExpectedTime:
    """Estimates for the stages of one plan. stages: key → stage, of the plan; otherwise: (stage) -> the estimate for
    a stage of which the store tells nothing, or None.

    Two stages do the same work when they agree in kind, options, data and the work of their inputs, but for NO_WORK
    and SCALED: networks, batch size and resolution are equal then. They run the same network when they agree but for
    NOT_NETWORK, the sampler, and all of the training but its precision; the loss counts where it is trained with. On
    which machine a stage was built does not count.
    """

    def __init__(
        self,
        store: Store,
        stages: Mapping[str, Stage],
        otherwise: Callable[[Stage], Expected | None] = lambda stage: None,
    ):
        self.otherwise = otherwise
        stored = _Stored(store)
        self.rates = {
            TimeSource.WORK: _Rates(stored, stages, _work, SCALED),
            TimeSource.NETWORK: _Rates(stored, stages, network_options, (*SCALED, "training.batch_size")),
        }

    def __call__(self, stage: Stage) -> Expected | None:
        """By the median of stored stages of the same work, in proportion to steps and count; else of those with the
        same network, in proportion to the batch size, too; else by `otherwise`."""
        for source, rates in self.rates.items():
            if (seconds := rates(stage)) is not None:
                return Expected(seconds, source)
        return self.otherwise(stage)


class _Stored:
    """The manifests of a store's stages, each read once; None for one that cannot be read."""

    def __init__(self, store: Store):
        self.store = store
        self.read: dict[Key, Manifest | None] = {}

    def __call__(self, key: Key) -> Manifest | None:
        if key not in self.read:
            try:
                self.read[key] = read_manifest(object_folder(self.store.root, key), key)
            except AblatentError:  # named where the object is needed
                self.read[key] = None
        return self.read[key]


Alike = Callable[[Mapping[str, Any], bool], Mapping[str, Any]]
"""(options of a stage, whether another one reads it) -> those in which two stages must agree. What is read has its
size, which does not follow from how long it took."""


class _Rates:
    """Estimates by stored stages that are alike, in proportion to the fields `scaled`."""

    def __init__(self, stored: _Stored, stages: Mapping[str, Stage], alike: Alike, scaled: Sequence[str]):
        self.stored, self.stages, self.alike, self.scaled = stored, stages, alike, scaled
        self.of_kinds: dict[str, dict[str, list[float]]] = {}
        self.inputs: dict[str, str] = {}

    def __call__(self, stage: Stage) -> float | None:
        """Seconds; None where no stored stage is alike."""
        seen = self._of_kind(stage.kind).get(self._digest(stage), [])
        return median(seen) * self._amount(stage.config) if seen else None

    def _of_kind(self, kind: str) -> dict[str, list[float]]:
        """Digest → seconds for a unit of work, of the stored stages of a kind that were built last."""
        if kind not in self.of_kinds:
            rates = self.of_kinds[kind] = {}
            for key in newest_keys(self.stored.store.root, kind, NEWEST):
                if (found := self.stored(key)) is not None:
                    rates.setdefault(self._digest(found), []).append(found.wall_seconds / self._amount(found.config))
        return self.of_kinds[kind]

    def _digest(self, of: Stage | Manifest, read: bool = False) -> str:
        """Equal for stages that are alike."""
        digests = of.digests if isinstance(of, Stage) else of.data
        data = {name: digests[name] for name in ("images", "annotations") if name in digests}
        inputs = {role: self._input(key) for role, key in of.inputs.items()}
        return digest([of.kind, self.alike(of.config, read), data, inputs])

    def _input(self, key: Key) -> str:
        """The digest of a stage that another one reads."""
        if key not in self.inputs:
            found = self.stages.get(key) or self.stored(key)
            self.inputs[key] = key if found is None else self._digest(found, read=True)
        return self.inputs[key]

    def _amount(self, config: Mapping[str, Any]) -> int:
        """The product of the scaled fields that a stage has."""
        return math.prod(_scale(config, key) or 1 for key in self.scaled)


def _work(config: Mapping[str, Any], read: bool) -> Mapping[str, Any]:
    """Options of equal work. Of an input, steps do not count, but its count does."""
    kept: Mapping[str, Any] = without(config, *NO_WORK, *(["steps"] if read else []))
    return kept if read else _unscaled(kept)


def network_options(config: Mapping[str, Any], read: bool = False) -> Mapping[str, Any]:
    """The options of a stage that decide how fast its network is. read: of a stage that another one reads."""
    kept: dict[str, Any] = without(config, *NO_WORK, *NOT_NETWORK)
    training, guidance = kept.pop("training", None), kept.get("guidance")
    kept.pop("sampler", None)
    if read:
        kept.pop("loss", None)
        return kept
    if training is not None:
        kept["training"] = training.get("precision")
    if guidance is not None and "scale" in guidance:  # one pass of the network at these, whatever guides
        kept["guidance"] = {**guidance, "scale": guidance["scale"] in (0, 1)}
    return _unscaled(kept)


def _scale(config: Mapping[str, Any], key: str) -> int | None:
    """The number at a key of SCALED, None where there is none."""
    value = get(config, key)
    return value if type(value) is int and value > 0 else None


def _unscaled(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without the fields of SCALED that there are."""
    for key in SCALED:
        if _scale(config, key) is not None:
            config = _without_key(config, key)
    return config


def _without_key(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    node, _, name = key.rpartition(".")
    return {**config, node: without(config[node], name)} if node else without(config, name)
