"""Where the layers of our networks stand: what every format has to find a name for."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ablatent.core.errors import ConfigError, DataError
from ablatent.first_stage.autoencoder import Autoencoder
from ablatent.first_stage.kl import KLAutoencoder
from ablatent.first_stage.vq import VQAutoencoder
from ablatent.interop.renaming import Leaf, Place
from ablatent.networks.blocks import SelfAttention2d
from ablatent.networks.common import head_count
from ablatent.networks.dit import DiT
from ablatent.networks.transformer import Attention
from ablatent.networks.unet import UNet

CLASSES: dict[str, type[nn.Module]] = {c.__name__: c for c in (KLAutoencoder, VQAutoencoder, UNet, DiT)}
"""The networks that other programs have, too, by name."""


def on_meta(config: Mapping[str, Any], base: type[nn.Module] = nn.Module) -> nn.Module:
    """The network of a node (`_target_` and its arguments) without memory for its weights; ConfigError for others.

    base: of the networks that a format has.
    """
    name = str(config["_target_"]).rsplit(".", 1)[-1]
    there = [known for known, kind in CLASSES.items() if issubclass(kind, base)]
    if name not in there:
        do = "Train one of these for another program; the stage's own files have the tensors of this one."
        raise ConfigError("key", f"a network that the other program has ({', '.join(there)})", name, do)
    arguments = {k: v for k, v in config.items() if k != "_target_"}
    with torch.device("meta"):
        return CLASSES[name](**arguments)


def unet_places(config: Mapping[str, Any]) -> Iterator[Place]:
    """Every layer of a UNet, in the order in which it is built."""
    mult, blocks = config["ch_mult"], config["num_res_blocks"]
    attention = "attention" if config["context_dim"] is None else "transformer"
    resized = config["resblock_updown"]
    levels = range(len(mult))
    yield Place("time_mlp.0", "layer", "time", 0, 0)
    yield Place("time_mlp.2", "layer", "time", 0, 1)
    yield Place("vector_mlp.0", "layer", "vector", 0, 0)
    yield Place("vector_mlp.2", "layer", "vector", 0, 1)
    yield Place("conv_in", "layer", "in")
    k = 0
    for level in levels:
        for i in range(blocks):
            yield Place(f"down.{k}.0", "res", "down", level, i)
            if 2**level in config["attn_factors"]:
                yield Place(f"down.{k}.1", attention, "down", level, i)
            k += 1
        if level != levels[-1]:
            yield Place(f"down.{k}.0", "resize" if resized else "down", "down", level)
            k += 1
    for i, sort in enumerate(("res", attention, "res")):
        yield Place(f"mid.{i}", sort, "mid", levels[-1], i // 2)
    k = 0
    for level in reversed(levels):
        for i in range(blocks + 1):
            yield Place(f"up.{k}.0", "res", "up", level, i)
            attends = 2**level in config["attn_factors"]
            if attends:
                yield Place(f"up.{k}.1", attention, "up", level, i)
            if i == blocks and level > 0:
                yield Place(f"up.{k}.{2 if attends else 1}", "resize" if resized else "up", "up", level)
            k += 1
    yield Place("norm_out", "layer", "out", 0, 0)
    yield Place("conv_out", "layer", "out", 0, 1)


def autoencoder_places(config: Mapping[str, Any]) -> Iterator[tuple[str, Place]]:
    """("encoder" or "decoder", layer) of an autoencoder; ConfigError where it is not of the published kind.

    A resizing layer has the level whose blocks it follows.
    """
    if config["stem"] != 1 or config["mid_blocks"] != 2:
        got = f"stem={config['stem']}, mid_blocks={config['mid_blocks']}"
        do = "Other programs have no place for a folded input or another middle: train with first_stage.stem=1."
        raise ConfigError("first_stage", "stem=1, mid_blocks=2 (the published architecture)", got, do)
    levels, blocks, factors = range(len(config["ch_mult"])), config["num_res_blocks"], config["attn_factors"]
    middle = ("res", "attention", "res") if config["mid_attention"] else ("res", "res")

    def mid(ours: str, side: str) -> Iterator[tuple[str, Place]]:
        for i, sort in enumerate(middle):
            yield side, Place(f"{ours}.{i}", sort, "mid", levels[-1], 0 if sort == "attention" or i == 0 else 1)

    k = 0
    yield "encoder", Place("encoder.conv_in", "layer", "in")
    for level in levels:
        if level > 0:
            yield "encoder", Place(f"encoder.body.{k}", "down", "down", level - 1)
            k += 1
        for i in range(blocks):
            yield "encoder", Place(f"encoder.body.{k}", "res", "down", level, i)
            k += 1
            if 2**level in factors:
                yield "encoder", Place(f"encoder.body.{k}", "attention", "down", level, i)
                k += 1
    yield from mid(f"encoder.body.{k}", "encoder")
    yield "decoder", Place("decoder.conv_in", "layer", "in")
    yield from mid("decoder.body.0", "decoder")
    k = 1
    for level in reversed(levels):
        for i in range(blocks + 1):
            yield "decoder", Place(f"decoder.body.{k}", "res", "up", level, i)
            k += 1
            if 2**level in factors:
                yield "decoder", Place(f"decoder.body.{k}", "attention", "up", level, i)
                k += 1
        if level > 0:
            yield "decoder", Place(f"decoder.body.{k}", "up", "up", level)
            k += 1
    for side in ("encoder", "decoder"):
        yield side, Place(f"{side}.norm_out", "layer", "out", 0, 0)
        yield side, Place(f"{side}.conv_out", "layer", "out", 0, 1)


def transformer_leaves(depth: int) -> dict[str, Leaf]:
    """The parts of a SpatialTransformer by the names that CompVis and diffusers share."""
    leaves = {"norm": Leaf(("norm",)), "proj_in": Leaf(("proj_in",), 4), "proj_out": Leaf(("proj_out",), 4)}
    for k in range(depth):
        inner, outer = f"blocks.{k}", f"transformer_blocks.{k}"
        for part, name in (("self_attn", "attn1"), ("cross_attn", "attn2")):
            leaves |= {f"{inner}.{part}.{p}": Leaf((f"{outer}.{name}.{p}",)) for p in ("to_q", "to_k", "to_v")}
            leaves[f"{inner}.{part}.to_out"] = Leaf((f"{outer}.{name}.to_out.0",))
        leaves[f"{inner}.ff.inner"] = Leaf((f"{outer}.ff.net.0.proj",))
        leaves[f"{inner}.ff.out"] = Leaf((f"{outer}.ff.net.2",))
        leaves |= {f"{inner}.norm{i}": Leaf((f"{outer}.norm{i}",)) for i in (1, 2, 3)}
    return leaves


def heads_by_width(config: Mapping[str, Any]) -> dict[int, int]:
    """Width → attention heads of a UNet, for the widths that have attention."""
    levels = [i for i in range(len(config["ch_mult"])) if 2**i in config["attn_factors"]]
    widths = {config["ch"] * config["ch_mult"][i] for i in (*levels, -1)}
    return {w: head_count(w, config["heads"], config["head_channels"]) for w in sorted(widths)}


def beyond_shapes(model: nn.Module) -> list[int]:
    """What decides a network's outputs and does not follow from the shapes of its tensors: the heads of every
    attention, in order, and how a DiT embeds the time."""
    heads = [m.heads for m in model.modules() if isinstance(m, SelfAttention2d | Attention)]
    return heads + [int(m.freq_shift) for m in model.modules() if isinstance(m, DiT)]


def normal_groups(model: nn.Module) -> set[int]:
    """The counts of groups of a network's group normalisations."""
    return {m.num_groups for m in model.modules() if isinstance(m, nn.GroupNorm)}


def check_groups(model: nn.Module, groups: int, what: str) -> None:
    """DataError unless every group normalisation of `model` has that number of groups, as the other program has it."""
    found = normal_groups(model)
    if found != {groups}:
        raise DataError(
            f"{what}: expected group normalisations that ours can have; got {groups} groups where this network has "
            f"{sorted(found)}, since no group here has less than four channels. Widths of at least {4 * groups}, all "
            f"divisible by {groups}, have {groups} groups in both."
        )


def fresh_buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """What a codebook keeps for its training, and no file brings: no use counted, codes given."""
    if not isinstance(model, Autoencoder):
        return {}
    state = {name: torch.zeros(b.shape, dtype=b.dtype) for name, b in model.named_buffers()}
    return {name: torch.ones_like(b) if name.endswith("initialised") else b for name, b in state.items()}


def integer_multiples(widths: Sequence[int], what: str) -> tuple[int, list[int]]:
    """(ch, ch_mult) of the widths of the levels; DataError where they are no multiples of the first."""
    ch = widths[0]
    if any(w % ch for w in widths):
        raise DataError(f"{what}: expected widths that are multiples of the first; got {list(widths)}.")
    return ch, [w // ch for w in widths]
