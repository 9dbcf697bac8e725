"""What the shapes of a CompVis checkpoint's tensors show of its networks."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablatent.core.errors import DataError
from ablatent.core.progress import counted
from ablatent.core.targets import TARGET, target_of
from ablatent.first_stage.kl import KLAutoencoder
from ablatent.first_stage.vq import VQAutoencoder
from ablatent.interop.compvis_config import described_beside
from ablatent.interop.layout import integer_multiples
from ablatent.interop.published import Options, Published, published
from ablatent.networks.unet import UNet
from ablatent.schedules.custom import Custom
from ablatent.schedules.scaled_linear import ScaledLinear


def autoencoder_config(state: Mapping[str, Tensor], what: str) -> dict[str, Any]:
    """The first_stage node (without training) of an autoencoder's tensors; DataError where there is none."""
    _need(state, what, "encoder.conv_in.weight", "encoder.down.0.block.0.conv1.weight")
    levels = _count(state, "encoder.down.{}.block.{}.conv1.weight")
    widths = _widths(state, "encoder.conv_in.weight", [f"encoder.down.{i}.block.0.conv1.weight" for i in range(levels)])
    ch, mult = integer_multiples(widths, what)
    # cut short, a file still shows enough to name what is missing
    z_channels = _size(state, "decoder.conv_in.weight", 1) or _size(state, "post_quant_conv.weight", 0) or 4
    config = {
        "ch": ch,
        "ch_mult": mult[1:],
        "num_res_blocks": _count(state, "encoder.down.0.block.{}.conv1.weight"),
        "z_channels": z_channels,
        "attn_factors": [2**i for i in range(levels) if f"encoder.down.{i}.attn.0.norm.weight" in state],
        "mid_blocks": 2,
        "mid_attention": "encoder.mid.attn_1.norm.weight" in state,
        "dropout": 0.0,
        "stem": 1,
    }
    if "quantize.embedding.weight" not in state:
        return {TARGET: target_of(KLAutoencoder), **config}
    codes = {"n_embed": _size(state, "quantize.embedding.weight", 0), "beta": 0.25}
    return {TARGET: target_of(VQAutoencoder), **config, **codes, "restart_every": None, "init": "uniform"}


def unet_config(
    state: Mapping[str, Tensor], options: Options, what: str, file: Path | None = None
) -> tuple[dict[str, Any], Published, str]:
    """(node of the UNet of these tensors, the released model of that shape, where its heads come from).

    file: they come from; a config.yaml beside it, of a UNet of that shape, stands for the released model. Raises
    DataError where there is none, or one that cannot be built here, and ConfigError where nothing says its heads.
    """
    _need(state, what, "input_blocks.0.0.weight", "input_blocks.1.0.in_layers.2.weight")
    if "label_emb.weight" in state:
        raise DataError(
            f"{what}: expected classes as tokens, or as a vector behind two linear layers (label_emb.0.0, "
            "label_emb.0.2); got label_emb.weight, added to the time embedding as it is, which no network here has."
        )
    blocks, levels = _blocks_and_levels(state)
    starts = [1 + level * (blocks + 1) for level in range(levels)]
    widths = _widths(state, "input_blocks.0.0.weight", [f"input_blocks.{s}.0.in_layers.2.weight" for s in starts])
    ch, mult = integer_multiples(widths, what)
    context = next((n for n in state if n.endswith("transformer_blocks.0.attn2.to_k.weight")), None)
    depths = [int(n.split("transformer_blocks.")[1].split(".")[0]) for n in state if "transformer_blocks." in n]
    total = _size(state, "input_blocks.0.0.weight", 1)
    out = _size(state, "out.2.weight", 0) or total
    context_dim = None if context is None else _size(state, context, 1)
    shape = (ch, mult[1:], context_dim, total)
    model = (None if file is None else described_beside(file, *shape)) or published(*shape)
    heads, source = options.attention(model)
    described = ", ".join(f"{k}={v}" for k, v in heads.items() if v is not None)
    emb = state.get("input_blocks.1.0.emb_layers.1.weight")
    label = state.get("label_emb.0.0.weight")
    latent = out if out <= total else total
    config = {
        TARGET: target_of(UNet),
        "in_channels": latent,
        "out_channels": out,
        "ch": ch,
        "ch_mult": mult[1:],
        "num_res_blocks": blocks,
        "attn_factors": [2**i for i, s in enumerate(starts) if f"input_blocks.{s}.1.norm.weight" in state],
        **heads,
        "context_dim": context_dim,
        "vector_dim": None if label is None else int(label.shape[1]),
        "spatial_channels": total - latent,
        "transformer_depth": max(depths, default=0) + 1,
        "dropout": 0.0,
        "scale_shift": emb is not None and emb.shape[0] == 2 * mult[1] * ch,
        "resblock_updown": not any(n.endswith(".0.op.weight") for n in state) and levels > 1,
        "checkpointing": False,
    }
    return config, model, f"attention: {described} (from {source}; keys interop.heads, interop.head_channels)"


