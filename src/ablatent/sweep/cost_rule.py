"""The expected time of stages that nothing like was built before, from the operations of their networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ablatent.stages.all_kinds import kinds_of
from ablatent.stages.context import resolve_device
from ablatent.stages.kind_base import Config, Size, StageKind
from ablatent.stages.stage import Stage
from ablatent.store.identity import Key
from ablatent.sweep.executor import threads_of
from ablatent.sweep.expected_time import GUESS, Expected, TimeSource
from ablatent.sweep.plan import Plan

STEP = 3
"""A training step takes so many forward passes: backward, two gradients are computed, each as costly as a pass."""
STEP_SECONDS = 0.015
"""Of a training step beside its network: batches, optimiser, averages of weights, the loop. Fitted with CPU_RATE."""
CPU_RATE = 100e9
"""Operations a second of one CPU thread: fitted to trainings of 200 steps of the presets tiny and demo with
runtime.threads=1, on a server's core with AVX-512 (docs/performance.md, "Expected times", has what came of it)."""
GPU_RATE = 40e12
"""Operations a second of a GPU: a quarter of the peak of an A100 in TF32 (156e12 in NVIDIA's data sheet), which large
convolutions reach. Not measured."""


@dataclass(frozen=True)
class StageWork:
    """What a stage computes: floating-point operations of its networks, and training steps."""

    flops: int
    steps: int = 0


def rule_of(plan: Plan, runtime: Mapping[str, Any], slots: int) -> Callable[[Stage], Expected]:
    """`by_rule` for the stages of a plan in so many slots; its networks are sized when the first stage is looked at."""

    @cache
    def rule() -> Callable[[Stage], Expected]:
        from ablatent.sweep.network_sizes import sizes_of  # torch, which what is found does without

        return by_rule(work_of(plan, sizes_of(plan)), rate_of(runtime, threads_of(runtime, slots)))

    def expected(stage: Stage) -> Expected:
        return rule()(stage)

    return expected


def work_of(plan: Plan, sizes: Mapping[Key, Sequence[Size]]) -> dict[Key, StageWork]:
    """Key → work of the stages that are trainings of networks whose operations are known, or whose kind says how often
    they run such networks. sizes: of the networks of stages. The networks of a first stage's loss do not count."""
    forward = {key: sum(size.flops or 0 for size in of_stage) for key, of_stage in sizes.items()}
    found: dict[Key, StageWork | None] = {}
    for job in plan.jobs:
        for kind in kinds_of(job.config) if job.stages else ():
            stage = job.stages.get(kind.name)
            if stage is not None and stage.key not in found:
                of_roles = {role: forward.get(read.key, 0) for role, read in job.stages.items()}
                found[stage.key] = _training(sizes.get(stage.key, ())) or _passes(kind, job.config, of_roles)
    return {key: work for key, work in found.items() if work is not None}


def _training(sizes: Sequence[Size]) -> StageWork | None:
    """Of the first of a stage's networks that is trained for so many steps."""
    for size in sizes:
        if size.flops is not None and size.batch_size is not None and size.steps is not None:
            return StageWork(STEP * size.flops * size.batch_size * size.steps, size.steps)
    return None


def _passes(kind: StageKind, config: Config, forward: Mapping[str, int]) -> StageWork | None:
    """Of a stage that runs networks. forward: role → operations of a pass of its network."""
    flops = sum(number * forward.get(role, 0) for role, number in kind.passes(config).items())
    return StageWork(flops) if flops else None


def rate_of(runtime: Mapping[str, Any], threads: int) -> float:
    """Operations a second of one slot. runtime: the node of the configuration; threads: of torch, of a slot."""
    gpu = resolve_device(str(runtime["device"])) == "gpu"
    return (GPU_RATE if gpu else CPU_RATE * threads) * int(runtime["devices"])


def by_rule(works: Mapping[Key, StageWork], rate: float) -> Callable[[Stage], Expected]:
    """(stage) -> its estimate by its work, at so many operations a second; by GUESS where that is unknown."""

    def expected(stage: Stage) -> Expected:
        work = works.get(stage.key)
        if work is None:
            return Expected(GUESS[stage.trained], TimeSource.RULE)
        return Expected(work.flops / rate + work.steps * STEP_SECONDS, TimeSource.RULE)

    return expected
