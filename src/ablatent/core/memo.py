"""What a pure function of a text gave, remembered from one command to the next. Free of torch."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from ablatent.core.disk import DiskFull
from ablatent.core.files import read_json, write_json

FOLDER = "~/.cache/ablatent"
LARGEST = 5000
"""Results in a file; beyond that those of earlier commands are forgotten."""


class Memo:
    """(text) -> what `function` gives for it: a JSON value.

    name: of the file in FOLDER; depends: what the results depend on beside the text, as text: the function's own code,
    versions. A folder that cannot be written, and a file that is damaged, cost time alone.
    """

    def __init__(self, name: str, function: Callable[[str], Any], depends: str):
        self.name, self.function, self.depends = name, function, depends
        self.used: dict[str, Any] = {}

    @property
    def path(self) -> Path:
        """The file of what is remembered."""
        return Path(FOLDER).expanduser() / f"{self.name}.json"

    @cached_property
    def known(self) -> dict[str, Any]:
        """Digest of what a result depends on → the result, of earlier commands."""
        with suppress(OSError, ValueError, RuntimeError):  # the last: of a user without a home
            found = read_json(self.path)
            return found if isinstance(found, dict) else {}
        return {}

    def __call__(self, text: str) -> Any:
        key = hashlib.blake2b(f"{self.depends}\0{text}".encode(), digest_size=16).hexdigest()
        if key not in self.used:
            self.used[key] = self.known[key] if key in self.known else self.function(text)
        return self.used[key]

    def save(self) -> None:
        """Write what is new, if anything is."""
        if self.used.keys() <= self.known.keys():
            return
        every = {**self.known, **self.used}
        self.known = every if len(every) <= LARGEST else dict(self.used)
        with suppress(OSError, DiskFull, RuntimeError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, self.known, lasting=False)
