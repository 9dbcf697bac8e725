"""What a PNG file of do=sample says of how it was made, read back. The file may come from anybody."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablatent.core.errors import AblatentError, ConfigError, DataError
from ablatent.core.files import sha256
from ablatent.core.images import REQUEST_CHUNK
from ablatent.inference.request import MOST, Request
from ablatent.stages.diffusion.kind import DiffusionKind
from ablatent.stages.first_stage.kind import FirstStageKind
from ablatent.stages.imported.kind import ImportedKind
from ablatent.stages.latents.kind import LatentsKind
from ablatent.store.identity import Key
from ablatent.store.record import Record

ANY_SIZE = 1 << 14
"""A side of images, and a number of threads or of images at once, larger than anybody has use for."""
TRAINED, IMPORTED = (
    {kind.name for kind in kinds}
    for kinds in ((FirstStageKind, LatentsKind, DiffusionKind), (FirstStageKind, ImportedKind))
)
"""The stages that make a model of this store, and one of another program."""


@dataclass(frozen=True, kw_only=True)
class RequestRecord(Record):
    """The fields of a `Request`, without its files."""

    prompts: list[str]
    class_: str | None
    label: int | None
    boxes: list[list[Any]] | None
    annotations: Mapping[str, Any]
    n: int
    seed: int


@dataclass(frozen=True)
class FileRead(Record):
    """A file that the request read, and the hex SHA-256 of its bytes."""

    path: str
    sha256: str


@dataclass(frozen=True)
class FilesRead(Record):
    """The files of a request."""

    image: FileRead | None = None
    mask: FileRead | None = None
    map: FileRead | None = None


@dataclass(frozen=True)
class Machine(Record):
    """What of the machine decides the last bits."""

    batch_size: int
    threads: int
    device: str


@dataclass(frozen=True, kw_only=True)
class Metadata(Record):
    """Everything that decides the images of a request. keys: role → key; index: of the sample, None for the grid."""

    keys: Mapping[str, Key]
    sampler: Mapping[str, Any]
    guidance: Mapping[str, Any]
    samples: Mapping[str, Any]
    task: Mapping[str, Any]
    request: RequestRecord
    files: FilesRead
    size: int
    runtime: Machine
    index: int | None
    versions: Mapping[str, Any]
    git: Mapping[str, Any]


def metadata_of(path: Path) -> Metadata:
    """The metadata in the text of an image. Raises ConfigError, which names `repeat`, for any other file."""
    from PIL import Image

    do = "Its text chunks have the request."
    try:
        with Image.open(path) as image:
            image.load()
            found = Metadata.from_json(json.loads(image.info[REQUEST_CHUNK]), "its text")
        _check_ranges(found)
    except AblatentError as error:
        raise ConfigError("repeat", "a PNG file that do=sample wrote", str(path), f"{error} {do}") from None
    except Exception:  # Pillow has no base of what a damaged file leads it to
        raise ConfigError("repeat", "a PNG file that do=sample wrote", str(path), do) from None
    return found


def _check_ranges(found: Metadata) -> None:
    """Raise DataError for a number that no request has."""
    machine, samples = found.runtime, found.samples
    for name, value in (("size", found.size), ("batch_size", machine.batch_size), ("threads", machine.threads)):
        if not 1 <= value <= ANY_SIZE:
            raise DataError(f"{name}: expected 1 … {ANY_SIZE}; got {value}.")
    count = found.request.n * max(len(found.request.prompts), 1)
    if not 1 <= count <= MOST or (found.index is not None and not 0 <= found.index < count):
        raise DataError(f"index: expected one of {count} samples, at most {MOST}; got {found.index}.")
    snapshot, tile = str(samples.get("snapshot")), samples.get("decode_tile")
    whole = isinstance(samples.get("weights"), str) and (snapshot == "last" or snapshot.isdecimal())
    width = samples.get("ema_width")
    whole &= width is None or (isinstance(width, float) and 0 < width < 1)
    whole &= (tile is None and "decode_tile" in samples) or _counts(tile)
    if not whole or not (samples.get("decode_overlap") == 0 or _counts(samples.get("decode_overlap"))):
        raise DataError("samples: expected weights, snapshot, ema_width, decode_tile and decode_overlap of a model.")
    model = {role for role, key in found.keys.items() if role == key.kind}
    if found.keys.keys() != model or not any(model >= roles for roles in (TRAINED, IMPORTED)):
        raise DataError("keys: expected the stages of a model, each by its kind.")


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= ANY_SIZE


def request_of(found: Metadata) -> Request:
    """The request again; DataError where a file that it read is gone or has other bytes."""
    fields = {name: getattr(found.request, name) for name in RequestRecord.__dataclass_fields__}
    read = {name: getattr(found.files, name) for name in FilesRead.__dataclass_fields__}
    there = {name: file for name, file in read.items() if file is not None}
    for name, file in there.items():
        if not Path(file.path).is_file() or sha256(Path(file.path)) != file.sha256:
            raise DataError(f"repeat: expected the {name} {file.path} as it was read then; it is gone or has changed.")
    return replace(Request(**fields), **{name: file.path for name, file in there.items()})


def check_node(group: str, node: Mapping[str, Any]) -> None:
    """Raise ConfigError unless a node is a class of this package of the group's kind."""
    from ablatent.core.targets import class_of
    from ablatent.samplers.base import Sampler
    from ablatent.samplers.guidance import Guidance
    from ablatent.tasks.base import Task

    target = str(node.get("_target_"))
    kinds = {"sampler": Sampler, "guidance": Guidance, "task": Task}
    plain = all(_plain(value) for key, value in node.items() if key != "_target_")
    plain &= not any(key.startswith("_") and key != "_target_" for key in node)
    try:
        fits = plain and target.startswith("ablatent.") and issubclass(class_of(node), kinds[group])
    except Exception:  # whatever stands there is not one of ours
        fits = False
    if not fits:
        do = "Request new images with model=… and the settings that the file shows."
        raise ConfigError("repeat", f"a file whose {group} is one of this package", target, do)


def _plain(value: Any) -> bool:
    """Whether a value is a number, text, null or a list of these: nothing that could become an object."""
    if isinstance(value, list):
        return all(_plain(v) for v in value)
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and "${" not in value)
