"""Ids of runs, and the files of a store that name the runs of its trained stages."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablatent.core.files import read_json
from ablatent.core.progress import warn_once


def run_id(*parts: object) -> str:
    """16 hex digits that depend on all parts: the same stage and attempt, or sweep and job, give the same run."""
    text = json.dumps([str(p) for p in parts])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def job_run_id(sweep: str, index: int, name: str) -> str:
    """The id of the run of a job, whatever the tracker."""
    return run_id(sweep, index, name)


def runs_in(path: Path) -> dict[str, dict[str, Any]]:
    """backend → the run of a stage, of a file of the store; a damaged one is named, and counts as none."""
    if not path.exists():
        return {}
    try:
        known = read_json(path)
    except (OSError, ValueError):
        known = None
    if isinstance(known, dict) and all(isinstance(link, dict) for link in known.values()):
        return known
    warn_once(f"{path} is damaged: expected the tracker's runs of a stage. It is left out.")
    return {}


def stage_links(root: Path) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """(key, backend → run) of every trained stage that has runs in trackers. root: of the store."""
    for path in sorted((root / "tracking" / "stages").glob("*.json")):
        yield path.stem, runs_in(path)
