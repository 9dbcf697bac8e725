"""do=sample: samples of a finished model as PNG files with their metadata, from which they can be repeated."""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.files import sha256
from ablatent.core.progress import console
from ablatent.inference.model_reference import ABOUT_SAMPLING, Reference, find
from ablatent.inference.request import Request
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key

CHUNK = "ablatent"
"""The PNG text chunk with all metadata, as JSON; the chunk `prompt` beside it is for other programs."""


def sample(store: Store, config: Mapping[str, Any]) -> int:
    """Answer the request of a configuration of do=sample, or repeat an earlier one; the exit code.

    Raises ConfigError for what does not fit the model.
    """
    if config["repeat"] is not None:
        return repeat(store, config)
    reference = find(store.root, config["model"])
    request = Request.of(config)
    size = int(config["size"]) if reference.imported and config["size"] is not None else None
    chosen = {name: config[name] for name in (*ABOUT_SAMPLING, "runtime")}
    sample_and_save(store, reference, chosen, size, request, _folder(config["out"]))
    return 0


def sample_and_save(
    store: Store, reference: Reference, config: Mapping[str, Any], size: int | None, request: Request, folder: Path
) -> np.ndarray:
    """Sample, write PNG files into a folder, and print where; the images, uint8 (n, H, W, 3).

    config: nodes sampler, guidance, task, samples, runtime; size: side of an imported model's images. Raises
    ConfigError for a folder that cannot be created, and for what does not fit the model.
    """
    from ablatent.core.images import grid, save_png
    from ablatent.inference.pipeline import Pipeline

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ConfigError("out", "a folder that can be created", str(folder), str(e)) from None
    result = Pipeline(store, reference, config, size).answer(request)
    for line in result.messages:
        console.print(f"  {line}", markup=False, soft_wrap=True)
    for index, image in enumerate(result.images):
        save_png(folder / f"{index:04d}.png", image, texts(result.metadata, index, request.caption(index)))
    columns = min(request.n, 8)
    scale = max(1, 64 // result.images.shape[1])
    save_png(folder / "grid.png", grid(result.images, columns, scale), texts(result.metadata, None, None))
    console.print(f"{len(result.images)} images: {folder}/0000.png …, {folder}/grid.png", markup=False, soft_wrap=True)
    return result.images


def texts(metadata: Mapping[str, Any], index: int | None, prompt: str | None) -> dict[str, str]:
    """The text chunks of an image: name → text. index: of the sample, None for the grid."""
    chunks = {CHUNK: json.dumps({**metadata, "index": index}, sort_keys=True)}
    return chunks if prompt is None else {**chunks, "prompt": prompt}


def metadata_of(path: Path) -> dict[str, Any]:
    """The metadata that `texts` wrote into an image. Raises ConfigError, which names `repeat`, for other files."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return dict(json.loads(image.info[CHUNK]))
    except (OSError, KeyError, TypeError, ValueError, Image.DecompressionBombError):
        raise _unknown(path) from None


def _unknown(path: Path) -> ConfigError:
    return ConfigError("repeat", "a PNG file that do=sample wrote", str(path), "Its text chunks have the request.")


def _folder(out: str | None) -> Path:
    """The folder of the images: the named one, which must be new or empty, or a new one below samples/."""
    if out is None:
        return Path("samples") / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    folder = Path(out).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError("out", "a new or empty folder", out, "Nothing is overwritten.")
    return folder


def repeat(store: Store, config: Mapping[str, Any]) -> int:
    """Repeat an earlier request from one of its PNG files, and compare the images; the exit code.

    All its images are drawn: an image depends on its batch in the last bits. Raises ConfigError for other files,
    DataError where a file that the request read is gone or changed.
    """
    from PIL import Image

    path, folder = Path(config["repeat"]).expanduser(), _folder(config["out"])
    metadata = metadata_of(path)
    try:
        request, nodes, index = _request(metadata), {name: metadata[name] for name in ABOUT_SAMPLING}, metadata["index"]
        for name in ("sampler", "guidance", "task"):
            _check_node(name, nodes[name])
        runtime = {**config["runtime"], **{k: metadata["runtime"][k] for k in ("batch_size", "threads")}}
        keys, size = {role: Key(key) for role, key in metadata["keys"].items()}, int(metadata["size"])
        reference = Reference(keys, [], None)
        whole = index is None or 0 <= int(index) < request.count
    except (KeyError, TypeError, ValueError, AttributeError):
        whole = False
    if not whole:
        raise _unknown(path)
    images = sample_and_save(store, reference, {**nodes, "runtime": runtime}, size, request, folder)
    if index is None:
        return 0
    with Image.open(path) as image:
        before = np.asarray(image.convert("RGB")).astype(np.int64)
    console.print(f"{folder}/{index:04d}.png: {_compared(before, images[index])}", markup=False, soft_wrap=True)
    return 0


def _compared(before: np.ndarray, image: np.ndarray) -> str:
    if before.shape != image.shape:
        return f"the file is of another size, {before.shape[1]}x{before.shape[0]}: it was changed since"
    apart = int(np.abs(before - image).max())
    return "the same as in the file, bit for bit" if apart == 0 else f"up to {apart} grey levels from the file"


def _request(metadata: Mapping[str, Any]) -> Request:
    """The request again; DataError where a file that it read is gone or has other bytes."""
    files = metadata["files"]
    for key, file in files.items():
        if not Path(file["path"]).is_file() or sha256(Path(file["path"])) != file["sha256"]:
            raise DataError(
                f"repeat: expected the {key} {file['path']} as it was read then; it is gone or has changed."
            )
    return replace(Request(**metadata["request"]), **{key: file["path"] for key, file in files.items()})


def _check_node(group: str, node: Mapping[str, Any]) -> None:
    """Raise ConfigError unless a node is a class of this package of the group's kind: a file may come from anybody."""
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
