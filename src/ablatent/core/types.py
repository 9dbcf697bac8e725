"""Types that pass between rooms. Shapes are the contract: b batch, c channels, h w rows, columns, l tokens, d width."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """A denoiser's prediction at x_t, in the dtype of x_t, never below float32.

    variance_fraction: where the network learns the variance, its place between beta_tilde (0) and beta (1) on a
    log scale (Nichol & Dhariwal 2021, eq. 15).
    """

    x0: Float[Tensor, "b c h w"]
    eps: Float[Tensor, "b c h w"]
    variance_fraction: Float[Tensor, "b c h w"] | None = None


@dataclass(frozen=True)
class Moments:
    """Diagonal Gaussian over raw latents; std = 0 where the encoder is deterministic (VQ, identity)."""

    mean: Float[Tensor, "b c h w"]
    std: Float[Tensor, "b c h w"]


@dataclass(frozen=True)
class Cond:
    """What a network is conditioned on; each part may be absent.

    vector: added to the time embedding; tokens: for cross-attention, with mask True where a token counts;
    spatial: concatenated to x_t along channels.
    """

    vector: Float[Tensor, "b d_vector"] | None = None
    tokens: Float[Tensor, "b l d"] | None = None
    mask: Bool[Tensor, "b l"] | None = None
    spatial: Float[Tensor, "b c h w"] | None = None

    def _map(self, f: Callable[[Tensor], Tensor]) -> "Cond":
        return replace(self, **{k.name: f(v) for k in fields(self) if (v := getattr(self, k.name)) is not None})

    def to(self, device: torch.device | str) -> "Cond":
        """The same parts on a device."""
        return self._map(lambda v: v.to(device))

    def rows(self, index: slice | Tensor) -> "Cond":
        """The given rows of every part."""
        return self._map(lambda v: v[index])

    def of_ones(self, n: int) -> "Cond":
        """n rows of the same parts and shapes, on the default device, all ones."""
        return self._map(lambda v: torch.ones(n, *v.shape[1:], dtype=v.dtype))

    @staticmethod
    def cat(conds: "list[Cond] | tuple[Cond, ...]") -> "Cond":
        """Rows of several conditions, one after the other. Raises ValueError unless all have the same parts."""
        parts = {}
        for f in fields(Cond):
            values = [getattr(c, f.name) for c in conds]
            if any(v is not None for v in values):
                if any(v is None for v in values):
                    raise ValueError(f"Cond.cat: expected the part '{f.name}' in all of {len(conds)} conditions")
                parts[f.name] = torch.cat(values)
        return Cond(**parts)
