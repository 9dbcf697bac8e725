"""Pretrained weights: finding the file, and the digest of its tensors (`tensor_files` reads them).

A pretrained network is identified by the digest of its converted tensors, not by the file that served them: the same
network from a cache, a package or a download gives the same stage keys on every machine.
"""

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Sha256, Text
from ablatent.core.files import sha256 as file_sha256
from ablatent.core.pretrained import Origin, Pretrained
from ablatent.core.progress import track

CHUNK = 1 << 20


@dataclass(frozen=True)
class Found:
    """A pretrained file on this machine: where it was found, and the hex SHA-256 of its bytes (for the manifest)."""

    path: Path
    origin: Origin
    sha256: str


def cache_folders() -> list[Path]:
    """The caches, in order: torch.hub's (TORCH_HOME, XDG_CACHE_HOME), then the project's own, which takes downloads."""
    user = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    hub = Path(os.environ.get("TORCH_HOME", user / "torch")).expanduser()
    return [hub / "hub" / "checkpoints", user / "ablatent"]


@dataclass(frozen=True, kw_only=True)
class PretrainedFile(Pretrained):
    """A pretrained file, and the four ways of `Pretrained` to it.

    cache: file names looked for in the caches of `cache_folders`, or absolute paths; file: its path inside `package`;
    url: downloaded into the project's cache; sha256: what a cached or downloaded file must have, whole or its first
    digits.
    """

    cache: Annotated[Sequence[Text], "file names looked for in the caches"] = field(default_factory=list)
    file: Annotated[Text | None, "path inside the package"] = None
    url: Annotated[Text | None, "address of a download"] = None
    sha256: Annotated[Sha256 | None, "of a cached or downloaded file"] = None

    WHAT: ClassVar[str] = "weights"
    INSIDE: ClassVar[str] = "file"
    UNREACHABLE: ClassVar[str] = "the address does not answer"

    @property
    def address(self) -> str | None:
        return self.url

    def locate(self) -> tuple[Path, Origin] | None:
        located = super().locate()
        if located is None and self.url is not None and self._downloaded.is_file():
            return self._downloaded, "download"
        return located

    def find(self, download: bool = True) -> Found:
        """The file, downloaded if it must be and may be.

        Raises ConfigError that names all four ways, and DataError for a cached or downloaded file of another SHA-256.
        """
        located = self.locate()
        if located is None and (not download or self.url is None):
            raise self._missing("downloads are switched off here")
        path, origin = located or self._download()
        digest = file_sha256(path)
        if origin in ("cache", "download") and self.sha256 is not None and not digest.startswith(self.sha256):
            raise DataError(f"{path}: expected SHA-256 {self.sha256} for {self.name}; got {digest}. Remove the file.")
        return Found(path, origin, digest)

    @property
    def _downloaded(self) -> Path:
        return cache_folders()[-1] / str(self.url).rsplit("/", 1)[-1]

    def _at(self, path: Path) -> Path:
        if not path.is_file():
            raise ConfigError(self.key, "an existing file as path", self.path)
        return path

    def _in_cache(self) -> Path | None:
        # an absolute name replaces the folder
        paths = (folder / Path(name).expanduser() for name in self.cache for folder in cache_folders())
        return next((path for path in paths if path.is_file()), None)

    def _in_package(self) -> Path | None:
        found = self._packaged([str(self.file)])
        return None if found is None else found[0]

    def _reachable(self) -> bool:
        if self.url is None:
            return False
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url, method="HEAD"), timeout=3):
                return True
        except OSError:
            return False

    def _download(self) -> tuple[Path, Origin]:
        target = self._downloaded
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(str(self.url), timeout=30) as source, part.open("wb") as sink:
                total = int(source.headers.get("Content-Length") or 0)
                with track(f"download {self.name}", total // CHUNK, "MB") as bar:
                    while block := source.read(CHUNK):
                        sink.write(block)
                        bar.advance(1)
            if self.sha256 is not None and not file_sha256(part).startswith(self.sha256):
                raise DataError(
                    f"{self.url}: expected SHA-256 {self.sha256}; got {file_sha256(part)}. The download was discarded."
                )
            part.replace(target)
        except (OSError, urllib.error.URLError) as error:
            raise self._missing(str(error)) from error
        finally:
            part.unlink(missing_ok=True)
        return target, "download"

    def _expected(self) -> str:
        return "a configured path, a cached file, an installed package or a download"

    def _caches(self) -> str:
        return f"{', '.join(self.cache) or 'no file name'}: not in {', '.join(map(str, cache_folders()))}"


def digest_tensors(state: Mapping[str, Tensor]) -> str:
    """BLAKE2b (128 bits, hex) over sorted names, dtypes, shapes and bytes: independent of file format and device."""
    total = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def verify_digest(name: str, state: Mapping[str, Tensor], expected: str, found: Found) -> None:
    """Raise ConfigError unless the converted tensors are those that the configuration names."""
    got = digest_tensors(state)
    if got != expected:
        raise ConfigError(
            f"digest of {name}",
            f"tensors with digest {expected}",
            f"{got} in {found.path} (found by {found.origin})",
            "Remove or replace that file, or name the new digest in a YAML of its own.",
        )
