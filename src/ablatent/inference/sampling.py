"""do=sample: samples of a finished model as PNG files with their metadata, from which they can be repeated."""

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ablatent.core.disk import full_disk_named
from ablatent.core.errors import ConfigError
from ablatent.core.escape import for_console
from ablatent.core.images import REQUEST_CHUNK, grid, levels, save_png
from ablatent.core.progress import console, counted
from ablatent.inference.guiding_model import with_whole_key
from ablatent.inference.metadata import check_node, metadata_of, request_of
from ablatent.inference.model_reference import ABOUT_SAMPLING, Reference, find
from ablatent.inference.request import Request
from ablatent.store.artifacts import Store


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
    chosen["guidance"] = with_whole_key(config["guidance"], store)
    sample_and_save(store, reference, chosen, size, request, _folder(config["out"]))
    return 0


def sample_and_save(
    store: Store, reference: Reference, config: Mapping[str, Any], size: int | None, request: Request, folder: Path
) -> np.ndarray:
    """Sample, write PNG files into a folder, and print where; the images, uint8 (n, H, W, C).

    config: nodes sampler, guidance, task, samples, runtime; size: side of an imported model's images. Raises
    ConfigError for a folder that cannot be created, and for what does not fit the model.
    """
    from ablatent.inference.pipeline import Pipeline

    with _made(folder):
        result = Pipeline(store, reference, config, size).answer(request)
        for line in result.messages:
            console.print(for_console(f"  {line}"), soft_wrap=True)
        for index, image in enumerate(result.images):
            save_png(folder / f"{index:04d}.png", image, texts(result.metadata, index, request.caption(index)))
        columns = min(request.n, 8)
        scale = max(1, 64 // result.images.shape[1])
        save_png(folder / "grid.png", grid(result.images, columns, scale), texts(result.metadata, None, None))
    images = counted(len(result.images), "image")
    console.print(for_console(f"{images}: {folder}/0000.png …, {folder}/grid.png"), soft_wrap=True)
    return result.images


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Inside, the folder is there. After an error, what was made for it and is empty is gone again.

    Raises ConfigError, which names `out`, for a folder that cannot be made or written.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    expected = "a folder that can be created and written"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ConfigError("out", expected, str(folder), str(e)) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError("out", expected, str(folder), "Nothing can be written into it.")
    try:
        with full_disk_named(folder, "The images that were written are whole."):
            yield
    except BaseException:
        with suppress(OSError):  # one that holds images by now stays
            for path in new:
                path.rmdir()
        raise


def texts(metadata: Mapping[str, Any], index: int | None, prompt: str | None) -> dict[str, str]:
    """The text chunks of an image: name → text; `prompt` is for other programs. index: of the sample, None for the
    grid."""
    chunks = {REQUEST_CHUNK: json.dumps({**metadata, "index": index}, sort_keys=True)}
    return chunks if prompt is None else {**chunks, "prompt": prompt}


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
    found = metadata_of(path)
    nodes = {name: dict(getattr(found, name)) for name in ABOUT_SAMPLING}
    for name in ("sampler", "guidance", "task"):
        check_node(name, nodes[name])
    request, index = request_of(found), found.index
    runtime = {**config["runtime"], "batch_size": found.runtime.batch_size, "threads": found.runtime.threads}
    reference = Reference(dict(found.keys), [], None)
    images = sample_and_save(store, reference, {**nodes, "runtime": runtime}, found.size, request, folder)
    if index is None:
        return 0
    with Image.open(path) as image:
        before = levels(image).astype(np.int64)
    console.print(for_console(f"{folder}/{index:04d}.png: {_compared(before, images[index])}"), soft_wrap=True)
    return 0


def _compared(before: np.ndarray, image: np.ndarray) -> str:
    if before.shape != image.shape:
        return f"the file is of another size, {before.shape[1]}x{before.shape[0]}: it was changed since"
    apart = int(np.abs(before - image).max())
    return "the same as in the file, bit for bit" if apart == 0 else f"up to {apart} grey levels from the file"
