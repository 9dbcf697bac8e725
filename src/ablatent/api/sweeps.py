"""`ablatent.sweep`: the command line as a process of its own, and a handle to what it records in the store."""

import codecs
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ablatent.core.errors import AblatentError, ConfigError
from ablatent.core.here import host, search_path
from ablatent.core.options import conf_folder
from ablatent.report.place import HTML
from ablatent.store.identity import SweepId
from ablatent.store.layout import sweep_folder, sweep_ids
from ablatent.store.sweeps import sweep_named
from ablatent.sweep.journal import driver_of, is_driven

if TYPE_CHECKING:
    import pandas

EVERY_SECONDS = 0.1
TAIL = 20
"""Lines of a command's output that an error shows."""
ENDS_WITHIN = 40.0
"""Seconds that a command which is to end has for its checkpoints."""
REFUSED = {
    "do": "Leave it out: a sweep is do=run. Other verbs are run by the command line.",
    "store.path": "Give the folder by store=….",
    "hydra/launcher": "Leave it out: other launchers run each job as a sweep of its own.",
    "hydra/sweeper": "Leave it out: a search is run by the command line, and makes several sweeps.",
}
"""Override → why a sweep takes none of it."""
USAGE = 2
"""The exit code of a command that could not run, and has printed why."""


class _Command:
    """A command line that runs as a process of its own. Its output goes through a file without a name, so that the
    command goes on where nobody reads it any more."""

    def __init__(self, words: Sequence[str]):
        environment = {**os.environ, "PYTHONPATH": search_path(), "PYTHONUNBUFFERED": "1"}
        for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"):  # of a notebook: this is a file, no terminal
            environment.pop(name, None)
        self.output, self.shown = tempfile.TemporaryFile(), 0  # noqa: SIM115  # open as long as this is
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT, env=environment
        )

    def runs(self, echo: bool) -> bool:
        """Whether it has not ended. echo: what it has printed since the last such look goes to sys.stdout."""
        ended = self.process.poll() is not None
        new = os.pread(self.output.fileno(), os.fstat(self.output.fileno()).st_size - self.shown, self.shown)
        self.shown += len(new)
        text = self.decoder.decode(new, final=ended)
        if echo and text:
            sys.stdout.write(text)
            sys.stdout.flush()
        return not ended

    def follow(self, echo: bool) -> None:
        """Return at its end. An exception, such as an interrupt, ends it."""
        try:
            while self.runs(echo):
                time.sleep(EVERY_SECONDS)
        except BaseException:
            self.end(signal.SIGINT)
            raise

    def end(self, number: signal.Signals) -> None:
        """Send it a signal, and return when it has ended: by force where it has not after ENDS_WITHIN."""
        self.process.send_signal(number)
        try:
            self.process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def message(self) -> str:
        """Its error, as it printed it; the end of its output where it printed none."""
        size = os.fstat(self.output.fileno()).st_size
        text = os.pread(self.output.fileno(), size, 0).decode(errors="replace").strip()
        _, found, error = f"\n{text}".rpartition("\nerror ")
        return error if found else "\n".join(text.splitlines()[-TAIL:])


@dataclass(frozen=True)
class SweepHandle:
    """A sweep of a store: one that `ablatent.sweep` started, or `SweepHandle(Path(store), id)` of any that is there.

    store: the folder of the store; id: of the sweep; command: the process, of one that this process has started.
    """

    store: Path
    id: str
    command: _Command | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "store", Path(self.store).absolute())

    @property
    def state(self) -> str:
        """running, finished (every job), failed (some job failed or was refused) or stopped (before its end).

        Raises ConfigError where the store has no such sweep.
        """
        folder = sweep_folder(self.store, sweep_named(self.store, self.id))
        if (self.command is not None and self.command.process.poll() is None) or is_driven(folder):
            return "running"
        driver = driver_of(folder)
        code = None if driver is None else driver.code
        return "stopped" if code is None else "failed" if code else "finished"

    @property
    def report(self) -> Path | None:
        """The report, an HTML page; None before there is one, and where `out=` put it elsewhere."""
        path = sweep_folder(self.store, SweepId.typed(self.id, "sweep")) / "report" / HTML
        return path if path.is_file() else None

    def results(self) -> "pandas.DataFrame":
        """One row a job, those that are not finished too: `ablatent.results` of this sweep, with its errors."""
        from ablatent.api.tables import results

        return results(self.store, self.id)

    def wait(self, echo: bool = True) -> "SweepHandle":
        """This handle, once the command that runs the sweep has ended, whatever came of its jobs.

        echo: write what the command prints to sys.stdout meanwhile, where this process has started it. An interrupt
        ends the command, too, which keeps what is finished and its checkpoints: the same sweep started again goes on.
        """
        if self.command is not None:
            self.command.follow(echo)
        while self.state == "running":
            time.sleep(EVERY_SECONDS)
        return self

    def stop(self) -> None:
        """End the command, where this process has started it; it keeps what is finished, and its checkpoints."""
        if self.command is not None:
            self.command.end(signal.SIGTERM)


