"""What a sweep shows while it runs: a table on a terminal, sparse lines in a file."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.live import Live
from rich.table import Table

from ablatent.core.escape import for_console
from ablatent.core.progress import console, counted, seconds
from ablatent.store.records import Heartbeat

LINE_SECONDS = 30.0


@dataclass
class RunningBuild:
    """A stage that is being built. name: its short name; where: its host and process, or job; since: seconds since
    1970; heartbeat: the last one, None before the first."""

    name: str
    where: str
    since: float
    heartbeat: Heartbeat | None = None


def progress_text(beat: Heartbeat | None) -> tuple[str, str]:
    """(how far, time left) of a build, as text; empty where it shows no bar."""
    if beat is None or not beat.total:
        return "", ""
    far = f"{beat.done:,}/{beat.total:,} {beat.unit}, {beat.rate:.3g} {beat.unit}/s"
    return far, seconds((beat.total - beat.done) / beat.rate) if beat.rate > 0 else ""


def running_table(rows: Iterable[RunningBuild], title: str) -> Table:
    """The table of the stages that are being built."""
    table = Table("stage", "where", "since", "progress", "left", title=title, title_justify="left")
    for row in rows:
        far, left = progress_text(row.heartbeat)
        table.add_row(row.name, for_console(row.where), seconds(max(0.0, time.time() - row.since)), far, left)
    return table


class LiveTable:
    """The table of a running sweep, drawn anew by `show`; without a terminal a line every LINE_SECONDS.

    total: number of stages.
    """

    def __init__(self, total: int):
        self.total = total
        self.last = time.monotonic()
        self.live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> "LiveTable":
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def show(self, rows: Sequence[RunningBuild], done: int, left: float) -> None:
        """Show the running stages, how many are done, and the seconds left, at most twice a second."""
        now = time.monotonic()
        if now - self.last < (0.5 if self.live is not None else LINE_SECONDS):
            return
        self.last = now
        title = f"{done} of {counted(self.total, 'stage')} done, {len(rows)} being built, about {seconds(left)} left"
        if self.live is not None:
            self.live.update(running_table(rows, title), refresh=True)
            return
        console.print(f"  {title}")
        for row in rows:
            far, rest = progress_text(row.heartbeat)
            if far:
                console.print(f"    {row.name} on {for_console(row.where)}: {far}" + (f", {rest} left" if rest else ""))
