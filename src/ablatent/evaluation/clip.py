"""CLIP: images and captions in one space (Radford et al. 2021), and how near they are (Hessel et al. 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from ablatent.conditioning.tokens import Captions, json_captions
from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Count, Digest, Text
from ablatent.core.hub import HubFolder, quiet
from ablatent.core.progress import counted, track
from ablatent.core.rng import stream
from ablatent.core.tensor_files import read_tensors
from ablatent.core.weights import Found, verify_digest
from ablatent.evaluation.scores import CHANCE, Extractor, Metric, Score

WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
# of the pixels that CLIP was trained on, in [0, 1]
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
LONGEST = 77  # tokens of a caption, both ends included
PAD = "<|endoftext|>"
BATCH = 64
SHUFFLES = 20  # orders of the captions that the score of chance is the mean of


class ClipExtractor(Extractor):
    """Embeddings of unit length from a folder of the hub's kind (config.json, model.safetensors, tokenizer.json).

    dim: of the shared space. digest: of the tensors of its file, or, where that is null, revision: of its repository.
    """

    weights: HubFolder
    layer = "projection"

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
        self.resize = "bicubic (Pillow) to the side that the network takes"
        self._model: Any = None
        self._captions: Captions | None = None

    def load(self, device: torch.device | str = "cpu") -> None:
        if self._model is None:
            import transformers

            folder, origin = self.weights.find()
            found = Found(folder / WEIGHTS, origin, "")
            if self._digest is not None:
                verify_digest(self.name, read_tensors(found.path), self._digest, found)
            read = transformers.CLIPModel.from_pretrained
            with quiet():
                model = read(str(folder), local_files_only=True, use_safetensors=True)
            if model.config.projection_dim != self.dim:
                raise ConfigError(f"dim of {self.name}", f"its width, {model.config.projection_dim}", self.dim)
            self._model = model.float().eval().requires_grad_(False)
            self._captions, self.served = json_captions(folder / TOKENIZER, PAD), found
        self._model.to(device)

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Embeddings of square images; raises DataError for others, of which CLIP would see the middle alone."""
        if images.shape[-1] != images.shape[-2]:
            raise DataError(f"{self.name}: expected square images; got {images.shape[-1]}x{images.shape[-2]}.")
        if self._model is None:
            self.load(images.device)
        side = self._model.config.vision_config.image_size
        levels = rearrange(images, "b c h w -> b h w c").cpu().numpy()
        resized = [Image.fromarray(x).resize((side, side), Image.Resampling.BICUBIC) for x in levels]
        x = torch.from_numpy(np.stack([np.asarray(r) for r in resized])).to(images.device).float() / 255
        x = rearrange((x - x.new_tensor(MEAN)) / x.new_tensor(DEVIATION), "b h w c -> b c h w")
        pooled = self._model.vision_model(pixel_values=x).pooler_output
        return F.normalize(self._model.visual_projection(pooled), dim=-1)

    @torch.inference_mode()
    def texts(self, captions: Sequence[str], device: torch.device | str = "cpu") -> Float[np.ndarray, "n d"]:
        """Embeddings of captions, in their order; of one that is too long the beginning counts, with a message."""
        self.load(device)
        if self._captions is None:
            raise ValueError("a tokenizer comes with the model")
        unique = list(dict.fromkeys(captions))
        ids, _ = self._captions(unique, LONGEST)
        parts = []
        with track(f"{self.name} of captions", len(unique), "captions") as bar:
            for first in range(0, len(unique), BATCH):
                x = torch.from_numpy(ids[first : first + BATCH]).long().to(device)
                pooled = self._model.text_model(input_ids=x).pooler_output
                parts.append(F.normalize(self._model.text_projection(pooled), dim=-1).cpu().numpy())
                bar.advance(len(x))
        place = {caption: i for i, caption in enumerate(unique)}
        return np.concatenate(parts)[[place[caption] for caption in captions]]


@dataclass(frozen=True)
class ClipScore(Metric):
    """CLIPScore (Hessel et al. 2021): max(100 cos, 0) of the embeddings of an image and its caption.

    The mean over images; the factor is torchmetrics', the paper's is 2.5. Score.std: half of the 95 % interval.

    name: includes the network, since only scores of one network may be compared. NAME_chance: the captions shuffled
    among the images, the mean of 20 orders.
    """

    name: Annotated[Text, "of the score"]
    extractor: Annotated[ClipExtractor, "of images and captions"]

    against: ClassVar[str] = "captions"

    @property
    def own_extractor(self) -> ClipExtractor:
        return self.extractor

    @property
    def min_images(self) -> int:
        return 2

    def __call__(self, fake: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"] | None) -> dict[str, Score]:
        """real: the embeddings of the captions, a row an image."""
        if real is None or len(fake) != len(real) or len(fake) < self.min_images:
            expected = f"a caption for each of at least {self.min_images} images"
            raise DataError(f"{self.name}: expected {expected}; got {counted(len(fake), 'image')}.")
        values, n = _scores(fake, real), len(fake)
        half = float(1.96 * values.std(ddof=1) / np.sqrt(n))
        protocol: dict[str, Any] = {
            "count_fake": n,
            "scale": "max(100 cos, 0)",
            "spread": "half of the 95 % interval, normal",
        }
        shuffled = [_scores(fake, real[stream(0, "chance", k).permutation(n)]).mean() for k in range(SHUFFLES)]
        chance_protocol = {k: v for k, v in protocol.items() if k != "spread"} | {
            "chance": f"captions shuffled among the images, mean of {SHUFFLES} orders"
        }
        label = f"CLIP score {self.extractor.label}"
        score = Score(float(values.mean()), half, protocol, label=label, better="higher", shown_in="terminal")
        chance = replace(score, value=float(np.mean(shuffled)), std=None, protocol=chance_protocol, shown_in="report")
        return {self.name: score, f"{self.name}_chance": chance.yardstick(self.name, "by chance", CHANCE)}


def _scores(images: Float[np.ndarray, "n d"], captions: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    cosines = (images.astype(np.float64) * captions.astype(np.float64)).sum(axis=1)
    return np.asarray(100 * np.maximum(cosines, 0))
