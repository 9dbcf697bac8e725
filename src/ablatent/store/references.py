"""What the objects and plans of a store refer to. Free of torch."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablatent.core.errors import AblatentError, DataError
from ablatent.core.progress import track
from ablatent.core.values import leaves
from ablatent.store.identity import Key, SweepId
from ablatent.store.layout import object_folder, sweep_ids
from ablatent.store.pins import pinned
from ablatent.store.records import Manifest, PlanRecord
from ablatent.store.sweeps import plans
from ablatent.store.verify import read_manifest

WHOLE_KEY = re.compile(r"[A-Za-z]\w*-[0-9a-f]{32}")
CACHES = ("data", "features")
"""Kinds of objects that are made again where they are needed."""


def manifest_or_none(root: Path, key: Key) -> Manifest | None:
    """The manifest of an object of a store; None of one that is not there or whose manifest cannot be read."""
    with suppress(AblatentError):
        return read_manifest(object_folder(root, key), key)
    return None


@dataclass
class Reader:
    """Follows references from object to object. manifest: key → manifest, None where there is none to be read."""

    manifest: Callable[[Key], Manifest | None]
    _named: dict[Key, list[Key]] = field(default_factory=dict)

    def reached(self, keys: Iterable[Key]) -> set[Key]:
        """These keys, and those of all that they refer to: inputs, prepared images, features, imported weights."""
        found: set[Key] = set()
        left = list(keys)
        while left:
            key = left.pop()
            if key not in found:
                found.add(key)
                left += self._named_by(key)
        return found

    def of_plan(self, plan: PlanRecord) -> set[Key]:
        """All that a sweep refers to, whether it is there or not."""
        keys = set(plan.stages)
        for stage in plan.stages.values():
            keys.update(_named(stage.inputs, stage.digests, stage.config))
        return self.reached(keys)

    def _named_by(self, key: Key) -> list[Key]:
        if key not in self._named:
            about = self.manifest(key)
            found = [] if about is None else [*_named(about.inputs, about.data, about.config), *about.uses.values()]
            self._named[key] = found
        return self._named[key]


def _named(inputs: Mapping[str, Key], data: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Key]:
    """What a stage names: its inputs, its prepared images, keys among its options, such as `init_from`, and whole keys
    in the nodes among these, such as `guidance.model`."""
    yield from inputs.values()
    for value in (f"data-{data.get('images')}", *config.values()):
        with suppress(DataError):  # any other text
            yield Key(value)
    for node in config.values():
        for value in leaves(node) if isinstance(node, Mapping) else ():
            if isinstance(value, str) and WHOLE_KEY.fullmatch(value):
                yield Key(value)


@dataclass(frozen=True)
class Claims:
    """Who refers to what. sweeps: id → keys, the newest first; pinned: keys, of what is pinned and of what that reads;
    pins: the sweeps that are pinned; unreadable: sweeps whose plan cannot be read."""

    sweeps: Mapping[SweepId, set[Key]]
    pinned: set[Key]
    pins: set[SweepId]
    unreadable: list[SweepId]

    @classmethod
    def of(cls, root: Path, reader: Reader) -> "Claims":
        """Those of a store. A plan that cannot be read is named."""
        ids = sweep_ids(root)
        found: dict[SweepId, set[Key]] = {}
        with track("plans", len(ids), "sweeps") as bar:
            for sweep, plan in plans(root):
                found[sweep] = reader.of_plan(plan)
                bar.advance()
        keys, pins = pinned(root)
        return cls(found, reader.reached(keys), pins, [sweep for sweep in ids if sweep not in found])
