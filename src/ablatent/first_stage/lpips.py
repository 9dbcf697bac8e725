"""LPIPS as published: the perceptual loss of the latent diffusion paper.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", version 0.1 of the heads:
torchvision's VGG-16 with taps after relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3.
"""

import re
from collections.abc import Mapping
from typing import Annotated

import torch
from einops import rearrange

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Digest, Sha256
from ablatent.core.weights import PretrainedFile, verify_digest
from ablatent.first_stage.perceptual import FeatureDistance, Trunk

# torchvision's layers, by their place in `features`
VGG16 = Trunk(
    stages=(
        (("features.0", 64, 3), ("features.2", 64, 3)),
        (("features.5", 128, 3), ("features.7", 128, 3)),
        (("features.10", 256, 3), ("features.12", 256, 3), ("features.14", 256, 3)),
        (("features.17", 512, 3), ("features.19", 512, 3), ("features.21", 512, 3)),
        (("features.24", 512, 3), ("features.26", 512, 3), ("features.28", 512, 3)),
    ),
    padding={3: 1},
    pool=2,
    pooled=(1, 2, 3, 4),
    blurred=False,
    blur_first=False,
    smallest=16,
)
# Mean and deviation of ImageNet's pixels, for pixels in [-1, 1]: as published, to three digits.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class LPIPS(FeatureDistance):
    """LPIPS on VGG-16.

    weights: "trunk", torchvision's file, and "heads"; digest: of the heads as they are held here; trunk_sha256: the
    first digits (8 at least) of the SHA-256 of the trunk's file. Both are verified when the constructor loads the
    weights, which it does except on the meta device. Raises ConfigError for weights that cannot be found or are others,
    DataError for a file without the tensors of this network.
    """

    name = "lpips_vgg"

    def __init__(
        self,
        weights: Annotated[Mapping[str, PretrainedFile], "where the files are found"],
        digest: Annotated[Digest, "of the tensors, whatever file served them"],
        trunk_sha256: Annotated[Sha256, "of the file of the trunk"],
    ):
        super().__init__(VGG16)
        if set(weights) != {"trunk", "heads"}:
            raise ConfigError("perceptual.weights", "trunk and heads", sorted(weights))
        if not re.fullmatch("[0-9a-f]{8,64}", trunk_sha256):
            raise ConfigError("perceptual.trunk_sha256", "8 to 64 hexadecimal digits", trunk_sha256)
        self.weights, self.heads_digest, self.trunk_sha256 = dict(weights), digest, trunk_sha256
        self.digest: str = f"{digest}+{trunk_sha256}"
        if self.blur.device.type != "meta":
            self._load()

    def check(self) -> None:
        """Raise ConfigError unless both files are here or can be downloaded; reads nothing."""
        for file in self.weights.values():
            file.check()

    def _load(self) -> None:
        trunk, found = self.weights["trunk"].find(), self.weights["heads"].find()
        if not trunk.sha256.startswith(self.trunk_sha256):
            raise ConfigError(
                "perceptual.trunk_sha256",
                f"a trunk whose file has a SHA-256 that begins with {self.trunk_sha256}",
                f"{trunk.sha256} of {trunk.path} (found by {trunk.origin})",
                "Remove or replace that file, or name its digits in a YAML of its own.",
            )
        heads = self.read(found, self.heads())
        verify_digest(f"the heads of {self.name}", heads, self.heads_digest, found)
        self.hold(heads)
        self.hold(self.read(trunk, self.convolutions()))
        for name, values in (("shift", SHIFT), ("scale", SCALE)):
            self.hold({name: rearrange(torch.tensor(values, device="cpu"), "c -> 1 c 1 1")})
