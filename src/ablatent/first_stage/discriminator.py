"""Patch discriminator (Isola et al. 2017, appendix 6.1.2), without batch statistics: ranks and batch sizes agree."""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count, OneOf
from ablatent.networks.blocks import norm as group_norm

_KERNEL = 4


class PatchGAN(nn.Module):
    """Logits for overlapping patches: positive means real.

    `layers` stride-2 convolutions, then two of stride 1; ch doubles per layer up to 8 * ch. norm: "group" or "none".
    in_ch: channels of the images. Raises ConfigError for other values.
    """

    def __init__(
        self,
        ch: Annotated[Count, "channels of the first layer"] = 64,
        layers: Annotated[Count, "strided layers"] = 3,
        norm: Annotated[str, OneOf(("group", "none")), "of the layers"] = "group",
        in_ch: Annotated[Count, "channels of the images"] = 3,
    ) -> None:
        super().__init__()
        where = "first_stage.loss.discriminator"
        for name, value in {"ch": ch, "layers": layers, "in_ch": in_ch}.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{where}.{name}", "an integer >= 1", value)
        if norm not in ("group", "none"):
            raise ConfigError(f"{where}.norm", "group or none", norm)
        self.layers = layers
        body: list[nn.Module] = [nn.Conv2d(in_ch, ch, _KERNEL, stride=2, padding=1), nn.LeakyReLU(0.2)]
        width = ch
        for n in range(1, layers + 1):
            out = ch * min(2**n, 8)
            # a normalisation that follows makes the bias idle
            body.append(nn.Conv2d(width, out, _KERNEL, stride=2 if n < layers else 1, padding=1, bias=norm == "none"))
            if norm == "group":
                body.append(group_norm(out))
            body.append(nn.LeakyReLU(0.2))
            width = out
        body.append(nn.Conv2d(width, 1, _KERNEL, padding=1))
        self.body = nn.Sequential(*body)
        for module in self.body:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def min_size(self) -> int:
        """The smallest image, in pixels, that leaves one logit."""
        return 3 * 2**self.layers

    def forward(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b 1 h w"]:
        """Logits of images in [-1, 1]. Raises ConfigError below `min_size` pixels."""
        if min(x.shape[-2:]) < self.min_size:
            raise ConfigError(
                "first_stage.loss.discriminator.layers",
                f"images of at least {self.min_size} pixels for {self.layers} layers",
                list(x.shape[-2:]),
                "Take fewer layers.",
            )
        logits: torch.Tensor = self.body(x)
        return logits
