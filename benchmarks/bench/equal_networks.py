"""Our networks and diffusers', of one architecture and with equal weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ablatent.core.targets import TARGET, class_of, target_of
from ablatent.interop.diffusers_config import autoencoder_out, unet_out
from ablatent.interop.diffusers_names import autoencoder_entries, unet_entries
from ablatent.interop.renaming import to_external
from ablatent.networks.blocks import norm
from ablatent.networks.dit import DiT
from ablatent.networks.unet import UNet

AUTOENCODER = {
    "z_channels": 4, "num_res_blocks": 1, "attn_factors": [], "mid_blocks": 2, "mid_attention": True, "dropout": 0.0,
    "stem": 1, "image_channels": 3,
}  # fmt: skip
UNET = {
    "in_channels": 4, "out_channels": 4, "num_res_blocks": 1, "attn_factors": [2], "heads": None, "head_channels": 32,
    "context_dim": None, "vector_dim": None, "spatial_channels": 0, "transformer_depth": 1, "dropout": 0.0,
    "scale_shift": False, "resblock_updown": False, "checkpointing": False,
}  # fmt: skip
DIT = {"in_channels": 4, "out_channels": 4, "patch_size": 2, "head_channels": 32}


def autoencoder_config(**options: Any) -> dict[str, Any]:
    """The node of a KL autoencoder. options: over those above, at least ch and ch_mult."""
    from ablatent.first_stage.kl import KLAutoencoder

    return {TARGET: target_of(KLAutoencoder), **AUTOENCODER, **options}


def unet_config(**options: Any) -> dict[str, Any]:
    """The node of a UNet. options: over those above, at least ch and ch_mult."""
    return {TARGET: target_of(UNet), **UNET, **options}


def dit_config(**options: Any) -> dict[str, Any]:
    """The node of a DiT. options: over those above, at least width and depth."""
    return {TARGET: target_of(DiT), **DIT, **options}


def our_network(config: Mapping[str, Any]) -> Any:
    """Ours, of a node, with weights that are functions of their places alone, none of them zero: layers that start at
    zero would hide what is before them."""
    torch.manual_seed(0)
    network = class_of(config)(**{k: v for k, v in config.items() if k != TARGET})
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.02 * torch.randn(weight.shape))
    return network


def their_network(config: Mapping[str, Any], side: int) -> nn.Module:
    """diffusers' network of the architecture and with the weights of `our_network`, for maps of a side.

    diffusers has one number of groups in all group normalisations; here each layer gets that of ours.
    """
    network = _their_dit(config, side) if class_of(config) is DiT else _their_convolutional(config)
    for layer in network.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.num_groups = norm(layer.num_channels).num_groups
    return network


def _their_convolutional(config: Mapping[str, Any]) -> nn.Module:
    import diffusers

    ours = our_network(config)
    if class_of(config) is UNet:
        settings, entries = unet_out(config, 1), unet_entries(config, ours)
    else:
        settings, entries = autoencoder_out(config, 1, 1.0), autoencoder_entries(config, ours)
    other: nn.Module = getattr(diffusers, settings.pop("_class_name"))(**settings)
    other.load_state_dict(to_external(ours.state_dict(), entries))
    return other


_DIT_BLOCK = {
    "time_mlp.0": "norm1.emb.timestep_embedder.linear_1",
    "time_mlp.2": "norm1.emb.timestep_embedder.linear_2",
    "modulation": "norm1.linear",
    "self_attn.to_q": "attn1.to_q",
    "self_attn.to_k": "attn1.to_k",
    "self_attn.to_v": "attn1.to_v",
    "self_attn.to_out": "attn1.to_out.0",
    "mlp.0": "ff.net.0.proj",
    "mlp.3": "ff.net.2",
}


def _their_dit(config: Mapping[str, Any], side: int) -> nn.Module:
    """DiTTransformer2DModel has an embedding of time and class in each block; each gets ours, and no class counts."""
    from diffusers import DiTTransformer2DModel

    ours = our_network(config)
    width = config["width"]
    other = DiTTransformer2DModel(
        num_attention_heads=width // config["head_channels"],
        attention_head_dim=config["head_channels"],
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        num_layers=config["depth"],
        sample_size=side,
        patch_size=config["patch_size"],
        num_embeds_ada_norm=1,
        norm_eps=1e-6,
    )
    state = _dit_names(ours.state_dict(), config["depth"])
    _, unexpected = other.load_state_dict(state, strict=False)
    if unexpected:
        raise KeyError(f"expected names of DiTTransformer2DModel; got {unexpected[:3]}")
    for block in other.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = 0  # the paper's frequencies; its own end one earlier
        nn.init.zeros_(block.norm1.emb.class_embedder.embedding_table.weight)
    return other


def _dit_names(state: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Our tensors under diffusers' names."""
    found = {"pos_embed.proj.weight": state["patches.weight"], "pos_embed.proj.bias": state["patches.bias"]}
    for i in range(depth):
        ours, other = f"blocks.{i}.", f"transformer_blocks.{i}."
        for a, b in _DIT_BLOCK.items():
            for kind in ("weight", "bias"):
                found[f"{other}{b}.{kind}"] = state[f"{a if a.startswith('time') else ours + a}.{kind}"]
    for a, b in (("modulation_out", "proj_out_1"), ("proj_out", "proj_out_2")):
        for kind in ("weight", "bias"):
            found[f"{b}.{kind}"] = state[f"{a}.{kind}"]
    return found
