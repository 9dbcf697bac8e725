"""A stage: one unit of work as plain data. Free of torch, and of what a kind of stage knows beside its build."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ablatent.store.identity import Key, key_of


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One unit of work: plain data, so that it can be built anywhere.

    kind, version, config, inputs, digests decide its key. config: the options that decide it; inputs: role → key of the
    stages that it reads; digests: of the data that it reads. The rest decides nothing: data: the node that finds that
    data; builder: the module whose `build` builds it; trained, scored, figure, neutral: as its kind declares.
    """

    kind: str
    version: int
    config: dict[str, Any]
    inputs: dict[str, Key] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    builder: str = ""
    trained: bool = False
    scored: bool = False
    figure: str | None = None
    neutral: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def key(self) -> Key:
        """The identity of the stage: a digest of its kind, version, config, inputs and digests."""
        return key_of(self.kind, self.version, self.config, self.inputs, self.digests, self.neutral)

    def spec(self) -> dict[str, Any]:
        """Everything that a builder needs, as JSON takes it; `Stage.of(spec)` is the stage again."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @staticmethod
    def of(spec: Mapping[str, Any]) -> "Stage":
        """The stage of a `spec`."""
        inputs = {role: Key(key) for role, key in spec["inputs"].items()}
        return Stage(**{**spec, "inputs": inputs})