def sweep(
    overrides: Sequence[str] = (), store: str | Path = "store", *, wait: bool = True, echo: bool = True
) -> SweepHandle:
    """Run the sweep of these overrides, as `python run.py -m OVERRIDES store.path=STORE` does.

    overrides: one text each, as on the command line but without its quotes: `["first_stage=kl,vq", "preset=tiny"]`;
    without a value list it is a sweep of one job. store: the folder of the store, made where there is none. wait:
    return at its end; else as soon as the sweep is recorded, and it goes on when this process ends. echo: write what
    the command prints to sys.stdout while this waits.

    The command is a process of its own, since Hydra, signals and workers belong to whole processes: it may be called
    from a notebook, a thread, or a script without a `__main__` guard, and finds the modules that this process finds
    (sys.path). What is in the store already is not built again.

    A job that fails, or is refused beside others, and a command that is ended, raise nothing: see `state` and
    `results()` of the handle. Raises
    ConfigError for overrides that no sweep takes, and AblatentError, with the message of the command, where it ended
    before there was a sweep: an unknown key or option, every job refused, a store that cannot be written.
    """
    if isinstance(overrides, str) or not all(isinstance(o, str) for o in overrides):
        raise ConfigError("overrides", "a list of texts, one an override", overrides, "For example ['preset=tiny'].")
    for override in overrides:
        key, given, _ = override.partition("=")
        if not (given or key.startswith("~")) or key.startswith("-"):
            raise ConfigError("overrides", "KEY=VALUE, or ~KEY", override, "Flags belong to the command line.")
        if (do := REFUSED.get(key.lstrip("+"))) is not None:
            raise ConfigError(key.lstrip("+"), "no such override here", override, do)
    root = Path(store).absolute()
    before = set(sweep_ids(root))
    command = _Command([*_program(), "-m", *overrides, f"store.path={_quoted(str(root))}"])
    try:
        while (runs := command.runs(echo and wait)) and _recorded(root, before, command) is None:
            time.sleep(EVERY_SECONDS)
    except BaseException:
        command.end(signal.SIGINT)
        raise
    found = _recorded(root, before, command)
    if found is None:
        code = command.process.returncode
        reason = f"the command ended with code {code} and no sweep in {root}: {command.message()}"
        raise AblatentError(command.message() if code == USAGE else reason)
    handle = SweepHandle(root, found, command)
    return handle.wait(echo) if wait and runs else handle


def _program() -> list[str]:
    """The command line of this package: run.py beside conf/, else the package itself."""
    script = conf_folder().parent / "run.py"
    return [sys.executable, *([str(script)] if script.is_file() else ["-m", "ablatent"])]


def _quoted(value: str) -> str:
    """A value as one text of Hydra's grammar: in quotes where it has more in it than plain paths have."""
    if re.fullmatch(r"[\w./+%@-]+", value):
        return value
    plain = re.sub(r"(\\*)('|\$\{|$)", lambda m: m[1] * 2 + (f"\\{m[2]}" if m[2] else ""), value)
    return f"'{plain}'"


def _recorded(root: Path, before: set[SweepId], command: _Command) -> SweepId | None:
    """The sweep that this command runs or ran, None before it is recorded."""
    for sweep in sweep_ids(root):
        if sweep not in before:
            driver = driver_of(sweep_folder(root, sweep))
            if driver is not None and (driver.host, driver.pid) == (host(), command.process.pid):
                return sweep
    return None
