"""What the released latent diffusion models were built with that the shapes of their tensors do not show.

Rombach et al. 2022, tables 12 to 15, and the released configurations of latent-diffusion and stable-diffusion v1: the
betas are square-root-linear over 1,000 steps, attention has the published heads in the order that puts heads first.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from ablatent.core.errors import ConfigError


@dataclass(frozen=True)
class Published:
    """A released model.

    ch, ch_mult, context_dim: arguments of its UNet; channels: of the input, condition included; None: any. heads or
    head_channels: of its attention. betas: the first and the last; linear: they are linear in t, not their square
    roots. scale: by which raw latents are multiplied.
    """

    name: str
    ch: int
    ch_mult: tuple[int, ...]
    _: KW_ONLY
    context_dim: int | None = None
    channels: int | None = None
    heads: int | None = None
    head_channels: int | None = None
    betas: tuple[float, float]
    linear: bool = False
    scale: float = 1.0


DIT = Published("DiT (Peebles & Xie 2023)", 0, (), betas=(0.0001, 0.02), linear=True, scale=0.18215)
"""Of every size: latents of stable-diffusion's autoencoder, and the betas of Ho et al. 2020."""
MODELS = (
    Published(
        "CelebA-HQ, FFHQ, LSUN-Bedrooms LDM-4", 224, (1, 2, 3, 4), channels=3, head_channels=32, betas=(0.0015, 0.0195)
    ),
    Published("LSUN-Churches LDM-8", 192, (1, 2, 2, 4, 4), channels=4, heads=8, betas=(0.0015, 0.0155)),
    Published("ImageNet LDM-8", 256, (1, 2, 4), context_dim=512, channels=4, head_channels=32, betas=(0.0015, 0.0195)),
    Published("ImageNet LDM-4-G", 192, (1, 2, 3, 5), context_dim=512, channels=3, heads=1, betas=(0.0015, 0.0195)),
    Published(
        "text-to-image 1.45B",
        320,
        (1, 2, 4, 4),
        context_dim=1280,
        channels=4,
        heads=8,
        betas=(0.00085, 0.012),
        scale=0.18215,
    ),
    Published(
        "stable-diffusion v1", 320, (1, 2, 4, 4), context_dim=768, heads=8, betas=(0.00085, 0.012), scale=0.18215
    ),
    Published(
        "layout OpenImages", 128, (1, 2, 3, 4), context_dim=512, channels=3, head_channels=32, betas=(0.0015, 0.0205)
    ),
    Published("super-resolution", 160, (1, 2, 2, 4), channels=6, head_channels=32, betas=(0.0015, 0.0155)),
    Published(
        "text-to-image 256 (640 wide tokens)",
        192,
        (1, 2, 3, 5),
        context_dim=640,
        channels=3,
        head_channels=32,
        betas=(0.0015, 0.0195),
    ),
    Published(
        "retrieval-augmented 768",
        448,
        (1, 2, 3, 4),
        context_dim=768,
        channels=16,
        head_channels=32,
        betas=(0.0015, 0.015),
        scale=0.22765929,
    ),
    Published("inpainting", 256, (1, 2, 3, 4), channels=7, heads=8, betas=(0.0015, 0.0205)),
    Published("semantic synthesis", 128, (1, 4, 8), channels=6, heads=8, betas=(0.0015, 0.0205)),
)


def published(ch: int, ch_mult: list[int], context_dim: int | None, channels: int) -> Published:
    """The released model of that shape; where there is none, default betas and scale, without heads (the name then says
    so): no value of these is so usual that it could be guessed."""
    for model in MODELS:
        same = (model.ch, model.ch_mult, model.context_dim) == (ch, tuple(ch_mult), context_dim)
        if same and model.channels in (None, channels):
            return model
    return Published(
        "the default values",
        ch,
        tuple(ch_mult),
        context_dim=context_dim,
        channels=channels,
        betas=(0.0015, 0.0195),
    )


@dataclass(frozen=True, kw_only=True)
class Options:
    """The fields of `interop` that fill in what a file does not say; None: as published.

    heads, head_channels: attention of the UNet, one of them. heads_first: the rows of its fused query, key and value
    are ordered by head first (as released), or by query, key and value first. T, beta_start, beta_end: the schedule.
    scale_factor: by which raw latents are multiplied. null_label: the last row of a class embedding is the null class.
    freq_shift: of a DiT, whose files do not say it.
    """

    heads: int | None = None
    head_channels: int | None = None
    heads_first: bool = True
    T: int = 1000
    beta_start: float | None = None
    beta_end: float | None = None
    scale_factor: float | None = None
    null_label: bool = True
    freq_shift: bool = True

    @staticmethod
    def of(node: Mapping[str, Any]) -> "Options":
        """The fields of the node `interop` that are options of reading; it has others, too."""
        return Options(**{k: v for k, v in node.items() if k in Options.__dataclass_fields__})

    def attention(self, model: Published) -> tuple[dict[str, int | None], str]:
        """({heads, head_channels}, where they come from). Raises ConfigError where neither says them."""
        if self.heads is not None or self.head_channels is not None:
            return {"heads": self.heads, "head_channels": self.head_channels}, "interop"
        if model.heads is None and model.head_channels is None:
            shape = f"ch={model.ch} ch_mult={list(model.ch_mult)} context_dim={model.context_dim}"
            raise ConfigError(
                "interop.head_channels",
                "the channels of an attention head, or interop.heads, their number",
                None,
                f"The shapes ({shape}, {model.channels} channels) do not show it, and are no released model's. The "
                "file's config.yaml has it as num_head_channels or num_heads; beside the file, it is read.",
            )
        return {"heads": model.heads, "head_channels": model.head_channels}, model.name
