"""Folders of Hugging Face files (a vocabulary, a text encoder): where they are found."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Len

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Text
from ablatent.core.pretrained import Origin, Pretrained


@dataclass(frozen=True, kw_only=True)
class HubFolder(Pretrained):
    """A folder with the given files, and the four ways of `Pretrained` to it; the cache is that of the hub.

    repo, revision: on huggingface.co (revision null: any in the cache, the newest for a download); folder: the folder
    inside `package`.
    """

    files: Annotated[Sequence[Text], Len(1), "that must be in the folder"]
    repo: Annotated[Text | None, "on huggingface.co"] = None
    revision: Annotated[Text | None, "of the repository; null: the newest"] = None
    folder: Annotated[Text | None, "path inside the package"] = None

    WHAT: ClassVar[str] = "files"
    INSIDE: ClassVar[str] = "folder"
    UNREACHABLE: ClassVar[str] = "does not answer, or HF_HUB_OFFLINE is set"

    @property
    def address(self) -> str | None:
        return None if self.repo is None else f"huggingface.co/{self.repo}"

    def find(self) -> tuple[Path, Origin]:
        """(the folder, where it was found), downloaded if it must be; raises ConfigError that names all four ways."""
        located = self.locate()
        if located is not None:
            return located
        if self.repo is None:
            raise self._missing("")
        from huggingface_hub import snapshot_download

        try:
            found = snapshot_download(self.repo, revision=self.revision, allow_patterns=list(self.files))
        except (OSError, ValueError) as error:  # the hub's own errors are among these
            raise self._missing(str(error).splitlines()[0]) from error
        return Path(found), "download"

    def _at(self, path: Path) -> Path:
        if not self._complete(path):
            raise ConfigError(self.key, f"a folder with {', '.join(self.files)}", self.path)
        return path

    def _complete(self, folder: Path) -> bool:
        return all((folder / name).is_file() for name in self.files)

    def _in_cache(self) -> Path | None:
        if self.repo is None:
            return None
        from huggingface_hub.constants import HF_HUB_CACHE

        snapshots = Path(HF_HUB_CACHE) / f"models--{self.repo.replace('/', '--')}" / "snapshots"
        return next((folder for folder in sorted(snapshots.glob(self.revision or "*")) if self._complete(folder)), None)

    def _in_package(self) -> Path | None:
        found = self._packaged([f"{self.folder}/{name}" for name in self.files])
        return None if found is None else found[0].parent

    def _reachable(self) -> bool:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.constants import HF_HUB_OFFLINE

        if self.repo is None or HF_HUB_OFFLINE:
            return False
        try:
            for name in self.files:
                get_hf_file_metadata(hf_hub_url(self.repo, name, revision=self.revision), timeout=3)
        except Exception:  # every transport has its own errors; what matters is that it did not answer
            return False
        return True

    def _expected(self) -> str:
        return f"{', '.join(self.files)} in a configured folder, the hub's cache, an installed package or a download"

    def _caches(self) -> str:
        from huggingface_hub.constants import HF_HUB_CACHE

        at = "" if self.revision is None else f" at {self.revision[:12]}"
        return f"{self.repo}{at}: not in {HF_HUB_CACHE}" if self.repo else "no repository"


@contextmanager
def quiet() -> Iterator[None]:
    """A context without transformers' own progress bars and warnings about tensors of a file that it does not read."""
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
