"""Progress for anything longer than two seconds: a rich bar on a terminal, sparse lines in a file."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ablatent.core.escape import for_console

# no emoji: the caption ":cat:" is shown as it is
console = Console(highlight=False, soft_wrap=True, emoji=False)
if not console.is_terminal:
    console.width = 160  # a file has no width; tables must not be folded to 80 columns


@cache
def warn_once(line: str) -> None:
    """Print a warning, unless this process has printed the same before."""
    console.print(f"  [yellow]{for_console(line)}[/]")


def seconds(value: float) -> str:
    """A duration in seconds as text: 1.4s, 42s, 2m10s, 1h03m."""
    if value < 10:
        return f"{value:.1f}s"
    if value < 60:
        return f"{value:.0f}s"
    if value < 3600:
        return f"{int(value) // 60}m{int(value) % 60:02d}s"
    return f"{int(value) // 3600}h{int(value) % 3600 // 60:02d}m"


def counted(number: int, noun: str, plural: str = "") -> str:
    """'1 job', '2 jobs', '1,000 jobs'. plural: of a noun that does not just take an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


_open: "list[Bar]" = []


def open_bar() -> "Bar | None":
    """The bar that was opened last and is not closed: what this process is doing now, for whoever watches it."""
    return _open[-1] if _open else None


class Bar:
    """A progress bar on a terminal, else a line every `every` seconds; both show the rate and the time left.

    title, unit: what is done, and what is counted; total: how many units there are; done: how many were done before,
    by a run that this one resumes, which the rate leaves out.
    """

    def __init__(self, title: str, total: int, unit: str, done: int = 0, every: float = 15.0):
        self.title, self.total, self.unit, self.done, self.every = title, total, unit, done, every
        self.first = done
        self.start = self.last = time.monotonic()
        _open.append(self)
        self.rich: Progress | None = None
        if console.is_terminal:
            self.rich = Progress(
                TextColumn("  {task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[shown]}"),
                console=console,
                transient=True,
            )
            self.task = self.rich.add_task(title, total=total, completed=done, rate="", shown="")
            self.rich.start()

    def advance(self, n: int = 1, **shown: float) -> None:
        """Count n more units as done. shown: values by name (a loss, say) beside the rate."""
        self.done += n
        now, rate = time.monotonic(), self.rate
        text = " ".join(f"{k} {v:.4g}" for k, v in shown.items())
        if self.rich is not None:
            self.rich.update(self.task, completed=self.done, rate=f"{rate:.3g} {self.unit}/s", shown=text)
        elif now - self.last >= self.every and self.done < self.total:
            self.last = now
            left = seconds((self.total - self.done) / max(rate, 1e-9))
            counted = f"{self.done}/{self.total} {self.unit}, {rate:.3g} {self.unit}/s"
            console.print(f"  {self.title}: {counted}, {left} left {text}".rstrip())
            sys.stdout.flush()

    @property
    def rate(self) -> float:
        """Units a second since it was opened."""
        return (self.done - self.first) / max(time.monotonic() - self.start, 1e-9)

    def skip(self, n: int) -> None:
        """Count n more units as done before, see `done`."""
        self.first += n
        self.advance(n)

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self in _open:
            _open.remove(self)
        if self.rich is not None:
            self.rich.stop()


@contextmanager
def track(title: str, total: int, unit: str = "it", done: int = 0) -> Iterator[Bar]:
    """A `Bar` for a block.

    ``with track("encoding", len(x), "images") as bar: … bar.advance(n, loss=…)``
    """
    bar = Bar(title, total, unit, done)
    try:
        yield bar
    finally:
        bar.close()
