"""Writing tensors as safetensors, and reading those of any program without running anything of its files.

What a file is, its first bytes say, not its name: safetensors stand in .ckpt files, pickles in .safetensors.
"""

import json
import pickle
import re
import stat
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablatent.core.errors import DataError

# What trainings leave beside the tensors in checkpoints of Lightning: read as inert marks, never imported or called.
BOOKKEEPING = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "_codecs.encode",
)
SHOWN = 10
LONGEST_HEADER = 100_000_000
"""Of safetensors, in bytes."""
STRANGERS = {
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself. Fetch that: git lfs pull, or download it",
    b"/annex/objects/": "a pointer of git-annex, not the file itself. Fetch that: git annex get",
    b"<": "a web page. Download the file anew; it may want a login",
    b"{": "JSON text, no tensors",
}
"""Beginnings of what lies where weights were meant to be."""


class _Inert:
    """Stands for a name of BOOKKEEPING: takes whatever a pickle gives it, and does nothing."""

    def __init__(self, *given: Any):
        del given

    def __setstate__(self, state: Any) -> None:
        del state


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file of contiguous tensors in main memory. metadata: for its header.

    Others may read and write it as the umask says: safetensors itself makes it for its owner alone.
    """
    from safetensors.torch import save_file

    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    save_file(dict(tensors), str(path), metadata=None if metadata is None else dict(metadata))
    path.chmod(mode)


def is_index(path: Path) -> bool:
    """Whether a file is by its name the index of weights in several files (shards), whose weight_map gives the file of
    each tensor: model.safetensors.index.json, or of a variant, model.safetensors.index.fp16.json."""
    return path.suffix == ".json" and ".index" in path.name


def shards_of(path: Path) -> list[Path]:
    """The files that hold the tensors of `path`: those that an index names, or the file itself.

    Raises DataError for an index without a weight_map, or that names files that are not there beside it.
    """
    if not is_index(path):
        return [path]
    try:
        names = sorted(set(json.loads(path.read_bytes())["weight_map"].values()))
        files = [path.parent / Path(name).name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: expected an index with a weight_map; got {type(error).__name__}: {error}.") from None
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise DataError(f"{path}: expected the {len(files)} files that it names; missing: {_some(missing)}.")
    return files


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, on the CPU: safetensors, TorchScript, or a pickled state dict of plain tensors,
    alone or below "state_dict" in a checkpoint; or those of all files that an index names.

    Nothing in the file is executed: a pickle that holds anything but tensors, plain values and containers is refused,
    except for the names of BOOKKEEPING. Plain values beside the tensors are left out. Raises DataError for such a file,
    for one that cannot be read, that is cut short or something else, and for one without names and tensors.
    """
    found: dict[str, Tensor] = {}
    for file in shards_of(path):
        found |= _tensors(file)
    return found


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file:
            start = file.read(512)
        header = int.from_bytes(start[:8], "little")
        if start[8:9] == b"{" and header <= LONGEST_HEADER:
            return _safetensors(path, header)
        if not start.startswith((b"PK", b"\x80")):
            raise DataError(f"{path}: expected a weights file; it is {_stranger(start)}.")
        names = _zipped(path) if start.startswith(b"PK") else []
        if any("/code/" in name for name in names):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # deprecated, but published weights are stored so
                return dict(torch.jit.load(str(path), map_location="cpu").state_dict())
        inert = torch.serialization.safe_globals([(_Inert, name) for name in BOOKKEEPING])
        with inert, path.open("rb") as file:  # a path would be read by its suffix
            state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except DataError:
        raise
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        raise DataError(
            f"{path}: refused, nothing of it was executed: expected a state dict of plain tensors; the pickle asks for "
            f"other code ({code[1] if code else str(error).splitlines()[0]}). Save it again as safetensors or as a "
            "plain state dict."
        ) from error
    except Exception as error:  # each reader has its own types for a damaged file
        raise DataError(
            f"{path}: expected a weights file; it cannot be read ({type(error).__name__}: {error}). Is it cut short?"
        ) from error
    return _named(state, path)


def _safetensors(path: Path, header: int) -> dict[str, Tensor]:
    """The tensors of a file whose header has so many bytes."""
    from safetensors.torch import load_file

    size = path.stat().st_size
    if 8 + header <= size:
        with path.open("rb") as file:
            entries = json.loads(file.read(8 + header)[8:])
        header += max((v["data_offsets"][1] for k, v in entries.items() if k != "__metadata__"), default=0)
    if size < 8 + header:
        raise DataError(f"{path}: expected at least {8 + header:,} bytes by its header; it is cut short at {size:,}.")
    return load_file(path)


def _zipped(path: Path) -> list[str]:
    """The names in the zip archive that torch.save writes."""
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"{path}: expected a weights file; it is a zip archive without its end, cut short at "
            f"{path.stat().st_size:,} bytes."
        )
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if not any(name.endswith("/data.pkl") for name in names):
        raise DataError(
            f"{path}: expected a weights file; it is a zip archive without a pickle (in it: {_some(names)}). If the "
            "weights are in it, unpack it."
        )
    return names


def _stranger(start: bytes) -> str:
    """What a file is that begins so and is no weights file."""
    if not start:
        return "empty"
    known = next((what for beginning, what in STRANGERS.items() if start.lstrip().startswith(beginning)), None)
    text = start[:40].decode("ascii", "replace")
    plain = "a text file" if text.isprintable() or (text.isascii() and b"\0" not in start) else "something else"
    return known or f"{plain} that begins with {start[:20]!r}"


def _named(state: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of what a pickle held, by name."""
    while isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    expected = f'{path}: expected tensors by name, alone or below "state_dict"; got '
    if not isinstance(state, Mapping):
        raise DataError(f"{expected}{type(state).__name__}.")
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    nested = [str(name) for name, value in state.items() if isinstance(value, Mapping)]
    if not tensors or nested:
        inside = ", ".join(nested[:SHOWN])
        do = f" Save what holds the tensors ({inside}) to a file of its own." if nested else ""
        raise DataError(f"{expected}a dict with the keys {_some([str(name) for name in state])}.{do}")
    return tensors


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "") or "none"
