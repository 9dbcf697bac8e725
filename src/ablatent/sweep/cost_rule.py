"""The expected time of stages that nothing like was built before, from the operations of their networks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ablatent.stages.all_kinds import kinds_of
from ablatent.stages.context import resolve_device
from ablatent.stages.kind_base import Size
from ablatent.stages.stage import Stage
from ablatent.store.identity import Key
from ablatent.sweep.expected_time import GUESS, Expected, Source
from ablatent.sweep.plan import Plan

STEP = 3
"""A training step takes so many forward passes: the backward pass computes two gradients, each as costly as one."""
CPU_RATE = 20e9
"""Operations a second of one CPU thread."""
GPU_RATE = 20e12
"""Operations a second of a GPU."""


def flops_of(plan: Plan, sizes: Mapping[Key, Sequence[Size]]) -> dict[Key, float]:
    """Key → floating-point operations, of the stages that are trainings of networks whose size is known, or whose kind
    says how often they run such a network. sizes: of the networks of stages."""
    forward = {key: sum(size.flops or 0 for size in of_stage) for key, of_stage in sizes.items()}
    found: dict[Key, float] = {}
    for job in plan.jobs:
        for kind in kinds_of(job.config) if job.stages else ():
            stage = job.stages.get(kind.name)
            if stage is None or stage.key in found:
                continue
            flops: float = sum(_training(size) for size in sizes.get(stage.key, ()))
            if not flops:
                passes = kind.passes(job.config)
                roles = {role: read.key for role, read in job.stages.items()}
                flops = sum(n * forward.get(roles[role], 0) for role, n in passes.items() if role in roles)
            if flops:
                found[stage.key] = flops
    return found


def _training(size: Size) -> float:
    if size.flops is None or size.batch_size is None or size.steps is None:
        return 0.0
    return STEP * size.flops * size.batch_size * size.steps


def rate_of(runtime: Mapping[str, Any], threads: int) -> float:
    """Operations a second of one slot. runtime: the node of the configuration; threads: of torch, of a slot."""
    gpu = resolve_device(str(runtime["device"])) == "gpu"
    return (GPU_RATE if gpu else CPU_RATE * threads) * int(runtime["devices"])


def by_rule(flops: Mapping[Key, float], rate: float) -> Callable[[Stage], Expected]:
    """(stage) -> its estimate by the operations that it takes, at so many a second; by GUESS where these are unknown."""

    def expected(stage: Stage) -> Expected:
        known = flops.get(stage.key)
        return Expected(GUESS[stage.trained] if known is None else known / rate, Source.RULE)

    return expected
