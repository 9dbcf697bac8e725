"""The course of one sweep over workers: what may begin, what is tried again, what is given up.

It is decided here, and by nobody else. What a build came to stands in a file that its worker writes, whatever the
engine believes.
"""

import time
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge

from ablatent.core.errors import AblatentError, DataError
from ablatent.core.escape import for_console
from ablatent.core.fields import Positive, Whole
from ablatent.core.files import write_json
from ablatent.core.here import end_process
from ablatent.core.progress import console, counted, seconds
from ablatent.core.signals import stop, stop_requested
from ablatent.executors.workers import Build, Over, Workers
from ablatent.stages.stage import Stage
from ablatent.store.identity import Key
from ablatent.store.layout import lock_file
from ablatent.store.locks import is_held
from ablatent.store.records import BuildRecord, Heartbeat, JobFailure, PlannedStage, StageOutcome
from ablatent.sweep.builder import print_there
from ablatent.sweep.executor import SweepRun, not_begun
from ablatent.sweep.expected_time import GUESS, ExpectedTime
from ablatent.sweep.jobs_left import JobsLeft
from ablatent.sweep.journal import heartbeat_of, newest_heartbeat
from ablatent.sweep.live import LiveTable, RunningBuild
from ablatent.sweep.schedule import Schedule
from ablatent.sweep.worker import failed, print_failed

LOOK_SECONDS = 2.0
"""Between two looks at a stage that another command builds, and at heartbeats."""
START_SECONDS = 120.0
"""A worker may take so much longer until its first heartbeat: it imports torch before."""
STOP_SECONDS = 15.0
"""Workers have so long to leave their checkpoints when the command ends."""


@dataclass(kw_only=True)
class Patience:
    """What a sweep does about failures and lost workers: fields of every executor with workers."""

    fail_fast: Annotated[bool, "begin no stage after the first failure"] = False
    retries: Annotated[Whole, "how often a stage is tried again whose worker was lost"] = 2
    retry_seconds: Annotated[float, Ge(0), "before the first of them; twice as long before each further one"] = 1.0
    silent_seconds: Annotated[Positive, "a worker without a heartbeat for so long is ended, and counts as lost"] = 120.0


@dataclass(kw_only=True)
class _Watch(RunningBuild):
    """A build that a worker has. beat: of the last heartbeat; seen: when that was new, by the clock of this process."""

    build: Build
    beat: int = -1
    seen: float = field(default_factory=time.monotonic)


