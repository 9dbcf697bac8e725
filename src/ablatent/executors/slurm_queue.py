"""What Slurm says of its jobs, by its own commands: one call for all of them. Free of submitit.

`squeue` knows jobs for some minutes after their end; `sacct` knows older ones, lags, and is missing where a cluster
keeps no accounts. What a job came to is never read here: only that it is over, and why.
"""

import re
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ablatent.core.errors import AblatentError

COMMAND_SECONDS = 60.0
"""For one command of Slurm."""
WITHOUT_ACCOUNTS = 120.0
"""Seconds until sacct is tried again after it has failed."""
OVER = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
)
"""States that a job does not leave, unless it is requeued."""
HELD = ("JobHoldMaxRequeue", "launch_failed_requeued_held")
"""Reasons of jobs that wait for an administrator."""
OF_MEMORY = re.compile(r"exceeded (?:job )?memory limit|oom[-_ ]?kill", re.IGNORECASE)
MESSAGE = re.compile(r"^(?:slurmstepd\S*|srun|ablatent): error: (.+)$", re.MULTILINE)
GIVEN_UP = "was requeued"
"""What the script of a job says when it stops to."""
JOB = re.compile(r"\bjob (\d+(?:_\d+)?)\b")
"""A job in the words of the journal."""


class NoAnswer(AblatentError):
    """A command of Slurm that failed, with what it printed."""


@dataclass(frozen=True)
class Status:
    """A job as Slurm sees it. state: PENDING, RUNNING, COMPLETED …; nodes: n1 or n[1-2], empty for none; reason: why
    it waits."""

    state: str
    nodes: str = ""
    reason: str = ""

    @property
    def over(self) -> bool:
        """Whether it has ended, unless it is requeued."""
        return self.state in OVER

    @property
    def waits(self) -> bool:
        """Whether nothing of it runs."""
        return not self.over and self.state not in ("RUNNING", "COMPLETING")

    @property
    def held(self) -> bool:
        """Whether Slurm itself will not run it again, after it failed to begin it."""
        return self.waits and self.reason.replace(" ", "_") in HELD


@dataclass(frozen=True)
class Ending:
    """Why a job ended without an outcome. again: whether another one may try."""

    reason: str
    again: bool


class Queue:
    """The jobs of a cluster."""

    def __init__(self) -> None:
        self.no_accounts_until = 0.0

    def ask(self, ids: Collection[str]) -> dict[str, Status]:
        """id → status, of those that Slurm still knows. Raises NoAnswer where it does not answer."""
        if not ids:
            return {}
        words = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(sorted(ids))}"]
        try:
            found = dict(_rows(command(*words, "--format=%i|%T|%N|%r")))
        except NoAnswer as error:
            if "Invalid job id" not in str(error):
                raise
            found = {}
        older = set(ids) - set(found)
        if older and time.monotonic() > self.no_accounts_until:
            words = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={','.join(sorted(older))}"]
            try:
                found |= dict(_rows(command(*words, "--format=JobID,State,NodeList")))
            except NoAnswer:
                self.no_accounts_until = time.monotonic() + WITHOUT_ACCOUNTS
        return {name: status for name, status in found.items() if name in ids}


def command(*words: str) -> str:
    """The output of a command of Slurm. Raises NoAnswer where it fails, or is not there."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAnswer(f"{words[0]}: {error}") from None
    if done.returncode:
        raise NoAnswer(f"{words[0]}: {done.stderr.strip() or done.stdout.strip() or f'code {done.returncode}'}")
    return done.stdout


def _rows(text: str) -> Iterator[tuple[str, Status]]:
    """(id, status) of each line 'ID|STATE|NODES|REASON'; a state may have more words, as CANCELLED by 0."""
    for line in text.splitlines():
        name, state, nodes, *reason = line.split("|")
        plain = "" if nodes in ("None assigned", "(null)") else nodes
        yield name, Status((state.split() or [""])[0], plain, "".join(reason).replace("None", ""))


def cancel(ids: Iterable[str]) -> None:
    """Have jobs ended: those that run get SIGTERM, and some seconds. One that is over is none."""
    if names := sorted(ids):
        try:
            command("scancel", "--quiet", *names)
        except NoAnswer as error:
            if "Invalid job id" not in str(error):
                raise


def ids_in(places: Iterable[str]) -> list[str]:
    """The ids of the jobs that the journal names."""
    return [match[1] for place in places if (match := JOB.search(place))]


def ending(name: str, status: Status | None, output: str, kind: str) -> Ending:
    """Why a job ended without an outcome.

    status: the last one, None for a job that Slurm knows no more; output: what Slurm wrote of it; kind: of its stage.
    """
    own = f"executor.resources.{kind}"
    if status is None:
        return Ending(f"Slurm knows job {name} no more", True)
    at = f"job {name}" + (f" on {status.nodes}" if status.nodes else "")
    messages = MESSAGE.findall(output)
    if status.state == "OUT_OF_MEMORY" or OF_MEMORY.search(output):
        line = next((line for line in messages if OF_MEMORY.search(line)), "out of memory")
        return Ending(f"{at} took more memory than it was given ({line}); {own}.memory is to be larger", False)
    if status.state == "CANCELLED":
        return Ending(f"{at} was cancelled", False)
    if status.state == "TIMEOUT":
        return Ending(f"{at} was ended by its time limit, {own}.minutes", True)
    if given_up := next((line for line in messages if GIVEN_UP in line), ""):
        return Ending(f"{at} {given_up}; {own}.minutes is to be larger", False)
    return Ending(f"{at} ended as {status.state}" + (f": {messages[-1]}" if messages else ""), True)


def end_of(path: Path, size: int = 4000) -> str:
    """The last bytes of a file, as text; empty without one."""
    try:
        return path.read_bytes()[-size:].decode(errors="replace")
    except OSError:
        return ""
