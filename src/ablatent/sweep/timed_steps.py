"""Expected times by a few steps that are timed now, for do=plan estimate=true."""

from collections.abc import Callable, Mapping
from typing import Any

from ablatent.core.errors import AblatentError
from ablatent.core.escape import for_console
from ablatent.core.progress import console
from ablatent.stages.all_kinds import kinds_of
from ablatent.stages.context import set_up_torch
from ablatent.stages.kind_base import Config, StageKind
from ablatent.stages.stage import Stage
from ablatent.stages.trial import TrialTraining, seconds_a_step
from ablatent.store.identity import Key, digest
from ablatent.sweep.expected_time import Expected, TimeSource, network_options
from ablatent.sweep.plan import Plan

BUDGET = 10.0
"""Seconds in which the steps of a network are timed."""


class TimedSteps:
    """(stage) -> its estimate by steps that are timed, of each distinct network once; `otherwise`'s where it is no
    training that can be tried.

    runtime: the node of the configuration, whose device and micro-batches are used.
    """

    def __init__(self, plan: Plan, runtime: Mapping[str, Any], otherwise: Callable[[Stage], Expected]):
        self.runtime, self.otherwise = runtime, otherwise
        self.timed: dict[str, list[float]] = {}
        self.kinds: dict[Key, tuple[StageKind, Config]] = {}
        for job in plan.jobs:
            for kind in kinds_of(job.config) if job.stages else ():
                if kind.name in job.stages:
                    self.kinds.setdefault(job.stages[kind.name].key, (kind, job.config))
        set_up_torch(runtime)

    def __call__(self, stage: Stage) -> Expected:
        found = self.kinds.get(stage.key)
        if not stage.trained or found is None:
            return self.otherwise(stage)
        kind, config = found
        try:
            trial = kind.trial(config, stage)
            if trial is None:
                return self.otherwise(stage)
            spent = self._times(trial, stage, config)
        except (AblatentError, RuntimeError) as error:  # out of memory, for one
            reason = str(error).splitlines()[0]
            console.print(f"  [yellow]{stage.key.short} could not be timed[/]: {for_console(reason)}")
            return self.otherwise(stage)
        total = sum(steps * seconds for (_, steps), seconds in zip(trial.phases, spent, strict=True))
        return Expected(total, TimeSource.TIMED)

    def _times(self, trial: TrialTraining, stage: Stage, config: Config) -> list[float]:
        """Seconds a step, of each phase."""
        firsts = [first for first, _ in trial.phases]
        decides = [stage.kind, network_options(stage.config), stage.config["training"]["batch_size"], firsts]
        name = digest([*decides, network_options(config["first_stage"], read=True), config["data"]["size"]])
        if name not in self.timed:
            self.timed[name] = seconds_a_step(trial, self.runtime, f"timing {stage.key.short}", BUDGET)
        return self.timed[name]
