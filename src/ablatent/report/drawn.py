"""Figures that are drawn already: of this report, or of an earlier one of the same store. Free of matplotlib."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ablatent.core.files import read_json, sha256, write_json
from ablatent.store.code import code_digest
from ablatent.store.layout import sweep_folder, sweep_ids

RECORD = "drawn.json"
"""Beside the figures: name of a file → what it was drawn from (`of`) and its bytes (`sha256`), as digests."""
FORMATS = ("png", "svg", "pdf")
"""Of each figure: PNG for pages, SVG and PDF for papers."""
Drawing = Mapping[str, bytes]
"""A figure as files: format → bytes."""
LOOKED_AT = 20
"""Earlier reports whose figures are looked through, the newest first."""


@cache
def _drawing() -> list[str]:
    """What draws: the code of the figures, and the version of the library."""
    return [code_digest(["ablatent.report.figures"]), version("matplotlib")]


def _plain(value: Any) -> Any:
    """An array as its type, shape and bytes, for JSON."""
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, hashlib.blake2b(np.ascontiguousarray(value).data).hexdigest()]
    raise TypeError(f"expected plain values and arrays, got {type(value).__name__}")


def digest_of(what: Any) -> str:
    """A digest of what a figure is drawn from: plain values and arrays, the drawing code and its library."""
    text = json.dumps([what, _drawing()], sort_keys=True, default=_plain)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def earlier_figures(store_root: Path) -> list[Path]:
    """The folders of figures of the newest sweeps of a store, whether they are there or not."""
    return [sweep_folder(store_root, sweep) / "report" / "figures" for sweep in sweep_ids(store_root)[:LOOKED_AT]]


class Drawn:
    """The figures in some folders, by what they were drawn from.

    A figure is taken from there only if all that decides it is the same, and its bytes are those that were drawn.
    """

    def __init__(self, folders: Iterable[Path] = ()):
        self._folders = list(dict.fromkeys(folders))
        self._files: dict[str, dict[str, tuple[Path, str]]] | None = None
        self._made: dict[bytes, str] = {}

    def figure(self, what: Any, draw: Callable[[], Drawing]) -> Drawing:
        """A figure in all FORMATS: as it was drawn of the same, else as `draw` draws it now.

        what: all that decides the figure beside the drawing code, as plain values and arrays.
        """
        of = digest_of(what)
        if self._files is None:
            self._files = self._recorded()
        there = self._files.get(of, {})
        # in the order in which they are drawn, in which a page links them
        found = {f: data for f in FORMATS if f in there and (data := self._read(*there[f])) is not None}
        drawing = found if len(found) == len(FORMATS) else draw()
        self._made |= dict.fromkeys(drawing.values(), of)
        return drawing

    def record(self, folder: Path, files: Mapping[str, bytes]) -> None:
        """Note in the folder what its files were drawn from. files: name → bytes; others than ours are left out."""
        drawn = {
            name: {"of": self._made[data], "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
            if data in self._made
        }
        write_json(folder / RECORD, drawn)

    def _recorded(self) -> dict[str, dict[str, tuple[Path, str]]]:
        """What was drawn → its files by format, each with the digest that its bytes must have. A record that is damaged
        is none."""
        found: dict[str, dict[str, tuple[Path, str]]] = {}
        for folder in self._folders:
            try:
                for name, entry in read_json(folder / RECORD).items():
                    if name == Path(name).name:
                        files = found.setdefault(str(entry["of"]), {})
                        files.setdefault(Path(name).suffix.lstrip("."), (folder / name, str(entry["sha256"])))
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
        return found

    @staticmethod
    def _read(path: Path, expected: str) -> bytes | None:
        try:
            return path.read_bytes() if sha256(path) == expected else None
        except OSError:
            return None
