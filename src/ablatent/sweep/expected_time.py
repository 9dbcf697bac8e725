"""How long a stage will take, by what stages of the store took that did the same work. Free of torch."""

import math
from collections.abc import Mapping
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
NEWEST = 1000
"""So many stored stages of a kind are looked at: reading all of a large store would take longer than a plan may."""


class ExpectedTime:
    """Estimates for the stages of one plan. stages: key → stage, of the plan.

    Two stages do the same work when they agree in kind, options, data and the work of their inputs, but for NO_WORK
    and SCALED: networks, batch size and resolution are equal then. On which machine a stage was built does not count.
    """

    def __init__(self, store: Store, stages: Mapping[str, Stage]):
        self.store, self.stages = store, stages
        self.rates: dict[str, dict[str, list[float]]] = {}
        self.inputs: dict[str, str] = {}

    def __call__(self, stage: Stage) -> float | None:
        """Seconds: the median of stored stages of the same work, in proportion to steps and count; None without any."""
        seen = self._rates(stage.kind).get(self._work(stage), [])
        return median(seen) * _amount(stage.config) if seen else None

    def _rates(self, kind: str) -> dict[str, list[float]]:
        """Work → seconds for a unit of it, of the stored stages of a kind that were built last."""
        if kind not in self.rates:
            rates = self.rates[kind] = {}
            for key in newest_keys(self.store.root, kind, NEWEST):
                if (found := self._stored(key)) is not None:
                    rates.setdefault(self._work(found), []).append(found.wall_seconds / _amount(found.config))
        return self.rates[kind]

    def _stored(self, key: Key) -> Manifest | None:
        try:
            return read_manifest(object_folder(self.store.root, key), key)
        except AblatentError:  # named where the object is needed
            return None

    def _work(self, of: Stage | Manifest, read: bool = False) -> str:
        """Equal for equal work. read: of an input, whose steps do not count, but whose count does."""
        digests = of.digests if isinstance(of, Stage) else of.data
        data = {name: digests[name] for name in ("images", "annotations") if name in digests}
        inputs = {role: self._input(key) for role, key in of.inputs.items()}
        config = without(of.config, *NO_WORK, *(["steps"] if read else []))
        for key in () if read else SCALED:
            if _scale(config, key) is not None:
                config = _without_key(config, key)
        return digest([of.kind, config, data, inputs])

    def _input(self, key: Key) -> str:
        """The work of a stage that another one reads."""
        if key not in self.inputs:
            found = self.stages.get(key) or self._stored(key)
            self.inputs[key] = key if found is None else self._work(found, read=True)
        return self.inputs[key]


def _scale(config: Mapping[str, Any], key: str) -> int | None:
    """The number at a key of SCALED, None where there is none."""
    value = get(config, key)
    return value if type(value) is int and value > 0 else None


def _without_key(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    node, _, name = key.rpartition(".")
    return {**config, node: without(config[node], name)} if node else without(config, name)


def _amount(config: Mapping[str, Any]) -> int:
    """Steps times count, of those that a stage has."""
    return math.prod(_scale(config, key) or 1 for key in SCALED)
