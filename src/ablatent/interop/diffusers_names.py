"""The names of diffusers' AutoencoderKL, VQModel, UNet2DModel and UNet2DConditionModel."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ablatent.interop.layout import autoencoder_places, transformer_leaves, unet_places
from ablatent.interop.renaming import Entry, Leaf, Leaves, Place, entries

LAYERS: Leaves = {
    "layer": {"": Leaf(("",))},
    "down": {"conv": Leaf(("conv",))},
    "up": {"conv": Leaf(("conv",))},
    "attention": {
        "norm": Leaf(("group_norm",)),
        "qkv": Leaf(("to_q", "to_k", "to_v"), 2),
        "out": Leaf(("to_out.0",), 2),
    },
}
RES = {
    **{name: Leaf((name,)) for name in ("norm1", "conv1", "norm2", "conv2")},
    "emb": Leaf(("time_emb_proj",)),
    "skip": Leaf(("conv_shortcut",)),
}
# names in older releases of the parts of attention in autoencoders and unconditional UNets
OLDER = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
TOPS = {
    "time_mlp.0": "time_embedding.linear_1",
    "time_mlp.2": "time_embedding.linear_2",
    "vector_mlp.0": "class_embedding.linear_1",
    "vector_mlp.2": "class_embedding.linear_2",
    "conv_in": "conv_in",
    "norm_out": "conv_norm_out",
    "conv_out": "conv_out",
}


def current(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of today."""
    renamed = {}
    for name, tensor in state.items():
        if ".attentions." in name:
            for old, new in OLDER.items():
                name = name.replace(old, new)
        renamed[name] = tensor
    return renamed


def unet_entries(config: Mapping[str, Any], model: nn.Module) -> list[Entry]:
    """The names of a UNet; config: its arguments, model: the same on the meta device."""
    levels = len(config["ch_mult"])
    places = {p.name: (p.sort, TOPS.get(p.name) or _block_name("", p, levels)) for p in unet_places(config)}
    leaves = {**LAYERS, "res": RES, "resize": RES, "transformer": transformer_leaves(config["transformer_depth"])}
    return entries(model.state_dict(), places, leaves, {})


def autoencoder_entries(config: Mapping[str, Any], model: nn.Module) -> list[Entry]:
    """The names of an autoencoder; config: its arguments, model: the same on the meta device."""
    levels, places = len(config["ch_mult"]), {}
    for side, place in autoencoder_places(config):
        if place.side in ("in", "out"):
            places[place.name] = (place.sort, place.name.replace("norm_out", "conv_norm_out"))
        else:
            places[place.name] = (place.sort, _block_name(f"{side}.", place, levels))
    for name, external in (("quant_conv",) * 2, ("post_quant_conv",) * 2, ("codebook", "quantize.embedding")):
        places[name] = ("layer", external)
    named = {k: v for k, v in model.state_dict().items() if not k.startswith("codebook.") or k == "codebook.weight"}
    return entries(named, places, {**LAYERS, "res": RES}, {})


def _block_name(prefix: str, place: Place, levels: int) -> str:
    if place.side == "mid":
        block = f"{prefix}mid_block"
    elif place.side == "down":
        block = f"{prefix}down_blocks.{place.level}"
    else:
        block = f"{prefix}up_blocks.{levels - 1 - place.level}"
    if place.sort in ("down", "up", "resize"):
        return f"{block}.{place.side}samplers.0"
    return f"{block}.{'resnets' if place.sort == 'res' else 'attentions'}.{place.index}"