class Course:
    """One sweep on one engine, from its first stage to its last."""

    def __init__(self, options: Patience, sweep: SweepRun, workers: Workers):
        self.options, self.sweep, self.workers = options, sweep, workers
        self.stages = {stage.key: stage for stage in sweep.plan.stages.values()}
        expected = sweep.expected_time or ExpectedTime(sweep.builder.store, sweep.plan.stages)
        self.expected = {
            key: (GUESS[s.trained] if (known := expected(s)) is None else known.seconds)
            for key, s in self.stages.items()
        }
        self.schedule = Schedule(self.stages, lambda stage: self.expected[stage.key])
        self.jobs = JobsLeft(sweep)
        self.running: dict[Key, _Watch] = {}
        self.attempts: dict[Key, int] = {}
        self.later: dict[Key, float] = {}  # key → when it is looked at again
        self.elsewhere: dict[Key, tuple[Heartbeat | None, float]] = {}  # another's heartbeat, and when it was new
        self.looked = time.monotonic()
        self.stopped = False  # at the first failure
        self.live = LiveTable(len(self.stages))

    def run(self) -> None:
        """Until every stage has its outcome, or a signal wants an end."""
        with self.live:
            self._find_all()
            while not self.schedule.done:
                if stop_requested():
                    self._stop()
                self._take_up()
                self._begin_ready()
                self.live.show(
                    list(self.running.values()), len(self.stages) - len(self.schedule.unfinished), self._left()
                )
                if not self.schedule.done:
                    for over in self.workers.over(0.1 if self.later else 0.5):
                        self._over(over)
                    self._look()

    def _find_all(self) -> None:
        """What is in the store already takes no worker, and waits for none."""
        missing: list[Key] = []
        while (key := self.schedule.take()) is not None:
            if not self._settled(self.stages[key]):
                missing.append(key)
        for key in missing:
            self.schedule.give_back(key)

    def _begin_ready(self) -> None:
        blocked: list[Key] = []
        while (key := self.schedule.take()) is not None:
            stage = self.stages[key]
            if not self.stopped and not self.workers.room(stage):
                blocked.append(key)
                break
            if self._settled(stage):
                continue
            if is_held(lock_file(self.sweep.builder.store.root, key)):
                self._wait_elsewhere(key)
            elif self._prepares_the_same(stage):
                blocked.append(key)
            else:
                self._start(stage)
        for key in blocked:
            self.schedule.give_back(key)

    def _settled(self, stage: Stage) -> bool:
        """Whether a stage needs no build: it is in the store, or is not to be tried; it has its outcome then."""
        outcome = not_begun(stage) if self.stopped else self.sweep.given_up.get(stage.key) or self._found(stage)
        if outcome is not None:
            self._end(stage.key, outcome)
        return outcome is not None

    def _found(self, stage: Stage) -> StageOutcome | None:
        start = time.monotonic()
        try:
            if self.sweep.builder.find(stage) is not None:
                return StageOutcome("found", time.monotonic() - start)
        except AblatentError as error:
            return failed(stage, error)
        return None

    def _prepares_the_same(self, stage: Stage) -> bool:
        """Whether a running stage prepares the images that this one reads, so that it would only wait for them."""
        images = stage.digests.get("images")
        if images is None or self.sweep.builder.store.folder(Key(f"data-{images}")).exists():
            return False
        return any(watch.build.stage.digests.get("images") == images for watch in self.running.values())

    def _start(self, stage: Stage) -> None:
        sweep, key = self.sweep, stage.key
        attempt = self.attempts[key] = self.attempts.get(key, 0) + 1
        folder = sweep.journal.folder
        paths = {name: folder / name / f"{key}.json" for name in ("specs", "ends")}
        build = Build(
            stage, attempt, paths["specs"], paths["ends"], sweep.journal.beat_file(key), folder / "logs" / f"{key}.log"
        )
        for path in (build.spec, build.end, build.beat, build.log):
            path.parent.mkdir(parents=True, exist_ok=True)
        for path in (build.end, build.beat):
            path.unlink(missing_ok=True)
        spec = BuildRecord(
            stage=PlannedStage(**stage.spec()),
            store=str(sweep.builder.store.root.absolute()),
            runtime=sweep.builder.runtime,
            invocation=sweep.builder.invocation,
            on_code_change=sweep.builder.on_code_change,
            tracking=sweep.tracking,
            end=str(build.end.absolute()),
            beat=str(build.beat.absolute()),
        )
        write_json(build.spec, spec.to_json(), lasting=False)
        where = self.workers.start(build)
        sweep.journal.begin(key, where, attempt)
        self.running[key] = _Watch(name=key.short, where=where, since=time.time(), build=build)
        again = f", attempt {attempt}" if attempt > 1 else ""
        console.print(f"  {key.short:<24} begun on {for_console(where)}{again}")

    def _over(self, over: Over) -> None:
        watch = self.running.pop(over.key, None)
        if watch is None:
            return
        build, outcome = watch.build, None
        try:
            outcome = StageOutcome.read(build.end)
        except DataError:
            if self.sweep.builder.store.folder(over.key).exists():  # it was killed between its publishing and its word
                outcome = StageOutcome("built", time.monotonic() - watch.seen)
        for path in (build.spec, build.end):
            path.unlink(missing_ok=True)
        if outcome is None:
            self._lost(build, over)
        elif outcome.status == "busy":
            self.attempts[over.key] -= 1
            self._wait_elsewhere(over.key)
        else:
            self._print(build.stage, outcome)
            self._end(over.key, outcome)

    def _print(self, stage: Stage, outcome: StageOutcome) -> None:
        if outcome.error is not None:
            print_failed(stage, outcome.error.message)
        else:
            found = self.sweep.builder.store.find(stage.key)
            took = found.manifest.wall_seconds if found is not None else outcome.seconds
            print_there(stage, took if outcome.status == "built" else None)

    def _lost(self, build: Build, over: Over) -> None:
        """A worker has gone without a word."""
        key, reason = build.stage.key, over.reason or "it ended without a message"
        if over.again and build.attempt <= self.options.retries:
            pause = self.options.retry_seconds * 2 ** (build.attempt - 1)
            console.print(
                f"  {key.short:<24} [yellow]lost its worker[/] ({for_console(reason)}); again in {seconds(pause)}"
            )
            self.sweep.journal.waits(key, "waiting", f"lost its worker: {reason}", build.attempt)
            self.later[key] = time.monotonic() + pause
            return
        tried = f" It was tried {build.attempt} times." if build.attempt > 1 else ""
        message = f"{key}: its worker was lost: {reason}.{tried} The end of its output is in {build.log}."
        print_failed(build.stage, message)
        log = build.log.read_text(errors="replace")[-4000:] if build.log.exists() else ""
        self._end(key, StageOutcome("failed", 0.0, JobFailure(key, build.stage.kind, message, log)))

    def _wait_elsewhere(self, key: Key) -> None:
        if self.sweep.journal.states.get(key) is None or self.sweep.journal.states[key].status != "elsewhere":
            console.print(f"  {key.short:<24} is built by another command; this one goes on with what it can")
        self.sweep.journal.waits(key, "elsewhere", "another command builds it")
        self.later[key] = time.monotonic() + LOOK_SECONDS
        self._end_silent(key)

    def _end_silent(self, key: Key) -> None:
        """End the process that builds a stage for another command, where it has given no sign of life for too long:
        its own command may be gone."""
        beat, now = newest_heartbeat(self.sweep.builder.store.root, key), time.monotonic()
        if beat is None or self.elsewhere.get(key, (None, now))[0] != beat:
            self.elsewhere[key] = beat, now
            return
        if (silent := now - self.elsewhere[key][1]) <= self.options.silent_seconds:
            return
        self.elsewhere[key] = beat, now
        there = for_console(beat.where)
        if end_process(beat.where):
            console.print(f"  {key.short:<24} [yellow]is silent[/] for {seconds(silent)} on {there}: ended there")
        else:
            console.print(f"  {key.short:<24} [yellow]is silent[/] for {seconds(silent)} on {there}: end it there")

    def _take_up(self) -> None:
        now = time.monotonic()
        for key in [key for key, at in self.later.items() if at <= now]:
            del self.later[key]
            self.schedule.give_back(key)

    def _look(self) -> None:
        """Read heartbeats; end workers that were silent for too long."""
        now = time.monotonic()
        if now - self.looked < LOOK_SECONDS:
            return
        self.looked = now
        for key, watch in list(self.running.items()):
            if (where := self.workers.where(key)) is not None and where != watch.where:
                watch.where = where
                self.sweep.journal.begin(key, where, watch.build.attempt)
            if self.workers.waits(key):
                watch.seen = now
            watch.heartbeat = heartbeat_of(watch.build.beat)
            if watch.heartbeat is not None and watch.heartbeat.beat != watch.beat:
                watch.beat, watch.seen = watch.heartbeat.beat, now
            elif now - watch.seen > self.options.silent_seconds + (START_SECONDS if watch.beat < 0 else 0.0):
                console.print(f"  {key.short:<24} [yellow]is silent[/] for {seconds(now - watch.seen)}: it is ended")
                watch.seen = now  # one line of it: an engine may need a while
                self.workers.kill(key)

    def _end(self, key: Key, outcome: StageOutcome) -> None:
        self.sweep.journal.end(key, outcome)
        self.jobs.end(key, outcome)
        if outcome.status in ("built", "found"):
            self.schedule.finish(key)
            return
        self.stopped |= self.options.fail_fast and outcome.status == "failed"
        for below in self.schedule.fail(key):
            skipped = StageOutcome("skipped")
            self.sweep.journal.end(below, skipped)
            self.jobs.end(below, skipped)

    def _stop(self) -> None:
        """A signal wants an end: workers leave checkpoints, and nothing is lost but what came after them."""
        for key in self.running:
            self.sweep.journal.waits(key, "stopped", "its command was ended")
        self.workers.stop(STOP_SECONDS - 3)
        stop(f"checkpoints of {counted(len(self.running), 'stage')} that were being built" if self.running else "")

    def _left(self) -> float:
        """Seconds until the end at the speed of so many workers: work, or the longest path, whichever is longer."""
        unfinished = self.schedule.unfinished
        work = sum(self.expected[key] for key in unfinished) / max(1, len(self.running))
        return max([work, *(-self.schedule.order[key][0] for key in unfinished)])
