"""Processes that a command has started, as /proc shows them."""

from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Every living process below one, from /proc."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if fields[0] != "Z":
            parents[int(stat.parent.name)] = int(fields[1])
    below, level = [], [pid]
    while level:
        level = [child for child, parent in parents.items() if parent in level]
        below += level
    return below


def gone(pid: int) -> bool:
    """Ended, whether or not its end was noticed."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def working_in(folder: Path) -> list[int]:
    """Every living process whose working directory is this folder."""
    found = []
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if cwd.resolve() == folder.resolve() and not gone(int(cwd.parent.name)):
                found.append(int(cwd.parent.name))
        except OSError:  # it ended meanwhile
            continue
    return found
