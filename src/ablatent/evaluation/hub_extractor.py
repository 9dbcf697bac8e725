"""What vision transformers of the hub share as extractors: their folder, and how images are brought to them."""

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Count, Digest, Text
from ablatent.core.hub import HubFolder, quiet
from ablatent.core.tensor_files import read_tensors
from ablatent.core.weights import Found, verify_digest
from ablatent.evaluation.scores import NOT_INCEPTION, Extractor

WEIGHTS = "model.safetensors"
Colours = tuple[float, float, float]


class HubExtractor(Extractor):
    """Features from a folder of the hub's kind, with config.json and model.safetensors at least.

    digest: of the tensors of its file, or, where that is null, revision: of its repository. mean, deviation: of the
    pixels that the network was trained on, in [0, 1].
    """

    renamed = NOT_INCEPTION
    mean: ClassVar[Colours]
    deviation: ClassVar[Colours]
    weights: HubFolder

    def __init__(
        self,
        name: Annotated[Text, "name in messages and reports"],
        suffix: Annotated[str, "of the names of scores"],
        dim: Annotated[Count, "of the embeddings"],
        digest: Annotated[Digest | None, "of the tensors; null: the revision names them"],
        revision: Annotated[Text | None, "of the tensors"],
        weights: Annotated[HubFolder, "where the files are found"],
    ) -> None:
        pinned = weights.path is None and revision is not None and weights.revision == revision
        if digest is None and not pinned:
            raise ConfigError(
                f"digest of {name}",
                "the digest of the tensors, unless they are those of revision in weights.repo",
                None,
                "Give any digest: the error of the first run says the right one.",
            )
        self.name, self.suffix, self.dim, self.weights = name, suffix, dim, weights
        self.label = f"({weights.name.removeprefix('CLIP ')})"
        self.digest = digest or f"revision {revision}"
        self._digest = digest
        self._model: Any = None

    @abstractmethod
    def _read(self, folder: Path) -> tuple[Any, int]:
        """(the model of a folder, the width of its features)."""

    @property
    @abstractmethod
    def _side(self) -> int:
        """The side of the images that the network takes, in pixels."""

    @abstractmethod
    def _features(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        """Of images of that side, normalised."""

    def load(self, device: torch.device | str = "cpu") -> None:
        if self._model is None:
            folder, origin = self.weights.find()
            found = Found(folder / WEIGHTS, origin, "")
            if self._digest is not None:
                verify_digest(self.name, read_tensors(found.path), self._digest, found)
            with quiet():
                model, width = self._read(folder)
            if width != self.dim:
                raise ConfigError(f"dim of {self.name}", f"its width, {width}", self.dim)
            self._model, self.served = model.float().eval().requires_grad_(False), found
        self._model.to(device)

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Features of square images; raises DataError for others, of which the network would see the middle alone."""
        if images.shape[-1] != images.shape[-2]:
            raise DataError(f"{self.name}: expected square images; got {images.shape[-1]}x{images.shape[-2]}.")
        if self._model is None:
            self.load(images.device)
        levels = rearrange(images, "b c h w -> b h w c").cpu().numpy()
        resized = [Image.fromarray(x).resize((self._side, self._side), Image.Resampling.BICUBIC) for x in levels]
        x = torch.from_numpy(np.stack([np.asarray(r) for r in resized])).to(images.device).float() / 255
        x = rearrange((x - x.new_tensor(self.mean)) / x.new_tensor(self.deviation), "b h w c -> b c h w")
        return self._features(x)
