"""Images that cannot be read: each is decoded once, in parallel, before anything is planned with it. Free of torch."""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ablatent.core.errors import DataError
from ablatent.core.progress import track
from ablatent.data.decode import read_image
from ablatent.data.hashing import identity, recall, remember, settled
from ablatent.data.listing import printable, shortlist

PURPOSE, READABLE = "decoded", ""
AT_ONCE = 1024
"""Images that are handed to the threads together."""

_seen: dict[tuple[Path, str], tuple[list[int], str]] = {}
"""(root, name) → identity and why it cannot be read (READABLE where it can), while this process runs."""


def problems_of(
    root: Path,
    names: Sequence[str],
    cache: str | None,
    place: Callable[[str], Path],
    encoded: Callable[[str], Path | bytes] | None = None,
) -> dict[str, str]:
    """Name → why the image cannot be read, of those of these images below root that cannot.

    cache: folder that remembers which could, see `file_digests`; None: no other process is believed. place: the file
    that an image is in; encoded: what `read_image` takes for it, called by several threads; None: that file. Raises
    ConfigError (data.cache).
    """
    encoded = encoded or place
    known, found, todo = recall(cache, root, PURPOSE), dict[str, str](), dict[str, list[int]]()
    for name in names:
        try:
            of = identity(place(name))
        except DataError:
            found[name] = "it is not there, or a link to nothing"
            continue
        if name in known and known[name][:-1] == of:
            continue
        seen = _seen.get((root, name))
        if seen is None or seen[0] != of:
            todo[name] = of
        elif seen[1] != READABLE:
            found[name] = seen[1]
    fresh, start = dict[str, str](), time.time_ns()
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool, track("looking through images", len(todo), "images") as bar:
            for first in range(0, len(todo), AT_ONCE):
                part = list(todo)[first : first + AT_ONCE]
                for name, problem in zip(part, pool.map(lambda n: problem_of(place(n), encoded, n), part), strict=True):
                    fresh[name] = problem
                    bar.advance()
    finally:  # what was seen before an interruption need not be decoded again
        lasting = {n: problem for n, problem in fresh.items() if settled(todo[n], start)}
        _seen.update({(root, n): (todo[n], problem) for n, problem in lasting.items()})
        # an image that could not be read is tried again by the next command: its decoder may be installed by then
        remember(cache, root, PURPOSE, {n: [*todo[n], p] for n, p in lasting.items() if p == READABLE})
    found |= {name: problem for name, problem in fresh.items() if problem != READABLE}
    return {name: found[name] for name in names if name in found}


def problem_of(place: Path, encoded: Callable[[str], Path | bytes], name: str) -> str:
    """Why the image of that name in the file `place` cannot be read; READABLE where it can."""
    if not place.is_file():
        return "it is no regular file"
    if place.stat().st_size == 0:
        return "it is empty"
    try:
        read_image(encoded(name), 1, "box", name)
    except DataError as error:
        reason = re.sub(r" (<_io\.BytesIO.*?>|'.*?'|\".*?\")$", "", str(error.__cause__ or error))  # the file's name
        return printable(reason or type(error.__cause__).__name__)
    return READABLE


def unreadable(problems: Mapping[str, str], total: int) -> DataError:
    """The error for images that cannot be read: how many of the total, and the first ten with their reasons."""
    named = shortlist([f"{name} ({problem})" for name, problem in problems.items()])
    return DataError(
        f"data.on_damaged: expected {total} images that can be read; {len(problems)} cannot: {named}. "
        "Do: mend or remove them, or leave them out by data.on_damaged=skip"
    )
