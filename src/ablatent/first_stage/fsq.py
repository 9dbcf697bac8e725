"""Autoencoder whose latents are rounded to a few levels a channel (Mentzer et al. 2023, "Finite Scalar Quantization:
VQ-VAE Made Simple").

Codes are all combinations of levels: none is learned, and no term of the loss is about them. The latents handed to
diffusion are the bounded ones before rounding; the decoder's first act is to round.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Len
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.ranks import whole_batch
from ablatent.core.types import Moments
from ablatent.first_stage.autoencoder import Autoencoder
from ablatent.first_stage.base import Reconstruction
from ablatent.first_stage.codebook import counts_of, take_statistics

MARGIN = 1e-3
"""Share by which bounded values stay within the outermost levels: eps of the paper's code."""
MAX_CODES = 2**16
"""The use of each code is counted; the paper's largest set has 64,000."""


class ScalarQuantiser(nn.Module):
    """Each channel of a map on its own: bounded, then rounded to one of `levels[channel]` values.

    These values are the multiples of 1 / (levels // 2) from -1 on, up to 1 for an odd number of levels; an even one
    has no value at 1. Mentzer et al. 2023, section 3 and appendix A.1. No state: everything follows from `levels`.

    Raises ConfigError at `first_stage.levels` for levels below 2, none at all, and more than MAX_CODES codes.
    """

    levels: Tensor
    place_value: Tensor
    half_width: Tensor
    amplitude: Tensor
    offset: Tensor
    shift: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        if len(levels) == 0 or min(levels) < 2:
            expected = "integers of at least 2, one for each channel, such as [8, 5, 5, 5]"
            raise ConfigError("first_stage.levels", expected, list(levels))
        self.codes = math.prod(levels)
        if self.codes > MAX_CODES:
            do = "Take fewer channels or fewer levels: [8, 8, 8, 6, 5] has 15,360."
            raise ConfigError("first_stage.levels", f"at most {MAX_CODES:,} codes", f"{self.codes:,} codes", do)
        amplitude = [(n - 1) * (1 - MARGIN) / 2 for n in levels]
        offset = [0.0 if n % 2 else 0.5 for n in levels]
        constants = {
            "levels": list(levels),
            "place_value": [math.prod(levels[:i]) for i in range(len(levels))],
            "half_width": [float(n // 2) for n in levels],
            "amplitude": amplitude,
            "offset": offset,
            "shift": [math.tan(o / a) for o, a in zip(offset, amplitude, strict=True)],
        }
        for name, values in constants.items():
            self.register_buffer(name, rearrange(torch.tensor(values), "c -> c 1 1"), persistent=False)

    def bound(self, h: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
        """Any values, smoothly brought between the outermost levels."""
        return (torch.tanh(h + self.shift) * self.amplitude - self.offset) / self.half_width

    def quantise(self, z: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
        """The nearest level of each bounded value; what lies outside goes to the outermost level. No gradient."""
        return (self._digits(z) - self.half_width) / self.half_width

    def index(self, z: Float[Tensor, "b c H W"]) -> Int[Tensor, "b H W"]:
        """The number of the code that bounded values are rounded to, in [0, codes): the first channel counts least."""
        return (self._digits(z).nan_to_num(0.0).long() * self.place_value).sum(dim=1)

    def code(self, index: Int[Tensor, "b H W"]) -> Float[Tensor, "b c H W"]:
        """The code of each number: the inverse of `index`."""
        return (index[:, None] // self.place_value % self.levels - self.half_width) / self.half_width

    def _digits(self, z: Tensor) -> Tensor:
        """The level of each value, a whole number in [0, levels)."""
        digits = torch.round(z.detach() * self.half_width) + self.half_width
        return torch.minimum(digits.clamp(min=0.0), self.levels - 1.0)


class FSQAutoencoder(Autoencoder):
    """Latents of len(levels) channels, of which each is rounded to its own levels before they are decoded.

    Gradients pass the rounding straight through. The other arguments: see `Architecture`, whose z_channels follow from
    levels.
    """

    filled: ClassVar[tuple[str, ...]] = ("z_channels",)
    regularized = False
    usage: Tensor

    def __init__(
        self,
        *,
        levels: Annotated[
            Sequence[Annotated[int, Ge(2)]], Len(1), "levels of each channel of the latents; their product: codes"
        ],
        **architecture: Any,
    ) -> None:
        quantiser = ScalarQuantiser(levels)
        super().__init__(z_channels=len(levels), **architecture)
        self.quantiser = quantiser
        self.pending: list[Tensor] = []  # codes of the training passes since the last step
        self.register_buffer("usage", torch.zeros(quantiser.codes, dtype=torch.int64))  # since the last epoch_stats

    def moments(self, x: Float[Tensor, "b C H W"]) -> Moments:
        """The bounded latents before rounding, in [-1, 1], with standard deviation 0."""
        z = self.quantiser.bound(self.encoded(x))
        return Moments(mean=z, std=torch.zeros_like(z))

    def code_counts(self, z: Float[Tensor, "b c h w"]) -> Int[Tensor, " k"]:
        """How many of the raw latents are rounded to each code."""
        return counts_of(self.quantiser.index(z).flatten(), self.quantiser.codes)

    def decode(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b C H W"]:
        """Images of raw latents, which are rounded first; not clipped. Gradients pass straight through."""
        return self.decoded(self.quantiser.quantise(z) + (z - z.detach()))

    def forward(self, x: Float[Tensor, "b C H W"], noise: Float[Tensor, "b c h w"]) -> Reconstruction:
        """Round and decode; the latents are deterministic, so `noise` is not used."""
        z = self.moments(x).mean
        if self.training:
            self.pending.append(self.quantiser.index(z))
        stats = {"quantisation_mse": F.mse_loss(self.quantiser.quantise(z), z), "latent_std": z.std()}
        return Reconstruction(
            x_hat=self.decode(z),
            regularizer=z.new_zeros(()),
            regularizer_name="none",
            stats={k: v.detach() for k, v in stats.items()},
        )

    def forget_passes(self) -> None:
        self.pending.clear()

    @torch.no_grad()
    def after_step(self, step: int, generator: np.random.Generator) -> dict[str, float]:
        """Count the codes of the step's training passes, on all ranks."""
        if self.pending:
            self.usage += counts_of(whole_batch(self.pending).flatten(), self.quantiser.codes)
            self.pending.clear()
        return {}

    def epoch_stats(self) -> dict[str, float]:
        """codebook_usage in [0, 1] and codebook_perplexity in [1, codes] since the last call."""
        return take_statistics(self.usage)
