"""The diffusion transformer with adaLN-zero blocks (DiT, Peebles & Xie 2023), with cross-attention for tokens."""

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count, Positive, Probability
from ablatent.core.types import Cond
from ablatent.networks.common import Inputs, check_dropout, check_positive, head_count, run
from ablatent.networks.transformer import Attention, timestep_embedding, zero_init

_FREQUENCIES = 256  # width of the time embedding before its MLP, at every width of the network


def position_embedding(
    rows: int, columns: int, width: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "{rows*columns} {width}"]:
    """One vector a patch, row by row: sines and cosines of its column in the first half, of its row in the second.

    Fixed, and defined for any canvas (He et al. 2022, as the released DiT uses them). width: divisible by four.
    """

    def axis(n: int) -> Tensor:
        places = torch.arange(n, dtype=torch.promote_types(dtype, torch.float32), device=device)
        cos, sin = timestep_embedding(places, width // 2).chunk(2, dim=1)
        return torch.cat([sin, cos], dim=1).to(dtype)

    x = repeat(axis(columns), "w d -> (h w) d", h=rows)
    y = repeat(axis(rows), "h d -> (h w) d", w=columns)
    return torch.cat([x, y], dim=1)


def modulated(
    x: Float[Tensor, "b n d"], shift: Float[Tensor, "b 1 d"], scale: Float[Tensor, "b 1 d"]
) -> Float[Tensor, "b n d"]:
    """Layer normalisation without weights of its own, then * (1 + scale) + shift."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class DiTBlock(nn.Module):
    """Self-attention, cross-attention (with `context_dim`) and an MLP, each normalised and inside a residual.

    One linear layer over the embedding shifts and scales each norm and gates each residual (adaLN-zero). It starts at
    zero, so that all gates are closed and the block starts as the identity.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, context_dim: int | None, dropout: float, qk_norm: bool
    ) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads, bias=True, qk_norm=qk_norm)
        self.cross_attn = None
        if context_dim is not None:
            self.cross_attn = Attention(width, heads, context_dim, bias=True, qk_norm=qk_norm)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Dropout(dropout), nn.Linear(hidden, width)
        )
        # (shift, scale, gate) of self-attention, of the MLP, and then of cross-attention: without it, the paper's.
        self.modulation = nn.Linear(width, (6 if context_dim is None else 9) * width)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        emb: Float[Tensor, "b d"],
        tokens: Float[Tensor, "b l c"] | None,
        mask: Bool[Tensor, "b l"] | None,
    ) -> Float[Tensor, "b n d"]:
        """Apply the block; `tokens` must be given exactly when the block was built with `context_dim`."""
        parts = rearrange(self.modulation(F.silu(emb)), "b (branch k d) -> branch k b 1 d", k=3, d=x.shape[2])
        shift, scale, gate = parts[0]
        x = x + gate * self.self_attn(modulated(x, shift, scale))
        if self.cross_attn is not None:
            shift, scale, gate = parts[2]
            x = x + gate * self.cross_attn(modulated(x, shift, scale), tokens, mask)
        shift, scale, gate = parts[1]
        return x + gate * self.mlp(modulated(x, shift, scale))


