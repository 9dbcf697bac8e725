"""DINOv2: features learned without labels (Oquab et al. 2023), for distances in the place of Inception's.

Stein et al. 2023, "Exposing flaws of generative model evaluation metrics", found distances on them nearer to what
people see than on Inception's.
"""

from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ablatent.evaluation.hub_extractor import HubExtractor


class DinoV2Extractor(HubExtractor):
    """The class token after the last layer norm, of images of 224 px (16 x 16 patches of 14 px)."""

    layer = "class token"
    resize = "bicubic (Pillow) to 224 px"
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    remark = (
        "(DINOv2): on its features; FD and KD are the distances that are called FID and KID on Inception's. Compare "
        "them with those by the same network only."
    )

    @property
    def _side(self) -> int:
        return 224

    def _read(self, folder: Path) -> tuple[Any, int]:
        import transformers

        read = transformers.Dinov2Model.from_pretrained
        model = read(str(folder), local_files_only=True, use_safetensors=True)
        return model, int(model.config.hidden_size)

    def _features(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        features: Tensor = self._model(pixel_values=x).pooler_output
        return features
