"""The folder of a report that goes elsewhere than into the store. Free of numpy and matplotlib."""

import os
from pathlib import Path

from ablatent.core.errors import ConfigError

HTML = "report.html"
RECORD = "sweep"
"""The folder beside a report for the record of its sweep, where nothing can be written into the store."""


def check_out(folder: Path) -> None:
    """Raise ConfigError, which names `out`, for a folder with something else in it, and one that cannot be written."""
    expected = f"a folder that can be written: a new or empty one, or one with an earlier {HTML}"
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError("out", expected, str(folder), f"Nothing can be written into {there}.")
    if there == folder and not (folder / HTML).is_file() and {path.name for path in folder.iterdir()} - {RECORD}:
        raise ConfigError("out", expected, str(folder), "Nothing of it is overwritten.")
