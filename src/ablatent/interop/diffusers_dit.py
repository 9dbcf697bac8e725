"""DiTTransformer2DModel of diffusers: its config.json and its tensors in our terms, and back.

Every block there has an embedding of the time and the class of its own. In the models of Peebles & Xie 2023 there is
one, and their files hold a copy of it for each block: so it is here, where the rows of the classes are the
conditioner's. The frequencies of the time are those of `freq_shift=True` in diffusers, whatever a model was trained
with.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.targets import TARGET, target_of
from ablatent.interop.diffusers_fields import DIT, DITS, check
from ablatent.interop.layout import on_meta
from ablatent.interop.renaming import SHOWN, Entry, Leaf, check_finite, entries, to_external, to_internal
from ablatent.networks.common import head_count
from ablatent.networks.dit import DiT

Json = Mapping[str, Any]
_SIZES = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "num_layers": 28,
    "sample_size": 32,
    "patch_size": 2,
    "num_embeds_ada_norm": 1000,
}
"""Field → its value where it is missing."""
_EPS = (1e-6, 1e-5)
"""Of the norm before the MLP: ours, which is the paper's, and that of diffusers where nothing else is written."""
_ONLY: dict[str, Any] = {"context_dim": None, "spatial_channels": 0, "mlp_ratio": 4.0, "qk_norm": False}
"""Argument of ours → its value in every DiT of diffusers, beside vector_mlp=False."""
_FIRST, _CLASS = "transformer_blocks.0.norm1.emb.", "class_embedder.embedding_table.weight"
_TIME = {"time_mlp.0": "timestep_embedder.linear_1", "time_mlp.2": "timestep_embedder.linear_2"}
_EMBEDDING = (_CLASS, *(f"{name}.{part}" for name in _TIME.values() for part in ("weight", "bias")))
_BLOCK = {
    "modulation": Leaf(("norm1.linear",)),
    **{f"self_attn.{name}": Leaf((f"attn1.{name}",)) for name in ("to_q", "to_k", "to_v")},
    "self_attn.to_out": Leaf(("attn1.to_out.0",)),
    "mlp.0": Leaf(("ff.net.0.proj",)),
    "mlp.3": Leaf(("ff.net.2",)),
}


def network_in(settings: Json, what: str, freq_shift: bool) -> dict[str, Any]:
    """The network node of a config.json; DataError for what ours cannot be."""
    kind = check(settings, what)
    sizes = {**(dict.fromkeys(_SIZES) if kind != DITS[0] else _SIZES), **settings}
    for field in _SIZES:
        if not isinstance(sizes[field], int):
            raise DataError(f"{what}: expected a whole number as {field}; got {sizes[field]!r}.")
    if settings.get("norm_eps", _EPS[1]) not in _EPS:
        raise DataError(f"{what}: expected norm_eps = {_EPS[0]} or {_EPS[1]}; got {settings['norm_eps']!r}.")
    width = sizes["num_attention_heads"] * sizes["attention_head_dim"]
    return {
        TARGET: target_of(DiT),
        "in_channels": sizes["in_channels"],
        "out_channels": settings.get("out_channels") or sizes["in_channels"],
        "width": width,
        "depth": sizes["num_layers"],
        "patch_size": sizes["patch_size"],
        "head_channels": None,
        "heads": sizes["num_attention_heads"],
        **_ONLY,
        "vector_dim": width,
        "vector_mlp": False,
        "freq_shift": freq_shift,
        "dropout": 0.0,
        "checkpointing": False,
    }


def latent_size(settings: Json) -> int:
    """The side of the latents of a config.json that `network_in` takes."""
    return int(settings.get("sample_size", _SIZES["sample_size"]))


