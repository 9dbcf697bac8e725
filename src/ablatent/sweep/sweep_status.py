"""One recorded sweep, as its files show it to any process: who runs it, where its stages stand."""

import time
from collections import Counter
from pathlib import Path

from rich.console import Group
from rich.live import Live
from rich.table import Table

from ablatent.core.escape import for_console
from ablatent.core.progress import console, counted, seconds
from ablatent.store.identity import Key, SweepId
from ablatent.store.layout import object_folder, sweep_folder
from ablatent.store.records import PlanRecord, StageState
from ablatent.sweep.journal import Journal, driver_of, heartbeat_of, is_driven, states_of
from ablatent.sweep.live import RunningBuild, running_table

STATES = ("built", "found", "running", "elsewhere", "waiting", "stopped", "failed", "skipped")
"""In the order of the table's columns; `waiting` has also those that nobody has begun."""
WATCH_SECONDS = 1.0


def show_sweep(root: Path, sweep: SweepId, planned: PlanRecord, watch: bool) -> None:
    """Print where the stages of a sweep stand. watch: again and again, as long as a command runs it."""
    folder = sweep_folder(root, sweep)
    if not watch:
        console.print(_shown(root, folder, planned))
        return
    if not console.is_terminal:  # a file gets a line for each change
        _follow(root, folder, planned)
        return
    with Live(_shown(root, folder, planned), console=console, auto_refresh=False) as live:
        while is_driven(folder):
            time.sleep(WATCH_SECONDS)
            live.update(_shown(root, folder, planned), refresh=True)


def _follow(root: Path, folder: Path, planned: PlanRecord) -> None:
    last = ""
    while True:
        driven, counts = is_driven(folder), Counter(state.status for state in _states(root, folder, planned).values())
        line = ", ".join(f"{counts[status]} {status}" for status in STATES if counts[status])
        if line != last:
            console.print(f"  {line}")
        last = line
        if not driven:
            console.print(for_console(_driver_line(folder)))
            return
        time.sleep(WATCH_SECONDS)


def _states(root: Path, folder: Path, planned: PlanRecord) -> dict[Key, StageState]:
    """key → where each stage of a plan stands now. What a command left running that is gone has stopped."""
    written, driven = states_of(folder), is_driven(folder)
    states = {}
    for key in planned.stages:
        state = written.get(key, StageState(status="waiting"))
        if state.status in ("running", "elsewhere", "waiting", "stopped") and object_folder(root, key).exists():
            state = StageState(status="built" if state.status == "running" else "found", time=state.time)
        elif state.status in ("running", "elsewhere") and not driven:
            state = StageState(status="stopped", where=state.where, attempt=state.attempt, time=state.time)
        states[key] = state
    return states


def _shown(root: Path, folder: Path, planned: PlanRecord) -> Group:
    states = _states(root, folder, planned)
    counts = Counter((key.kind, state.status) for key, state in states.items())
    columns = [status for status in STATES if any(state.status == status for state in states.values())]
    table = Table("kind", *columns, title=for_console(_driver_line(folder)), title_justify="left")
    for kind in dict.fromkeys(key.kind for key in planned.stages):
        table.add_row(kind, *(str(counts[kind, status]) for status in columns))
    journal = Journal(folder)
    running = [
        RunningBuild(key.short, state.where, state.time, heartbeat_of(journal.beat_file(key)))
        for key, state in states.items()
        if state.status == "running"
    ]
    parts: list[Table | str] = [table]
    if running:
        parts.append(running_table(running, f"{counted(len(running), 'stage')} being built"))
    for key, state in states.items():
        if state.status == "failed":
            parts.append(f"  {key.short} failed: {for_console(state.message)}")
        elif state.attempt > 1:
            parts.append(f"  {key.short}: attempt {state.attempt} ({state.status})")
    return Group(*parts)


def _driver_line(folder: Path) -> str:
    """Who runs a sweep, or how that ended."""
    driver = driver_of(folder)
    if driver is None:
        return "nobody has noted who runs this sweep"
    where = f"{driver.host}:{driver.pid}, executor {driver.executor}"
    if is_driven(folder):
        return f"runs since {seconds(time.time() - driver.began)} on {where}"
    if driver.code is None:
        return f"stopped before its end, on {where}. To go on: do=resume sweep={folder.name}"
    return f"ended with code {driver.code}, on {where}" + (
        f". To try again what failed: do=retry sweep={folder.name}" if driver.code else ""
    )
