"""The verbs of recorded sweeps: going on with one, trying again what failed, ending one."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ablatent.cli.checked_plan import check_missing, missing_stages, print_refused
from ablatent.cli.next_command import after_sweep, going_on
from ablatent.cli.verb import Config, Verb
from ablatent.cli.verb_keys import RecordedKeys
from ablatent.core.errors import ConfigError
from ablatent.core.escape import for_console
from ablatent.core.files import write_atomic
from ablatent.core.instantiate import make
from ablatent.core.progress import console, counted
from ablatent.store.artifacts import Store
from ablatent.store.identity import SweepId
from ablatent.store.records import StageOutcome
from ablatent.store.sweeps import sweep_named
from ablatent.sweep.executor import Executor
from ablatent.sweep.journal import CANCEL, driver_of, is_driven, states_of
from ablatent.sweep.plan import Composed
from ablatent.sweep.resumed import check_not_driven, failures_of, plan_of, recorded_sweep
from ablatent.sweep.run_sweep import RecordedSweep, run
from ablatent.tracking.base import Tracking

ENDS_WITHIN = 40.0
"""Seconds in which a command that is to end leaves its checkpoints."""


def _recorded(store: Store, config: Config) -> RecordedSweep:
    typed = config["sweep"]
    return recorded_sweep(store.root, None if typed is None else sweep_named(store.root, str(typed)))


def _go_on(store: Store, recorded: RecordedSweep, typed: Config, overrides: Sequence[str], retry: bool) -> int:
    """Run a recorded sweep on. typed: the configuration of this command, whose executor counts where one was typed."""
    check_not_driven(recorded)
    store.check_writable()
    plan = plan_of(recorded.planned)
    config = _config(recorded, store)
    if any(o.lstrip("+").partition("=")[0].partition(".")[0] == "executor" for o in overrides):
        config["executor"] = typed["executor"]
        for job in plan.jobs:
            job.config["executor"] = typed["executor"]
    given_up: Mapping[str, StageOutcome] = {} if retry else failures_of(recorded, store.root)
    missing = missing_stages(plan, store)
    console.print(
        f"sweep {recorded.id}: {counted(len(plan.jobs), 'job')}, {counted(len(missing), 'stage')} to build"
        + (f", {counted(len(given_up), 'failure')} left as they are (do=retry)" if given_up else "")
    )
    check_missing(plan, store)
    print_refused(plan)
    tracking: Tracking = make(config["tracking"], Tracking)
    executor: Executor = make(config["executor"], Executor)

    def report(sweep: SweepId, record: Path) -> None:
        from ablatent.report.finish import finish

        out = config.get("out")
        finish(store.root, sweep, tracking, None if out is None else Path(str(out)).expanduser(), record)

    return run(plan, store, config, recorded, executor, tracking, report, given_up)


def _planned_config(recorded: RecordedSweep) -> dict[str, Any] | None:
    """The configuration of the first job that was not refused; None where all were."""
    return next((dict(job.config) for job in recorded.planned.jobs if job.refused is None), None)


def _config(recorded: RecordedSweep, store: Store) -> dict[str, Any]:
    """The configuration of a sweep's jobs, for a store that may be somewhere else now."""
    config = _planned_config(recorded)
    if config is None:
        raise ConfigError("sweep", "a sweep with a job that was not refused", recorded.id, "Give its command anew.")
    config["store"] = {**config["store"], "path": str(store.root)}
    if "dir" in config["tracking"]:
        config["tracking"] = {**config["tracking"], "dir": str(store.root)}
    return config


class ResumeVerb(Verb):
    """Go on with a recorded sweep that was ended: what failed stays so."""

    writes = True
    reads = ("store", "executor")
    keys = RecordedKeys
    retries: ClassVar[bool] = False
    ran: tuple[Path, SweepId]
    """(root of the store, sweep) of what it ran."""

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        recorded = _recorded(store, config)
        self.ran = store.root, recorded.id
        with going_on(["do=resume", f"sweep={recorded.id}"], self.typed):
            return _go_on(store, recorded, config, jobs[0].overrides, self.retries)

    def then(self, code: int) -> Sequence[str]:
        return after_sweep(*self.ran)


class RetryVerb(ResumeVerb):
    """Go on with a recorded sweep, and try again what failed."""

    retries = True


class CancelVerb(Verb):
    """End the command that runs a sweep, wherever it runs; builds leave their checkpoints."""

    reads = ("store",)
    keys = RecordedKeys
    ended: SweepId
    """The sweep that is to end."""

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        recorded = _recorded(store, config)
        self.ended = recorded.id
        driver = driver_of(recorded.folder)
        if is_driven(recorded.folder) and driver is not None:
            write_atomic(recorded.folder / CANCEL, b"")
            console.print(for_console(f"sweep {recorded.id}: {driver.host}:{driver.pid} is to end"))
            end = time.monotonic() + ENDS_WITHIN
            while is_driven(recorded.folder):
                if time.monotonic() > end:
                    console.print(f"[red]it still runs[/] after {ENDS_WITHIN:.0f} s")
                    return 1
                time.sleep(0.2)
            console.print("ended")
            return 0
        planned, left = _planned_config(recorded), 0
        if planned is not None:
            executor: Executor = make(planned["executor"], Executor)
            left = executor.cancel_left(states_of(recorded.folder))
        console.print(
            f"no command runs sweep {recorded.id}"
            + (f"; ended {counted(left, 'job')} that it had left" if left else "")
        )
        return 0

    def then(self, code: int) -> Sequence[str]:
        return () if code else ["do=resume", f"sweep={self.ended}"]