def weights_in(config: Json, weights: Mapping[str, Tensor], what: str) -> tuple[dict[str, Tensor], Tensor]:
    """(our tensors, the rows of the classes and of the null class, which is the last).

    config: a network node. Raises DataError where blocks differ in their embeddings, and as `to_internal`.
    """
    shared = {f"{_FIRST}{name}": weights[f"{_FIRST}{name}"] for name in _EMBEDDING if f"{_FIRST}{name}" in weights}
    rest = {name: tensor for name, tensor in weights.items() if name not in shared}
    other = []
    for name, tensor in shared.items():
        for copy in _copies(name, config["depth"]):
            there = rest.pop(copy, None)
            if there is None or not torch.equal(there, tensor):
                other.append(copy)
    if other:
        more = ", …" if len(other) > SHOWN else ""
        raise DataError(
            f"{what}: expected one embedding of time and class for all {config['depth']} blocks, as in the models of "
            f"Peebles & Xie; got {len(other)} tensors that are missing, or not those of the first block: "
            f"{', '.join(other[:SHOWN])}{more}."
        )
    rows = shared.pop(f"{_FIRST}{_CLASS}", None)
    if rows is None or rows.ndim != 2 or rows.shape[1] != config["width"]:
        got = None if rows is None else tuple(rows.shape)
        raise DataError(f"{what}: expected {_FIRST}{_CLASS} of {config['width']} channels; got {got}.")
    check_finite({f"{_FIRST}{_CLASS}": rows}, what)
    state = to_internal({**rest, **shared}, table(config), on_meta(config).state_dict(), what)
    return state, rows.float().contiguous()


def table(config: Json) -> list[Entry]:
    """Our tensors and their names, of the embeddings those in the first block."""
    places = {"patches": ("layer", "pos_embed.proj"), "modulation_out": ("layer", "proj_out_1")}
    places |= {"proj_out": ("layer", "proj_out_2"), **{k: ("layer", _FIRST + name) for k, name in _TIME.items()}}
    places |= {f"blocks.{i}": ("block", f"transformer_blocks.{i}") for i in range(config["depth"])}
    return entries(on_meta(config).state_dict(), places, {"layer": {"": Leaf(("",))}, "block": _BLOCK}, {})


def model_out(
    config: Json, state: Mapping[str, Tensor], rows: Tensor | None, side: int | None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(config.json, tensors) of a network node with our tensors.

    rows: of the classes, the null class last; None for another condition. side: of the latents, None where it is not
    known. Raises ConfigError where diffusers has no such DiT.
    """
    width = config["width"]
    for name, value in _ONLY.items():
        if config[name] != value:
            shown = "null" if value is None else str(value).lower()
            raise ConfigError(f"network.{name}", f"{shown}, as diffusers' DiT has it", config[name])
    if rows is None or rows.shape[1] != width:
        got = "another condition" if rows is None else f"an embedding of {rows.shape[1]} channels"
        wanted = f"class, with conditioner.inject=vector conditioner.dim={width}, as diffusers' DiT has it"
        raise ConfigError("conditioner", wanted, got)
    if config["vector_mlp"] or config["vector_dim"] != width:
        raise ConfigError("network.vector_mlp", "false, as diffusers' DiT has it", config["vector_mlp"])
    if side is None:
        raise ConfigError("key", "a DiT whose size of latents is known", None, "Import it again.")
    heads = head_count(width, config["heads"], config["head_channels"])
    settings = {
        "_class_name": DITS[0],
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "num_layers": config["depth"],
        "sample_size": side,
        "patch_size": config["patch_size"],
        "num_embeds_ada_norm": len(rows) - 1,
        "norm_eps": _EPS[0],
        **DIT,
    }
    tensors = {**to_external(state, table(config)), f"{_FIRST}{_CLASS}": rows}
    for name in (f"{_FIRST}{part}" for part in _EMBEDDING):
        tensors |= {copy: tensors[name].clone() for copy in _copies(name, config["depth"])}
    return settings, tensors


def _copies(name: str, depth: int) -> list[str]:
    """The names of a tensor of the first block in the others."""
    return [name.replace(".0.", f".{i}.", 1) for i in range(1, depth)]
