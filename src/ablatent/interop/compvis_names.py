"""The names of CompVis latent-diffusion and stable-diffusion v1.

An autoencoder has encoder.down.{level}.block.{i}, decoder.up.{level}.block.{i}, {encoder,decoder}.mid, quant_conv; a
UNet has input_blocks, middle_block, output_blocks. Plain attention of the UNet keeps query, key and value in one
1-D convolution whose rows are ordered by head first (the released code's "legacy" order).
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from ablatent.interop.layout import autoencoder_places, heads_by_width, transformer_leaves, unet_places
from ablatent.interop.renaming import Entry, Leaf, Leaves, Place, entries

SINGLE = {"": Leaf(("",))}
AUTOENCODER: Leaves = {
    "layer": SINGLE,
    "down": {"conv": Leaf(("conv",))},
    "up": {"conv": Leaf(("conv",))},
    "res": {
        **{name: Leaf((name,)) for name in ("norm1", "conv1", "norm2", "conv2")},
        "skip": Leaf(("nin_shortcut",)),
    },
    "attention": {"norm": Leaf(("norm",)), "qkv": Leaf(("q", "k", "v"), 4), "out": Leaf(("proj_out",), 4)},
}
RES = {
    "norm1": Leaf(("in_layers.0",)),
    "conv1": Leaf(("in_layers.2",)),
    "emb": Leaf(("emb_layers.1",)),
    "norm2": Leaf(("out_layers.0",)),
    "conv2": Leaf(("out_layers.3",)),
    "skip": Leaf(("skip_connection",)),
}
UNET: Leaves = {
    "layer": SINGLE,
    "down": {"conv": Leaf(("op",))},
    "up": {"conv": Leaf(("conv",))},
    "res": RES,
    "resize": RES,
}
TOPS = {
    "time_mlp.0": "time_embed.0",
    "time_mlp.2": "time_embed.2",
    "vector_mlp.0": "label_emb.0.0",
    "vector_mlp.2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "norm_out": "out.0",
    "conv_out": "out.2",
}


def unet_entries(config: Mapping[str, Any], model: nn.Module, heads_first: bool = True) -> list[Entry]:
    """The names of a UNet; config: its arguments, model: the same on the meta device."""
    places = {place.name: (place.sort, _unet_name(place)) for place in unet_places(config)}
    leaves = {
        **UNET,
        "attention": {
            "norm": Leaf(("norm",)),
            "qkv": Leaf(("qkv",), 3, by_head=heads_first),
            "out": Leaf(("proj_out",), 3),
        },
        "transformer": transformer_leaves(config["transformer_depth"]),
    }
    return entries(model.state_dict(), places, leaves, heads_by_width(config))


def _unet_name(place: Place) -> str:
    if place.name in TOPS:
        return TOPS[place.name]
    side, *numbers = place.name.split(".")
    if side == "down":
        return f"input_blocks.{int(numbers[0]) + 1}.{numbers[1]}"
    return ".".join(["middle_block" if side == "mid" else "output_blocks", *numbers])


def autoencoder_entries(config: Mapping[str, Any], model: nn.Module) -> list[Entry]:
    """The names of an autoencoder; config: its arguments, model: the same on the meta device."""
    places = {place.name: (place.sort, _autoencoder_name(side, place)) for side, place in autoencoder_places(config)}
    for name, external in (("quant_conv",) * 2, ("post_quant_conv",) * 2, ("codebook", "quantize.embedding")):
        places[name] = ("layer", external)
    named = {k: v for k, v in model.state_dict().items() if not k.startswith("codebook.") or k == "codebook.weight"}
    return entries(named, places, AUTOENCODER, {})


def _autoencoder_name(side: str, place: Place) -> str:
    if place.side == "mid":
        return f"{side}.mid." + ("attn_1" if place.sort == "attention" else f"block_{place.index + 1}")
    if place.side in ("in", "out"):
        return place.name
    level = f"{side}.{place.side}.{place.level}"
    if place.sort in ("down", "up"):
        return f"{level}.{place.sort}sample"
    return f"{level}.{'attn' if place.sort == 'attention' else 'block'}.{place.index}"
