"""EfficientNet-Lite0, an ImageNet-1k classifier: for a score in the manner of the Inception Score.

Tan and Le 2019, "EfficientNet"; the Lite variants have no squeeze-and-excitation and use ReLU6.
"""

import importlib.util
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Digest
from ablatent.core.tensor_files import read_tensors
from ablatent.core.weights import PretrainedFile, verify_digest
from ablatent.evaluation.scores import Extractor

SIZE = 224
ARCHITECTURE = "efficientnet_lite_pytorch"


class EffNetLite0Extractor(Extractor):
    """Logits of EfficientNet-Lite0 over the 1,000 ImageNet classes. Input (x - 127) / 128 at 224 px."""

    weights: PretrainedFile
    layer = "logits"
    label = "(EfficientNet-Lite0)"
    name = "effnet-lite0/logits"
    dim = 1000
    resize = "bilinear with antialiasing to 224 px"

    def __init__(
        self,
        suffix: Annotated[str, "of the names of scores"],
        weights: Annotated[PretrainedFile, "where the files are found"],
        digest: Annotated[Digest, "of the tensors, whatever file served them"],
    ):
        self.suffix, self.weights, self.digest = suffix, weights, digest
        self._network: nn.Module | None = None

    def check(self) -> None:
        if importlib.util.find_spec(ARCHITECTURE) is None:
            raise ConfigError(
                "weights of EfficientNet-Lite0",
                f"the package {ARCHITECTURE}, which describes the network",
                "not installed",
                "pip install --no-deps efficientnet-lite-pytorch",
            )
        self.weights.check()

    def load(self, device: torch.device | str = "cpu") -> None:
        if self._network is None:
            self.check()
            from efficientnet_lite_pytorch import EfficientNet

            found = self.weights.find()
            state = {k: v for k, v in read_tensors(found.path).items() if not k.endswith("num_batches_tracked")}
            verify_digest(self.name, state, self.digest, found)
            network = EfficientNet.from_name("efficientnet-lite0")
            missing, unexpected = network.load_state_dict(state, strict=False)
            absent = [name for name in missing if not name.endswith("num_batches_tracked")]
            if absent or unexpected:
                raise DataError(f"{found.path}: tensors missing {absent[:3]}, unexpected {list(unexpected)[:3]}")
            self._network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
            self.served = found
        self._network.to(device)

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        if self._network is None:
            self.load(images.device)
        x = F.interpolate(images.float(), (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True)
        x = ((x - 127) / 128).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self._network(x)  # type: ignore[misc]
        return logits
