"""What the denoising networks share: checks of their arguments, the parts of a condition, and checkpointing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond


def check_positive(node: str, **sizes: int) -> None:
    """Raise ConfigError for the first size below 1; node: the network's place in the configuration."""
    for key, value in sizes.items():
        if value < 1:
            raise ConfigError(f"{node}.{key}", "an integer >= 1", value)


def check_dropout(node: str, dropout: float) -> None:
    """Raise ConfigError outside [0, 1); node: the network's place in the configuration."""
    if not 0 <= dropout < 1:
        raise ConfigError(f"{node}.dropout", "a number in [0, 1)", dropout)


def level_factors(node: str, ch_mult: Sequence[int], attn_factors: Sequence[int]) -> list[int]:
    """The downsample factor of each level: 1, 2, 4 and so on.

    node: the network's place in the configuration. Raises ConfigError for widths that are none, and for an attention
    factor that no level has.
    """
    if not ch_mult or min(ch_mult) < 1:
        raise ConfigError(f"{node}.ch_mult", "a list of integers >= 1, one a level", list(ch_mult))
    factors = [2**k for k in range(len(ch_mult))]
    if unknown := [f for f in attn_factors if f not in factors]:
        raise ConfigError(
            f"{node}.attn_factors",
            f"some of {factors} (downsample factors of the {len(factors)} levels in {node}.ch_mult)",
            list(attn_factors),
            f"Leave out {unknown}: there is no such level (the middle block always has attention).",
        )
    return factors


def head_count(width: int, heads: int | None, head_channels: int | None, node: str = "network") -> int:
    """Attention heads at `width`, from exactly one of their number and their channels. node: key for errors.

    Raises ConfigError.
    """
    if (heads is None) == (head_channels is None):
        got = f"heads={heads}, head_channels={head_channels}"
        raise ConfigError(f"{node}.heads", "either heads or head_channels, the other null", got)
    key, value = ("head_channels", head_channels) if head_channels is not None else ("heads", heads)
    if value is None or value < 1 or width % value:
        raise ConfigError(f"{node}.{key}", f"a divisor of {width}, a width with attention", value)
    return width // value if head_channels is not None else value


@dataclass(frozen=True)
class Inputs:
    """What a network was built to take beside the time.

    in_channels: of x_t. context_dim, vector_dim: widths of `cond.tokens` and `cond.vector`, None without that part.
    spatial_channels: of `cond.spatial`, 0 without. Raises ConfigError for sizes that are none.
    """

    in_channels: int
    context_dim: int | None
    vector_dim: int | None
    spatial_channels: int

    def __post_init__(self) -> None:
        check_positive("network", in_channels=self.in_channels)
        for key, optional in {"context_dim": self.context_dim, "vector_dim": self.vector_dim}.items():
            if optional is not None and optional < 1:
                raise ConfigError(f"network.{key}", "an integer >= 1, or null", optional)
        if self.spatial_channels < 0:
            raise ConfigError("network.spatial_channels", "an integer >= 0", self.spatial_channels)

    @property
    def channels(self) -> int:
        """Channels of x_t and `cond.spatial` together."""
        return self.in_channels + self.spatial_channels

    def join(self, x: Float[Tensor, "b c h w"], cond: Cond) -> Float[Tensor, "b c2 h w"]:
        """x_t with `cond.spatial` behind it along channels.

        Raises ConfigError where x_t or a part of the condition is not what the network was built for.
        """
        self._check(x, cond)
        return x if cond.spatial is None else torch.cat([x, cond.spatial.to(x.dtype)], dim=1)

    def _check(self, x: Tensor, cond: Cond) -> None:
        parts = {
            "context_dim": (self.context_dim, None if cond.tokens is None else cond.tokens.shape[2], "cond.tokens"),
            "vector_dim": (self.vector_dim, None if cond.vector is None else cond.vector.shape[1], "cond.vector"),
            "spatial_channels": (
                self.spatial_channels or None,
                None if cond.spatial is None else cond.spatial.shape[1],
                "cond.spatial",
            ),
        }
        for key, (built, given, part) in parts.items():
            if built != given:
                expected = f"{given}, the width of the given {part}" if given else f"null or 0, as no {part} is given"
                raise ConfigError(
                    f"network.{key}", expected, built, "Build the network with what the conditioner gives."
                )
        if cond.mask is not None and cond.tokens is None:
            raise ConfigError("network.context_dim", "cond.tokens wherever cond.mask is given", "a mask alone")
        if x.shape[1] != self.in_channels:
            raise ConfigError(
                "network.in_channels", f"{x.shape[1]}, the channels of the given latents", self.in_channels
            )


def run(module: nn.Module, checkpointing: bool, *args: Any) -> Tensor:
    """module(*args). With `checkpointing`, what is inside it is computed again for gradients instead of kept.

    The second pass draws the same dropout and runs under the same autocast as the first, so gradients do not change.
    """
    if checkpointing and torch.is_grad_enabled():
        return checkpoint(module, *args, use_reentrant=False, preserve_rng_state=True)
    return module(*args)