class DiT(nn.Module):
    """Predicts one map from x_t, the time t and a condition, by a transformer over patches of x_t.

    in_channels, out_channels: of x_t and of the output (twice as many with a learned variance). width: of the
    transformer, divisible by four. depth: blocks. patch_size: side of a patch, of which one becomes one token.
    heads or head_channels: one of them, the other null. mlp_ratio: width inside the MLPs over `width`.
    context_dim: width of `cond.tokens`, read by cross-attention in every block. vector_dim: width of `cond.vector`,
    which is added to the time embedding, behind an MLP where `vector_mlp` is true and as it is, as in the paper, where
    it is false: it then has `width` channels. spatial_channels: channels of `cond.spatial`, concatenated to x_t.
    qk_norm: see `Attention`. freq_shift: the frequencies of the time reach 1/10,000, as in diffusers; those of the
    paper's code end one step before. dropout: inside the MLPs. checkpointing: trade compute for memory in training.
    Raises ConfigError for arguments that do not fit together.
    """

    neutral: ClassVar[dict[str, Any]] = {"vector_mlp": True, "qk_norm": False, "freq_shift": False}

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        width: Annotated[Count, "channels of the tokens"],
        depth: Annotated[Count, "blocks"],
        patch_size: Annotated[Count, "side of a token in latents; must divide them"] = 2,
        head_channels: Annotated[Count | None, "channels of an attention head; null where heads is given"] = None,
        heads: Annotated[Count | None, "attention heads; null where head_channels is given"] = None,
        mlp_ratio: Annotated[Positive, "hidden width of the MLPs, times width"] = 4.0,
        vector_mlp: Annotated[bool, "an MLP before a condition's vector joins the time; the paper: false"] = True,
        qk_norm: Annotated[bool, "RMSNorm of queries and keys"] = False,
        freq_shift: Annotated[bool, "lowest frequency of the time 1/10,000, as in diffusers; the paper: false"] = False,
        context_dim: int | None = None,
        vector_dim: int | None = None,
        spatial_channels: int = 0,
        dropout: Annotated[Probability, "dropout inside the MLPs"] = 0.0,
        checkpointing: Annotated[bool, "less memory for more time in training"] = False,
    ) -> None:
        super().__init__()
        self.inputs = Inputs(in_channels, context_dim, vector_dim, spatial_channels)
        check_positive("network", out_channels=out_channels, width=width, depth=depth, patch_size=patch_size)
        if width % 4:
            raise ConfigError("network.width", "a multiple of 4 (sines and cosines of a patch's row and column)", width)
        if not mlp_ratio * width >= 1:
            raise ConfigError(
                "network.mlp_ratio", "a number that leaves at least one channel", mlp_ratio, "The paper has 4."
            )
        check_dropout("network", dropout)
        count = head_count(width, heads, head_channels)

        if not vector_mlp and vector_dim not in (None, width):
            raise ConfigError(
                "network.vector_mlp",
                f"true, or a condition's vector of network.width={width} channels (conditioner.dim={width})",
                f"false, with {vector_dim} channels",
            )

        self.width, self.patch_size, self.checkpointing, self.freq_shift = width, patch_size, checkpointing, freq_shift
        self.patches = nn.Conv2d(self.inputs.channels, width, patch_size, stride=patch_size)
        self.time_mlp = nn.Sequential(nn.Linear(_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.vector_mlp = None
        if vector_dim is not None and vector_mlp:
            self.vector_mlp = nn.Sequential(nn.Linear(vector_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(
            DiTBlock(width, count, int(mlp_ratio * width), context_dim, dropout, qk_norm) for _ in range(depth)
        )
        self.modulation_out = nn.Linear(width, 2 * width)
        self.proj_out = nn.Linear(width, patch_size**2 * out_channels)
        self._initialise()

    def _initialise(self) -> None:
        """As the paper's code: Xavier, small time MLP; zero modulations and output, so that the output starts at 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.flatten(1))  # the patch convolution as the linear layer it is
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for layer in self.time_mlp:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
        modulations = [block.modulation for block in self.blocks if isinstance(block, DiTBlock)]
        for layer in (*modulations, self.modulation_out, self.proj_out):
            zero_init(layer)

    def forward(
        self, x: Float[Tensor, "b c h w"], t: Float[Tensor, " b"], cond: Cond | None = None
    ) -> Float[Tensor, "b o h w"]:
        """x: x_t; h and w divisible by patch_size. t: real-valued times in [0, T-1]. cond: None is the empty one.

        Raises ConfigError where the condition's parts are not those that the network was built for.
        """
        cond = Cond() if cond is None else cond
        x = self.inputs.join(x, cond)
        p = self.patch_size
        if x.shape[2] % p or x.shape[3] % p:
            raise ConfigError(
                "network.patch_size",
                f"a divisor of the latents' height and width, {x.shape[2]}x{x.shape[3]}",
                p,
                "Choose a smaller patch, or images of another size.",
            )
        emb = self.time_mlp(timestep_embedding(t, _FREQUENCIES, reach_end=self.freq_shift).to(x.dtype))
        if cond.vector is not None:
            emb = emb + (cond.vector if self.vector_mlp is None else self.vector_mlp(cond.vector))
        rows, columns = x.shape[2] // p, x.shape[3] // p
        # In the dtype of x_t, so that under autocast the residual stream stays in float32.
        places = position_embedding(rows, columns, self.width, x.dtype, x.device)
        h = rearrange(self.patches(x), "b d h w -> b (h w) d") + places
        for block in self.blocks:
            h = run(block, self.checkpointing, h, emb, cond.tokens, cond.mask)
        shift, scale = rearrange(self.modulation_out(F.silu(emb)), "b (k d) -> k b 1 d", k=2)
        h = self.proj_out(modulated(h, shift, scale))
        return rearrange(h, "b (h w) (p q c) -> b c (h p) (w q)", h=rows, w=columns, p=p, q=p)
