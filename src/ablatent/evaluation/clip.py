"""CLIP: images and captions in one space (Radford et al. 2021), and how near they are (Hessel et al. 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ablatent.conditioning.tokens import Captions, json_captions
from ablatent.core.errors import DataError
from ablatent.core.fields import Text
from ablatent.core.progress import counted, track
from ablatent.core.rng import stream
from ablatent.evaluation.hub_extractor import HubExtractor
from ablatent.evaluation.intervals import STUDENT, of_mean
from ablatent.evaluation.scores import CHANCE, Metric, Score

TOKENIZER = "tokenizer.json"
LONGEST = 77  # tokens of a caption, both ends included
PAD = "<|endoftext|>"
BATCH = 64
SHUFFLES = 20  # orders of the captions that the score of chance is the mean of


class ClipExtractor(HubExtractor):
    """Embeddings of unit length from a folder of the hub's kind (config.json, model.safetensors, tokenizer.json).

    dim: of the shared space. digest, revision: see `HubExtractor`. Distances of images on them are called FD and KD.
    """

    layer = "projection"
    resize = "bicubic (Pillow) to the side that the network takes"
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

    _captions: Captions | None = None

    def _read(self, folder: Path) -> tuple[Any, int]:
        import transformers

        read = transformers.CLIPModel.from_pretrained
        model = read(str(folder), local_files_only=True, use_safetensors=True)
        self._captions = json_captions(folder / TOKENIZER, PAD)
        width: int = model.config.projection_dim  # type: ignore[assignment]
        return model, width

    @property
    def _side(self) -> int:
        return int(self._model.config.vision_config.image_size)

    def _features(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
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
        shuffled = [_scores(fake, real[stream(0, "chance", k).permutation(n)]) for k in range(SHUFFLES)]
        chance_protocol = {k: v for k, v in protocol.items() if k != "spread"} | {
            "chance": f"captions shuffled among the images, mean of {SHUFFLES} orders"
        }
        label = f"CLIP score {self.extractor.label}"
        score = Score(
            float(values.mean()),
            half,
            protocol,
            interval=of_mean(values),
            interval_by=STUDENT,
            label=label,
            better="higher",
            shown_in="terminal",
        )
        chance = replace(
            score,
            value=float(np.mean([one.mean() for one in shuffled])),
            std=None,
            protocol=chance_protocol,
            interval=of_mean(np.mean(shuffled, axis=0)),
            shown_in="report",
        )
        return {self.name: score, f"{self.name}_chance": chance.yardstick(self.name, "by chance", CHANCE)}


def _scores(images: Float[np.ndarray, "n d"], captions: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    cosines = (images.astype(np.float64) * captions.astype(np.float64)).sum(axis=1)
    return np.asarray(100 * np.maximum(cosines, 0))
