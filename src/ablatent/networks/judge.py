"""Small networks trained on real images, to judge generated ones: one answer an image, or one a pixel.

The downward half of a U-Net of ADM blocks; for pixels also the upward half, with skips (Ronneberger et al. 2015).
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Len
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count, Probability
from ablatent.networks.blocks import Downsample, ResBlock, Upsample, norm

COLOURS = 3


class JudgeBackbone(nn.Module):
    """Feature maps of an image, one a level, from fine to coarse.

    stem: stem × stem pixels are folded into channels at the input, so that the first level has 1/stem of the side.
    ch, ch_mult: width of level k is ch * ch_mult[k]; num_res_blocks: a level; dropout: inside them.
    pools: whether it makes one vector of an image (`pooled`), of which its logits are a linear function.
    Raises ConfigError (judge.network.…) for arguments that are none, or outputs < 1.
    """

    pools: ClassVar[bool] = False

    def __init__(
        self,
        outputs: int,
        ch: Annotated[Count, "channels of the first level"],
        ch_mult: Annotated[Sequence[Count], Len(1), "channels of level i: ch * ch_mult[i]"],
        num_res_blocks: Annotated[Count, "residual blocks of a level"],
        stem: Annotated[Count, "pixels a side that are folded into channels at the input"],
        dropout: Annotated[Probability, "dropout inside the blocks"],
    ) -> None:
        super().__init__()
        for name, value in {"ch": ch, "num_res_blocks": num_res_blocks, "stem": stem, "outputs": outputs}.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"judge.network.{name}", "an integer >= 1", value)
        if not ch_mult or min(ch_mult) < 1:
            raise ConfigError("judge.network.ch_mult", "a list of integers >= 1, one a level", list(ch_mult))
        if not 0 <= dropout < 1:
            raise ConfigError("judge.network.dropout", "a number in [0, 1)", dropout)
        self.num_res_blocks, self.rate = num_res_blocks, dropout
        self.stem, self.factor = stem, stem * 2 ** (len(ch_mult) - 1)
        self.widths = [ch * mult for mult in ch_mult]
        self.conv_in = nn.Conv2d(COLOURS * stem**2, self.widths[0], 3, padding=1)
        self.levels, self.downs = nn.ModuleList(), nn.ModuleList()
        before = self.widths[0]
        for k, width in enumerate(self.widths):
            self.downs.append(Downsample(before) if k else nn.Identity())
            self.levels.append(_blocks(before, width, num_res_blocks, dropout))
            before = width

    def features(self, x: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """The map of each level, (b, width, h', w'), from fine to coarse.

        x: images in [-1, 1]. Raises ConfigError unless h and w are divisible by the factor of the coarsest level.
        """
        if x.shape[2] % self.factor or x.shape[3] % self.factor:
            raise ConfigError(
                "judge.network",
                f"images whose sides are divisible by {self.factor} (stem and levels)",
                "x".join(map(str, x.shape[2:])),
                "Give a smaller judge.network.stem or fewer levels in judge.network.ch_mult.",
            )
        h = self.conv_in(rearrange(x, "b c (h p) (w q) -> b (c p q) h w", p=self.stem, q=self.stem))
        maps = []
        for down, level in zip(self.downs, self.levels, strict=True):
            h = level(down(h))
            maps.append(h)
        return maps

    def pooled(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """The vector of each image in [-1, 1] that comes before the logits, of networks that declare `pools`."""
        raise NotImplementedError(f"{type(self).__name__} makes no vector of an image")


class JudgeNet(JudgeBackbone):
    """One logit an output for the whole image, from mean and maximum of the coarsest map: its class, or what it shows.

    Arguments as in `JudgeBackbone`; outputs: number of logits.
    """

    pools: ClassVar[bool] = True

    def __init__(self, outputs: int, **backbone: Any) -> None:
        super().__init__(outputs, **backbone)
        self.norm_out = norm(self.widths[-1])
        self.dropout = nn.Dropout(self.rate)
        self.head = nn.Linear(2 * self.widths[-1], outputs)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b outputs"]:
        """Logits of images in [-1, 1]. Raises ConfigError for sides that do not fit, as `features`."""
        return self.head(self.dropout(self.pooled(x)))

    def pooled(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        h = F.silu(self.norm_out(self.features(x)[-1]))
        return torch.cat([reduce(h, "b c h w -> b c", "mean"), reduce(h, "b c h w -> b c", "max")], dim=1)


class PixelNet(JudgeBackbone):
    """One logit an output for each pixel. Arguments as in `JudgeBackbone`; outputs: number of logits."""

    def __init__(self, outputs: int, **backbone: Any) -> None:
        super().__init__(outputs, **backbone)
        self.ups, self.back = nn.ModuleList(), nn.ModuleList()
        before = self.widths[-1]
        for width in self.widths[-2::-1]:
            self.ups.append(Upsample(before))
            self.back.append(_blocks(before + width, width, self.num_res_blocks, self.rate))
            before = width
        self.norm_out = norm(before)
        self.conv_out = nn.Conv2d(before, outputs * self.stem**2, 3, padding=1)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b outputs h w"]:
        """Logits of each pixel of images in [-1, 1]. Raises ConfigError for sides that do not fit, as `features`."""
        *finer, h = self.features(x)
        for up, back, skip in zip(self.ups, self.back, reversed(finer), strict=True):
            h = back(torch.cat([up(h), skip], dim=1))
        h = self.conv_out(F.silu(self.norm_out(h)))
        return rearrange(h, "b (c p q) h w -> b c (h p) (w q)", p=self.stem, q=self.stem)


def _blocks(before: int, width: int, count: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(*(ResBlock(before if n == 0 else width, width, None, dropout) for n in range(count)))
