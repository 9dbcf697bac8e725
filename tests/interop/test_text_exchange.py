"""LDM's text transformer in CompVis checkpoints and diffusers pipelines: names, outputs, whole models in and out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_compvis import SMALL_UNET, checkpoint, drawn
from test_exchange import config

from ablatent.conditioning.text_transformer import TextTransformer
from ablatent.conditioning.tokens import Vocabulary
from ablatent.core.errors import DataError
from ablatent.core.hub import HubFolder
from ablatent.inference.export import export_weights
from ablatent.inference.import_weights import import_weights
from ablatent.interop import text
from ablatent.store.artifacts import Store

pytestmark = pytest.mark.slow

WIDTH, DEPTH, LENGTH = 16, 2, 12
PREFIX = "cond_stage_model.transformer."


def named() -> list[tuple[str, tuple[int, ...]]]:
    """The released checkpoint's names, written out: attention and feed-forward are layers in turn."""
    w, inner = WIDTH, 512
    found = [("token_emb.weight", (30522, w)), ("pos_emb.emb.weight", (LENGTH, w))]
    for i in range(DEPTH):
        a, f = f"attn_layers.layers.{2 * i}", f"attn_layers.layers.{2 * i + 1}"
        found += [(f"{a}.0.weight", (w,)), (f"{a}.0.bias", (w,))]
        found += [(f"{a}.1.{part}.weight", (inner, w)) for part in ("to_q", "to_k", "to_v")]
        found += [(f"{a}.1.to_out.weight", (w, inner)), (f"{a}.1.to_out.bias", (w,))]
        found += [(f"{f}.0.weight", (w,)), (f"{f}.0.bias", (w,))]
        found += [(f"{f}.1.net.0.0.weight", (4 * w, w)), (f"{f}.1.net.0.0.bias", (4 * w,))]
        found += [(f"{f}.1.net.2.weight", (w, 4 * w)), (f"{f}.1.net.2.bias", (w,))]
    return [
        *found,
        ("norm.weight", (w,)),
        ("norm.bias", (w,)),
        ("to_logits.weight", (30522, w)),
        ("to_logits.bias", (30522,)),
    ]


def ours(node, state) -> TextTransformer:
    arguments = {k: v for k, v in node.items() if k not in ("_target_", "tokenizer")}
    model = TextTransformer(tokenizer=Vocabulary("", HubFolder(name="none", files=[])), **arguments)
    model.load_state_dict(state)
    return model.eval()


@torch.no_grad()
def test_outputs_are_those_of_the_published_class() -> None:
    """diffusers' LDMBertModel, which was converted from the released weights, and the names of both formats."""
    from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel

    tensors = dict(drawn(named(), 5))
    node, state = text.compvis_in(tensors, "file", PREFIX)
    assert (node["heads"], node["head_channels"], node["depth"], node["max_length"]) == (8, 64, DEPTH, LENGTH)
    assert node["mask_padding"] is False and node["unused_logits"] is True
    settings, converted = text.diffusers_out(node, state)
    sizes = {k: v for k, v in settings.items() if k not in ("_class_name", "architectures", "model_type")}
    published = LDMBertModel(LDMBertConfig(**sizes)).eval()
    missing, unexpected = published.load_state_dict(converted, strict=False)
    assert not unexpected and all("position_ids" in name for name in missing)
    ids = torch.randint(0, 30522, (3, LENGTH))
    cond = ours(node, state).embed({"token": ids, "count": torch.tensor([2, 5, LENGTH])})
    assert cond.mask is None and cond.tokens is not None
    torch.testing.assert_close(cond.tokens, published.model(ids).last_hidden_state, atol=1e-5, rtol=1e-5)
    again, back = text.diffusers_in(settings, converted, "folder")
    assert again == node and all(torch.equal(back[k], state[k]) for k in state)


def test_whole_models_in_and_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path / "store")
    extra = {f"{PREFIX}{k}": v for k, v in drawn(named(), 6).items()}
    tensors = checkpoint({**SMALL_UNET, "context_dim": WIDTH}, **extra)
    torch.save({"state_dict": tensors}, tmp_path / "model.ckpt")
    heads = {"head_channels": 32}
    assert import_weights(store, config(tmp_path / "model.ckpt", "compvis", **heads)) == 0
    output = capsys.readouterr().out
    assert "not read" not in output and "text transformer" in output
    (key,) = [p.name for p in (store.root / "objects" / "imported").iterdir()]
    for format_ in ("compvis", "diffusers"):
        assert export_weights(store, config(tmp_path / format_, format_, key, weights="raw")) == 0
    back = torch.load(tmp_path / "compvis" / "model.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(back[name], value) for name, value in extra.items())
    described = (tmp_path / "compvis" / "config.yaml").read_text()
    assert "BERTEmbedder" in described and '"n_layer": 2' in described
    other = Store(tmp_path / "other")
    assert import_weights(other, config(tmp_path / "diffusers", "diffusers")) == 0
    (again,) = (other.root / "objects" / "imported").iterdir()
    state = load_file(str(next(again.glob("raw-*.safetensors"))))
    assert np.array_equal(state["conditioner.tokens.weight"].numpy(), extra[f"{PREFIX}token_emb.weight"].numpy())
    assert len([k for k in state if k.startswith("conditioner.")]) == len(extra)


def test_what_is_another_network_is_refused() -> None:
    tensors = dict(drawn(named(), 7))
    del tensors["attn_layers.layers.1.0.bias"]
    with pytest.raises(DataError, match=r"1 missing: cond_stage_model\.transformer\.attn_layers\.layers\.1\.0\.bias"):
        text.compvis_in(tensors, "file", PREFIX)
    node, state = text.compvis_in(dict(drawn(named(), 7)), "file", PREFIX)
    with pytest.raises(DataError, match="heads"):
        text.compvis_out({**node, "heads": 4, "head_channels": 128}, state)
    with pytest.raises(DataError, match="ldmbert"):
        text.diffusers_in({"model_type": "bert"}, {}, "folder")
