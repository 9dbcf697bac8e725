"""What a long computation has finished, kept on disk in blocks, so that a killed one goes on from there.

Free of torch. A block is a run of batches that took a second or more, so that short computations write nothing, and a
block's file costs a twentieth of the time that it saves, at most.
"""

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ablatent.core.arrays import new_array
from ablatent.core.files import write_atomic
from ablatent.core.progress import console

SECONDS, SHARE = 1.0, 20.0
DIGEST_SIZE = 16
Arrays = dict[str, np.ndarray]


class Blocks:
    """The results of items 0, 1, …, which are added batch by batch, in order: arrays with rows.

    folder: of the blocks; those that are there are taken up, as far as they are whole and follow each other. None:
    everything stays in memory. title: of the message about that. check: called before a block is written; raises where
    this process may not write any more. done: the number of items that need not be computed; seconds: that those which
    were taken up had taken.
    """

    def __init__(self, folder: Path | None = None, title: str = "", check: Callable[[], None] = lambda: None):
        self.folder, self.title, self.check = folder, title, check
        self.done, self.seconds = 0, 0.0
        self._files: list[Path] = []
        self._pending: list[Arrays] = []
        if folder is not None:
            self._take_up(folder)
        self._first, self._begun, self._wait = self.done, time.monotonic(), SECONDS

    def add(self, items: int, **arrays: np.ndarray) -> None:
        """The results of the next `items` items, by name; a row an item, or rows that are to be summed in the end."""
        self._pending.append(arrays)
        self.done += items
        if self.folder is not None and time.monotonic() - self._begun >= self._wait:
            self._write(self.folder)

    def __iter__(self) -> Iterator[Arrays]:
        """The arrays in order, part by part, so that they need not fit into memory together.

        Raises OSError or ValueError for a block that was damaged since this process has read or written it.
        """
        for path in self._files:
            yield {name: array for name, array in _read(path).items() if name != "seconds"}
        yield from self._pending

    def __getitem__(self, name: str) -> np.ndarray:
        """All rows of an array of this name."""
        return np.concatenate([part[name] for part in self])

    def save(self, name: str, path: Path) -> None:
        """Write all rows of an array of this name to a .npy file, part by part; a row an item, at least one.

        Raises DiskFull where the disk has no room for it.
        """
        file, end = None, 0
        for part in self:
            rows = part[name]
            if file is None:
                file = new_array(path, rows.dtype, (self.done, *rows.shape[1:]))
            file[end : end + len(rows)] = rows
            end += len(rows)
        if file is None or end != self.done:
            raise ValueError(f"{name}: expected a row for each of {self.done} items, at least one; got {end}")
        file.flush()

    def _take_up(self, folder: Path) -> None:
        for path in sorted(folder.glob("*.block")):
            first, end = map(int, path.stem.split("-"))
            try:
                seconds = float(_read(path)["seconds"]) if first == self.done else None
            except (OSError, ValueError) as e:
                console.print(f"  [yellow]{self.title}: a block is damaged[/] ({e}); it is made again.")
                seconds = None
            if seconds is None:  # what comes after a gap is made again, too
                path.unlink()
            else:
                self._files.append(path)
                self.done, self.seconds = end, self.seconds + seconds
        if self.done:
            console.print(f"  {self.title}: goes on after the first {self.done}, which were kept")

    def _write(self, folder: Path) -> None:
        start = time.monotonic()
        content = io.BytesIO()
        arrays = {name: np.concatenate([part[name] for part in self._pending]) for name in self._pending[0]}
        np.savez(content, seconds=np.float64(start - self._begun), **arrays)  # type: ignore[arg-type]
        self.check()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self._first:012d}-{self.done:012d}.block"
        data = content.getvalue()
        write_atomic(path, _digest(data) + data)
        self._files.append(path)
        self._pending.clear()
        self._first, self._begun = self.done, time.monotonic()
        self._wait = max(SECONDS, SHARE * (self._begun - start))


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_SIZE).digest()


def _read(path: Path) -> Arrays:
    """The arrays of a block. Raises ValueError for one whose bytes are not those that were written."""
    data = path.read_bytes()
    if _digest(data[DIGEST_SIZE:]) != data[:DIGEST_SIZE]:
        raise ValueError(f"{path.name} has other bytes than were written")
    with np.load(io.BytesIO(data[DIGEST_SIZE:]), allow_pickle=False) as arrays:
        return dict(arrays)
