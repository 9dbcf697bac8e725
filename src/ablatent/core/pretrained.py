"""What pretrained files and folders share: the four places where they are looked for, and the error that names them."""

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Text

Origin = Literal["path", "cache", "package", "download"]
"""Where a pretrained file was found."""


@dataclass(frozen=True, kw_only=True)
class Pretrained(ABC):
    """Files of a pretrained network, and four ways to them, in order: path, cache, installed package, download.

    name: shown in messages; path: the user's own copy; package: the distribution that carries the files (found by its
    file list, its code is never imported); instead: what to choose where they cannot be had, for the message that says
    so. Raises ConfigError where package and the place inside it are not given together.
    """

    name: Annotated[Text, "name in messages and reports"]
    path: Annotated[Text | None, "a copy of your own"] = None
    package: Annotated[Text | None, "distribution that carries the files"] = None
    instead: Annotated[Text | None, "what to choose where the files cannot be had"] = None

    # Of a class: what messages call the files, the field that says where they are in `package`, and what messages say
    # of an address that does not answer.
    WHAT: ClassVar[str]
    INSIDE: ClassVar[str]
    UNREACHABLE: ClassVar[str]

    def __post_init__(self) -> None:
        inside = getattr(self, self.INSIDE)
        if (self.package is None) != (inside is None):
            got = {"package": self.package, self.INSIDE: inside}
            raise ConfigError(self.key, f"package and {self.INSIDE} together, or neither", got)

    @property
    def key(self) -> str:
        """What errors name in place of a config key, e.g. "weights of FID Inception"."""
        return f"{self.WHAT} of {self.name}"

    @property
    @abstractmethod
    def address(self) -> str | None:
        """Where a download comes from, for messages; None where there is none."""

    def locate(self) -> tuple[Path, Origin] | None:
        """Where the files lie on this machine, without reading them and without the network; None where they do not.

        Raises ConfigError for a configured path without them: it is never passed over for another copy.
        """
        if self.path is not None:
            return self._at(Path(self.path).expanduser()), "path"
        if (cached := self._in_cache()) is not None:
            return cached, "cache"
        if (packaged := self._in_package()) is not None:
            return packaged, "package"
        return None

    def check(self) -> None:
        """Raise ConfigError unless the files are here, or their address answers within 3 s."""
        if self.locate() is None and not self._reachable():
            raise self._missing(self.UNREACHABLE)

    @abstractmethod
    def _at(self, path: Path) -> Path:
        """The configured path; ConfigError where the files are not there."""

    @abstractmethod
    def _in_cache(self) -> Path | None:
        """Where a cache has the files."""

    @abstractmethod
    def _in_package(self) -> Path | None:
        """Where the installed package has the files."""

    @abstractmethod
    def _reachable(self) -> bool:
        """Whether there is an address, and it answers."""

    @abstractmethod
    def _expected(self) -> str:
        """The four ways, for the message that none of them leads anywhere."""

    @abstractmethod
    def _caches(self) -> str:
        """What was looked for in which caches, for the same message."""

    def _packaged(self, names: Sequence[str]) -> list[Path] | None:
        """The files of these names in the package's file list; None unless all are installed."""
        if self.package is None:
            return None
        try:
            listed = importlib.metadata.files(self.package) or []
        except importlib.metadata.PackageNotFoundError:
            return None
        there = {file.as_posix(): Path(str(file.locate())) for file in listed}
        found = [there[name] for name in names if name in there and there[name].is_file()]
        return found if names and len(found) == len(names) else None

    def _missing(self, reason: str) -> ConfigError:
        """The error that names all four ways. reason: why there was no download, if there is an address."""
        got = {
            "path": "not configured",
            "cache": self._caches(),
            "package": f"{self.package}: {getattr(self, self.INSIDE)} not installed" if self.package else "in none",
            "download": f"{self.address}: {reason}" if self.address else "no address",
        }
        do = "Set its path" + (f", or: pip install --no-deps {self.package}" if self.package else "")
        do += f", or choose {self.instead}." if self.instead else "."
        return ConfigError(self.key, self._expected(), got, do)
