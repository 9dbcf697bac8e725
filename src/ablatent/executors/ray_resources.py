"""What the stages of each kind take of Ray. Free of ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from ablatent.core.errors import ConfigError
from ablatent.core.fields import NotNegative, Number, Positive
from ablatent.executors.kind_resources import DEFAULT, KEY, KindResources
from ablatent.executors.worker_process import GIB
from ablatent.stages.ranks import several
from ablatent.stages.stage import Stage


@dataclass(kw_only=True)
class RayResources(KindResources):
    """What a stage of a kind takes. null: as `default` has it."""

    cpus: Annotated[Positive | None, "processors; null: runtime.threads, else 1, for each device"] = None
    gpus: Annotated[NotNegative | None, "GPUs; null: runtime.devices with runtime.device=gpu, else none"] = None
    memory: Annotated[Positive | None, "GiB; a stage that takes more has failed; null: no bound"] = None
    custom: Annotated[Mapping[str, Positive] | None, "resources that nodes were started with, by name"] = None

    def wanted(self) -> dict[str, Number]:
        """Amounts in Ray's own names, memory in bytes; none of what is not wanted."""
        named = {"CPU": self.cpus, "GPU": self.gpus, "memory": (self.memory or 0) * GIB, **(self.custom or {})}
        return {name: amount for name, amount in named.items() if amount}


def taken(resources: Mapping[str, Any], stage: Stage, runtime: Mapping[str, Any]) -> RayResources:
    """What a stage takes. Raises ConfigError for fewer GPUs than it computes on."""
    devices = int(runtime["devices"]) if several(stage, runtime) else 1
    gpus = devices if runtime["device"] == "gpu" else 0
    derived = RayResources(cpus=int(runtime.get("threads") or 1) * devices, gpus=gpus)
    default = RayResources(**resources.get(DEFAULT, {})).over(derived)
    own = RayResources(**resources.get(stage.kind, {})).over(default)
    enough = bool(own.gpus) if devices == 1 else (own.gpus or 0) >= devices  # several stages may share one GPU
    if gpus and not enough:
        raise ConfigError(f"{KEY}.{stage.kind}.gpus", f"at least {gpus}, for runtime.device=gpu", own.gpus)
    return own


def bound(resources: Mapping[str, Any], kind: str) -> str:
    """The key and the value that bound the memory of a kind of stage, for messages."""
    own = resources.get(kind, {}).get("memory")
    key, value = (kind, own) if own is not None else (DEFAULT, resources.get(DEFAULT, {}).get("memory"))
    return f"{KEY}.{key}.memory={'null' if value is None else f'{value:g}'}"


def fits(wanted: Mapping[str, Number], nodes: Sequence[Mapping[str, Number]]) -> bool:
    """Whether one of the nodes has all that is wanted; both in Ray's own names."""
    return any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes)
