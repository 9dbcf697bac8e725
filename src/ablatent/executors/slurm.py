"""Stages as jobs of a Slurm cluster, submitted by submitit."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

from ablatent.core.errors import ConfigError
from ablatent.core.escape import for_console
from ablatent.core.fields import Count, Positive
from ablatent.core.progress import console, counted, seconds
from ablatent.executors.pool import Pool
from ablatent.executors.slurm_job import build_there
from ablatent.executors.slurm_queue import NoAnswer, Queue, Status, cancel, command, end_of, ending, ids_in
from ablatent.executors.slurm_resources import SlurmResources, check, parameters, resources_of
from ablatent.executors.snapshot import worker_environment
from ablatent.executors.workers import Build, Over, Workers
from ablatent.stages.all_kinds import built_in
from ablatent.stages.stage import Stage
from ablatent.store.identity import Key
from ablatent.store.records import StageState
from ablatent.sweep.executor import SweepRun

ARRAY = 500
"""Stages of one job array; a Slurm as it is delivered takes 1000."""
SETTLE_SECONDS = 10.0
"""So long after the end of a job its outcome may still come, by a shared disk that lags, or the job be requeued."""
UNKNOWN_SECONDS = 60.0
"""A job that Slurm does not name for so long is over."""
HIDDEN = ("SLURM_", "SRUN_")
"""What names of variables of a job begin with; SLURM_CONF is none."""
WARN_SECONDS = 60.0
"""Between two messages that Slurm does not answer."""
DOWN_SECONDS = 3600.0
"""A Slurm that does not answer for so long is given up."""
TRANSIENT = ("contact slurm controller", "Socket timed out", "temporarily", "try again later", "MaxSubmitJob")
"""In the messages of a Slurm that may take a job a little later."""


@dataclass(kw_only=True)
class Slurm(Pool):
    """Stages as jobs of a Slurm cluster. The store is on a disk that all its nodes share.

    What becomes ready at one moment and asks for the same is one job array. Before its time limit a build is to
    leave a checkpoint, and its job is requeued, until it is finished.
    """

    jobs: Annotated[Count, "that are in Slurm's queue at once"] = 100
    poll_seconds: Annotated[Positive, "between two questions to Slurm, each for all jobs"] = 5.0
    signal_seconds: Annotated[Count, "before its time limit, a build is to leave a checkpoint; Slurm may be early"] = 60
    requeues: Annotated[Count, "of one job that is not finished at its time limit"] = 100
    resources: Annotated[
        Mapping[str, SlurmResources | Mapping[str, Any]], "what jobs ask for, by kind of stage; `default`: all kinds"
    ] = field(default_factory=dict)

    @property
    def given(self) -> Mapping[str, Mapping[str, Any]]:
        """`resources` as they come: plain mappings."""
        return cast(Mapping[str, Mapping[str, Any]], self.resources)

    @property
    def builds_here(self) -> bool:
        return False

    def workers(self, sweep: SweepRun) -> Workers:
        kinds = {kind.name for kind in built_in()} | {stage.kind for stage in sweep.plan.stages.values()}
        check(self.given, kinds, self.signal_seconds)
        for stage in sweep.plan.stages.values():
            resources_of(self.given, stage, sweep.builder.runtime)
        _check_cluster()
        variables = worker_environment(sweep.builder.store.root, sweep.plan.stages.values())
        return _Jobs(self, sweep.builder.runtime, sweep.journal.folder.absolute() / "slurm", variables)

    def cancel_left(self, states: Mapping[Key, StageState]) -> int:
        ids = ids_in(state.where for state in states.values() if state.status == "running")
        left = [name for name, status in Queue().ask(ids).items() if not status.over]
        cancel(left)
        return len(left)


def _check_cluster() -> None:
    """Raise ConfigError where jobs cannot be submitted, or not be looked at."""
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise ConfigError("executor", "submitit", "none", "pip install 'ablatent[slurm]'") from None
    if absent := [name for name in ("sbatch", "srun", "squeue", "scancel", "scontrol") if shutil.which(name) is None]:
        do = "Run it on a login node, or use executor=process."
        raise ConfigError("executor", "a machine with Slurm's commands", f"no {', '.join(absent)}", do)
    try:
        command("squeue", "--noheader", "--states=all", "--format=%i")
    except NoAnswer as error:
        raise ConfigError("executor", "a Slurm that answers", str(error)) from None


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """While inside, variables of the job that this command itself may run in are hidden: they would decide for what it
    submits."""
    inside = "SLURM_JOB_ID" in os.environ
    names = [name for name in os.environ if inside and name.startswith(HIDDEN) and name != "SLURM_CONF"]
    hidden = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(hidden)


@dataclass
class _Job:
    """A job in Slurm's queue. status: the last one that is known; lost: since when it is over, or unknown, by the
    clock of this process; killed: why this executor has cancelled it."""

    id: str
    build: Build
    status: Status = field(default_factory=lambda: Status("PENDING"))
    lost: float | None = None
    killed: str = ""

    @property
    def where(self) -> str:
        """For people, and for `ids_in`."""
        if self.status.waits:
            return f"job {self.id} waits" + (f" ({self.status.reason})" if self.status.reason else "")
        return f"job {self.id} on {self.status.nodes}"


class _Jobs(Workers):
    """The jobs of one sweep. folder: of the files of submitit; variables: of the environment of jobs."""

    def __init__(self, options: Slurm, runtime: Mapping[str, Any], folder: Path, variables: Mapping[str, str]):
        self.options, self.runtime, self.folder, self.variables = options, runtime, folder, variables
        self.queue = Queue()
        self.gathered: list[Build] = []  # what begins in one turn is submitted together
        self.jobs: dict[Key, _Job] = {}
        self.submit_at = self.polled_at = 0.0
        self.warned_at = -WARN_SECONDS
        self.answered = time.monotonic()

    def room(self, stage: Stage) -> bool:
        return len(self.jobs) + len(self.gathered) < self.options.jobs

    def start(self, build: Build) -> str:
        self.gathered.append(build)
        return Slurm.__name__

    def over(self, timeout: float) -> Iterator[Over]:
        if self.gathered and time.monotonic() >= self.submit_at:
            yield from self._submit()
        end = time.monotonic() + timeout
        while not (there := self._with_outcome()) and time.monotonic() < end:
            time.sleep(0.2)
        for key in there:
            self._forget(self.jobs.pop(key), keep=False)
            yield Over(key)
        if self.jobs and time.monotonic() - self.polled_at >= self.options.poll_seconds:
            yield from self._ask()

    def where(self, key: Key) -> str | None:
        return self.jobs[key].where if key in self.jobs else None

    def waits(self, key: Key) -> bool:
        return key not in self.jobs or self.jobs[key].status.waits

    def _with_outcome(self) -> list[Key]:
        """The jobs whose outcome is there. A folder is listed, since a shared disk may keep for a while that a file was
        not there."""
        ends = {job.build.end.parent for job in self.jobs.values()}
        there = {path.name for folder in ends for path in folder.iterdir()}
        return [key for key, job in self.jobs.items() if job.build.end.name in there]

    def _submit(self) -> Iterator[Over]:
        """Hand what was gathered to Slurm: what asks for the same in one array."""
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        groups: dict[str, tuple[Any, list[Build]]] = {}
        for build in self.gathered:
            own = resources_of(self.options.given, build.stage, self.runtime)
            signal_seconds, requeues = self.options.signal_seconds, self.options.requeues
            ours = parameters(own, build.stage, self.runtime, signal_seconds, requeues, self.variables)
            name = repr(sorted(ours.items()))
            if name in groups and len(groups[name][1]) % ARRAY == 0:
                groups[f"{name} {len(groups)}"] = groups.pop(name)
            groups.setdefault(name, (ours, []))[1].append(build)
        self.gathered = []
        for ours, builds in groups.values():
            executor = submitit.SlurmExecutor(self.folder)
            executor.update_parameters(**ours, array_parallelism=len(builds))
            try:
                with contextlib.redirect_stderr(None), _outside_of_jobs(), executor.batch():
                    jobs = [executor.submit(build_there, str(b.spec.absolute()), str(b.log.absolute())) for b in builds]
            except (FailedJobError, FailedSubmissionError, OSError) as error:
                yield from self._refused(builds, str(error))
                continue
            self.answered = time.monotonic()
            for job, build in zip(jobs, builds, strict=True):
                self.jobs[build.stage.key] = _Job(job.job_id, build)
        self.polled_at = time.monotonic()

    def _refused(self, builds: list[Build], message: str) -> Iterator[Over]:
        """sbatch took no job: the builds are tried later, where the message says that this may help."""
        text = message.strip().replace("sbatch: error: ", "").replace("\n", "; ")
        if any(words in message for words in TRANSIENT) and time.monotonic() - self.answered < DOWN_SECONDS:
            console.print(f"  [yellow]Slurm takes no job now[/] ({for_console(text)}); again in 30s")
            self.submit_at = time.monotonic() + 30.0
            self.gathered += builds
            return
        for build in builds:
            yield Over(build.stage.key, f"Slurm refused its job: {text}", again=False)

    def _ask(self) -> Iterator[Over]:
        """Look at all jobs: one call."""
        self.polled_at = now = time.monotonic()
        try:
            known = self.queue.ask({job.id for job in self.jobs.values()})
        except NoAnswer as error:
            silent = now - self.answered
            if now - self.warned_at >= WARN_SECONDS:
                self.warned_at = now
                console.print(f"  [yellow]Slurm does not answer[/] for {seconds(silent)} ({for_console(error)})")
            if silent > DOWN_SECONDS:
                yield from [Over(key, f"Slurm did not answer for {seconds(silent)}", False) for key in self.jobs]
                self.jobs.clear()
            return
        self.answered = time.monotonic()
        for job in list(self.jobs.values()):
            if (over := self._look(job, known.get(job.id), now)) is not None:
                yield over

    def _look(self, job: _Job, status: Status | None, now: float) -> Over | None:
        """Take up what Slurm says of a job: its end without an outcome, where it holds on."""
        if status is not None and not status.over:
            job.status, job.lost = status, None
            if status.held and not job.killed:
                job.killed = f"Slurm holds job {job.id}: {status.reason}"
                self._cancel([job])
            return None
        job.lost = now if job.lost is None else job.lost
        if now - job.lost < (UNKNOWN_SECONDS if status is None else SETTLE_SECONDS):
            return None
        end = ending(job.id, status, end_of(self._output(job)), job.build.stage.kind)
        del self.jobs[job.build.stage.key]
        self._forget(job, keep=True)
        return Over(job.build.stage.key, job.killed or end.reason, again=bool(job.killed) or end.again)

    def _output(self, job: _Job) -> Path:
        """What Slurm and submitit write of a job."""
        return self.folder / f"{job.id}_0_log.out"

    def _forget(self, job: _Job, keep: bool) -> None:
        """Remove the files of a job that is over. keep: what Slurm wrote of it is added to the build's output."""
        if keep and (written := end_of(self._output(job))):
            with job.build.log.open("a") as log:
                log.write(written)
        for path in (self._output(job), self.folder / f"{job.id}_submitted.pkl"):
            path.unlink(missing_ok=True)

    def kill(self, key: Key) -> None:
        if (job := self.jobs.get(key)) is not None:
            job.killed = "it was silent"
            self._cancel([job])

    def stop(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        left = [job.id for job in self.jobs.values()]
        self.gathered.clear()
        self._cancel(self.jobs.values())
        while left and time.monotonic() < end:
            time.sleep(0.5)
            with contextlib.suppress(NoAnswer):
                left = [name for name, status in self.queue.ask(left).items() if not status.over]
        if left:
            console.print(f"  {counted(len(left), 'job')} still in Slurm's queue: scancel {' '.join(left)}")

    def close(self) -> None:
        self._cancel(self.jobs.values())  # after an error of this process; else there are none
        if not self.jobs:
            shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def _cancel(jobs: Iterable[_Job]) -> None:
        try:
            cancel(job.id for job in jobs)
        except NoAnswer as error:
            console.print(f"  [yellow]{for_console(error)}[/]")
