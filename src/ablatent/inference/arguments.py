"""What the methods of a pipeline are given in Python, checked: requests, images, latents."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from ablatent.core.errors import ConfigError
from ablatent.core.images import levels
from ablatent.inference.request import Request
from ablatent.samplers.base import Sampler
from ablatent.samplers.guidance import Guidance
from ablatent.tasks.base import Task

EXAMPLES = {
    "task": "tasks.inpaint.Inpaint()",
    "sampler": "samplers.ddpm.DDPM(steps=200)",
    "guidance": "samplers.guidance.ClassifierFree(scale=3.0)",
}


def request_of_arguments(
    *,
    n: int,
    seed: int,
    prompt: str | Sequence[str] | None,
    label: int | str | None,
    files: Mapping[str, str | Path | None],
    boxes: Sequence[Sequence[Any]] | None,
    annotations: Mapping[str, Any] | None,
) -> Request:
    """The request of `Pipeline.sample`. files: image, mask, map → a path. Raises ConfigError for wrong values."""
    for name, file in files.items():
        if file is not None and not isinstance(file, str | Path):
            raise ConfigError(name, "the path of a file", type(file).__name__)
    if label is not None and (isinstance(label, bool) or not isinstance(label, int | str)):
        raise ConfigError("label", "the number of a class, or its name", label)
    several = isinstance(prompt, list | tuple)
    prompts: tuple[Any, ...] = tuple(prompt or ()) if several or prompt is None else (prompt,)
    named = isinstance(label, str)
    return Request(
        prompts=prompts,
        class_=str(label) if named else None,
        label=None if named or label is None else int(label),
        boxes=boxes,
        annotations=annotations or {},
        n=n,
        seed=seed,
        **{name: None if file is None else str(file) for name, file in files.items()},
    )


def check_objects(task: object, sampler: object, guidance: object, steps: object, scale: object) -> None:
    """Raise ConfigError for what is no object of its kind, and for a number beside an object with its own."""
    for name, value, kind in (("task", task, Task), ("sampler", sampler, Sampler), ("guidance", guidance, Guidance)):
        if value is not None and not isinstance(value, kind):
            raise ConfigError(name, f"an object, for example ablatent.{EXAMPLES[name]}", value)
    for name, number, beside, given in (("steps", steps, "sampler", sampler), ("scale", scale, "guidance", guidance)):
        if number is not None and given is not None:
            raise ConfigError(name, f"None beside a {beside}, which has its own", number)


def pixels_of(images: Any, channels: int, multiple: int) -> UInt8[np.ndarray, "n H W C"]:
    """The pixels of PIL images of one size, or of a uint8 array (n, H, W, C), as they are.

    channels: C of the model's images, 3 or 1; multiple: of which H and W must be one. Raises ConfigError for others.
    """
    mode = "RGB" if channels == 3 else "L"
    expected = f"PIL images of mode {mode} and one size, or uint8 (n, H, W, {channels})"
    if isinstance(images, torch.Tensor) or not len(images):
        raise ConfigError("images", expected, _described(images), "Tensors in [-1, 1]: model.first_stage takes them.")
    if not isinstance(images, np.ndarray):
        modes = sorted({str(getattr(image, "mode", type(image).__name__)) for image in images})
        sizes = sorted({getattr(image, "size", ()) for image in images})
        if modes != [mode] or len(sizes) != 1:
            do = f"Convert each: image.convert({mode!r}).resize((32, 32)), for instance."
            raise ConfigError("images", expected, f"{', '.join(modes)} of {len(sizes)} sizes", do)
        images = np.stack([levels(image) for image in images])
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != channels:
        raise ConfigError("images", expected, _described(images), "Levels are 0 … 255.")
    if images.shape[1] % multiple or images.shape[2] % multiple:
        do = f"{multiple} is the downsampling factor of the first stage."
        raise ConfigError("images", f"sides that are multiples of {multiple}", _described(images), do)
    return images


def check_latents(latents: Any, channels: int) -> None:
    """Raise ConfigError unless these are latents (n, channels, h, w) of real numbers."""
    fits = isinstance(latents, torch.Tensor) and latents.is_floating_point() and latents.ndim == 4
    if not fits or not len(latents) or latents.shape[1] != channels:
        expected = f"a floating-point tensor (n, {channels}, h, w)"
        raise ConfigError("latents", expected, _described(latents), "As `encode` gives them.")


def _described(value: Any) -> str:
    """A value for a message: its type and shape."""
    if isinstance(value, np.ndarray | torch.Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    return "none" if isinstance(value, list | tuple) and not value else type(value).__name__