def _blocks_and_levels(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """(ResBlocks a level on the way down, levels), from where resizing stands on the way down, or else up."""
    inputs = _count(state, "input_blocks.{}.0.in_layers.2.weight", "input_blocks.{}.0.op.weight", start=1)
    down = [k for k in range(1, inputs + 1) if f"input_blocks.{k}.0.op.weight" in state]
    if down:
        return down[0] - 1, max(1, -(-inputs // down[0]))
    outputs = _count(state, "output_blocks.{}.0.in_layers.2.weight")
    ends = (".1.conv.weight", ".2.conv.weight", ".1.in_layers.2.weight", ".2.in_layers.2.weight")
    up = [k for k in range(outputs) if any(f"output_blocks.{k}{end}" in state for end in ends)]
    if up:
        return up[0], max(1, -(-outputs // (up[0] + 1)))
    return max(1, inputs), 1


def _count(state: Mapping[str, Tensor], *patterns: str, start: int = 0) -> int:
    """How many numbers from `start` on stand at the first {} of a pattern that fits a tensor, up to the highest."""
    found = [start - 1]
    for pattern in patterns:
        shape = re.compile(re.escape(pattern).replace(r"\{\}", r"(\d+)"))
        found += [int(match[1]) for name in state if (match := shape.fullmatch(name))]
    return max(found) + 1 - start


def _size(state: Mapping[str, Tensor], name: str, axis: int) -> int:
    """A size of a tensor, 0 where it is not there."""
    return int(state[name].shape[axis]) if name in state and state[name].ndim > axis else 0


def _widths(state: Mapping[str, Tensor], first: str, names: list[str]) -> list[int]:
    """Output channels of the first convolution and of each level's; those of a missing one: as the one before."""
    widths = [_size(state, first, 0)]
    for name in names:
        widths.append(_size(state, name, 0) or widths[-1])
    return widths


def _need(state: Mapping[str, Tensor], what: str, *names: str) -> None:
    missing = [n for n in names if n not in state or state[n].ndim != 4]
    if missing:
        some = ", ".join(list(state)[:3])
        raise DataError(
            f"{what}: expected tensors that show the architecture; got {counted(len(state), 'tensor')} ({some}, "
            f"…), of which {len(missing)} missing: {', '.join(missing)}. Is it another format, or cut short?"
        )


def schedule_of(betas: Tensor | None, options: Options, model: Published) -> tuple[dict[str, Any], str]:
    """(schedule node, where it comes from): from the betas of the file, where it has them, else as published."""
    start, end = options.beta_start or model.betas[0], options.beta_end or model.betas[1]
    fields = {"T": options.T, "beta_start": start, "beta_end": end, "zero_terminal_snr": False}
    node = {TARGET: target_of(ScaledLinear), **fields}
    if betas is None or options.beta_start is not None or options.beta_end is not None:
        return node, "interop" if options.beta_start or options.beta_end else model.name
    values = betas.double()
    ends = [float(f"{float(v):.6g}") for v in (values[0], values[-1])]
    line = torch.linspace(ends[0] ** 0.5, ends[1] ** 0.5, len(values), dtype=torch.float64) ** 2
    if torch.allclose(values, line, rtol=1e-4, atol=0.0):
        return {**node, "T": len(values), "beta_start": ends[0], "beta_end": ends[1]}, "the file"
    given = {TARGET: target_of(Custom), "betas": values.tolist(), "zero_terminal_snr": False}
    return given, "the file, as a list of betas"
