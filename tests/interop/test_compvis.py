"""CompVis checkpoints: every documented name, deduced architectures, head order, averages, refusals."""

import os
import re
import sys
import types

import compvis_names as named
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ablatent.core.errors import DataError
from ablatent.core.types import Cond
from ablatent.first_stage.vq import VQAutoencoder
from ablatent.interop import compvis
from ablatent.interop.compvis_names import autoencoder_entries, unet_entries
from ablatent.interop.compvis_shapes import autoencoder_config, unet_config
from ablatent.interop.layout import on_meta
from ablatent.interop.parts import network_of
from ablatent.interop.published import Options
from ablatent.networks.unet import UNet

pytestmark = pytest.mark.slow

SMALL_UNET = {
    "in_channels": 3,
    "out_channels": 3,
    "model_channels": 128,
    "channel_mult": (1, 1),
    "attention_resolutions": (2,),
    "num_res_blocks": 1,
}
HEADS = Options(head_channels=32)
"""The released models' usual one, for shapes that none of them has."""
SMALL_VQ = {"ch": 128, "ch_mult": (1, 1), "num_res_blocks": 1, "z": 3, "n_embed": 32}


def drawn(names, seed=0):
    g = torch.Generator().manual_seed(seed)
    return {n: torch.randn(s, generator=g) * (0.3 if len(s) == 1 else (s[1] * s[-1] ** 2) ** -0.5) for n, s in names}


def checkpoint(unet_options=SMALL_UNET, ema=True, **extra):
    """A whole checkpoint as it is released, with what only a training needs."""
    unet = drawn(named.unet(**unet_options), 1)
    state = {f"first_stage_model.{k}": v for k, v in drawn(named.autoencoder(**SMALL_VQ)).items()}
    state |= {f"model.diffusion_model.{k}": v for k, v in unet.items()}
    if ema:
        averages = drawn(named.unet(**unet_options), 2)
        state |= {"model_ema." + f"diffusion_model.{k}".replace(".", ""): v for k, v in averages.items()}
        state |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7, dtype=torch.int32)}
    betas = torch.linspace(0.0015**0.5, 0.0155**0.5, 1000, dtype=torch.float64) ** 2
    return {**state, "betas": betas.float(), "alphas_cumprod": torch.cumprod(1 - betas, 0).float(), **extra}


def ours(part, config, cls):
    model = cls(**{k: v for k, v in config.items() if k != "_target_"})
    model.load_state_dict(part)
    return model.eval()


@pytest.mark.parametrize("name", [*named.AUTOENCODERS, *named.UNETS])
def test_released_models_are_recognised_by_their_shapes(name):
    if name in named.AUTOENCODERS:
        options, millions = named.AUTOENCODERS[name]
        names = named.autoencoder(ch=128, num_res_blocks=2, **options)
        state = {n: torch.empty(s, device="meta") for n, s in names}
        config, entries = autoencoder_config(state, name), autoencoder_entries
    else:
        options, millions, heads = named.UNETS[name]
        state = {n: torch.empty(s, device="meta") for n, s in named.unet(**options)}
        config, _, note = unet_config(state, Options(), name)
        entries = unet_entries
        assert {k: config[k] for k in ("heads", "head_channels") if config[k] is not None} == heads
        assert "interop.heads" in note
        assert config["spatial_channels"] == options["in_channels"] - options["out_channels"]
    model = on_meta(config)
    mine = model.state_dict()
    parts = {
        n: tuple(p.shape)
        for e in entries(config, model)
        for n, p in zip(e.external, e.to_external(mine[e.name]), strict=True)
    }
    assert parts == {n: tuple(t.shape) for n, t in state.items()}
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions


def test_a_vector_is_read_where_the_reference_adds_one():
    options = {**SMALL_UNET, "context_dim": 16, "adm_in_channels": 24, "transformer_depth": 2}
    state = {n: torch.empty(s, device="meta") for n, s in named.unet(**options)}
    config, _, _ = unet_config(state, HEADS, "")
    assert (config["vector_dim"], config["context_dim"], config["transformer_depth"]) == (24, 16, 2)
    assert len(unet_entries(config, on_meta(config))) == len(state)
    state["label_emb.weight"] = torch.empty(10, 512, device="meta")
    with pytest.raises(DataError, match=r"label_emb\.weight"):
        unet_config(state, Options(), "")


def legacy_attention(state, name, x, heads):
    """The released AttentionBlock, written out: rows of qkv are head by head, each with its query, key and value."""
    b, c, h, w = x.shape
    normed = torch.nn.functional.group_norm(x, 32, state[f"{name}.norm.weight"], state[f"{name}.norm.bias"], 1e-5)
    qkv = torch.einsum("oc,bcn->bon", state[f"{name}.qkv.weight"][:, :, 0], normed.flatten(2))
    qkv = qkv + state[f"{name}.qkv.bias"][:, None]
    d = c // heads
    out = []
    for i in range(heads):
        q, k, v = (qkv[:, (3 * i + j) * d : (3 * i + j + 1) * d] for j in range(3))
        weight = torch.softmax(torch.einsum("bdn,bdm->bnm", q, k) * d**-0.5, dim=-1)
        out.append(torch.einsum("bnm,bdm->bdn", weight, v))
    h_ = torch.einsum("oc,bcn->bon", state[f"{name}.proj_out.weight"][:, :, 0], torch.cat(out, dim=1))
    return x + (h_ + state[f"{name}.proj_out.bias"][:, None]).reshape(b, c, h, w)


@torch.no_grad()
def test_whole_checkpoint_in_and_out(tmp_path):
    tensors = checkpoint()
    torch.save({"state_dict": tensors, "global_step": 3, "lr_schedulers": [{"x": 1.5}]}, tmp_path / "model.ckpt")
    extra = {
        "cond_stage_model.transformer.layer.weight": torch.ones(2),
        "cond_stage_model.transformer.layer.bias": torch.ones(2),
    }
    save_file({**tensors, **extra, "first_stage_model.loss.logvar": torch.ones(1)}, tmp_path / "model.safetensors")
    parts = compvis.read(tmp_path / "model.ckpt", HEADS)
    again = compvis.read(tmp_path / "model.safetensors", HEADS)
    assert parts.diffusion.digest == again.diffusion.digest and parts.first_stage.digest == again.first_stage.digest
    assert not parts.not_read
    assert again.not_read == {"cond_stage_model.transformer": 2, "first_stage_model": 1}
    schedule = parts.diffusion.config["schedule"]
    assert (schedule["T"], schedule["beta_start"], schedule["beta_end"]) == (1000, 0.0015, 0.0155)
    assert set(parts.diffusion.weights) == {"raw", "ema"}
    config = parts.diffusion.config["network"]
    out = {k: compvis.unet_out(config, network_of(v)) for k, v in parts.diffusion.weights.items()}
    first = compvis.first_stage_out(parts.first_stage.config, parts.first_stage.state)
    about = {"class_rows": None, "scale_factor": None, "ema_decay": 0.9999, "ema_updates": 7}
    joined = compvis.join(first, out["raw"], out["ema"], {**about, "betas": tensors["betas"]})
    assert set(joined) == set(tensors)
    exact = [k for k in tensors if k != "alphas_cumprod"]
    assert all(torch.equal(joined[k], tensors[k]) and joined[k].dtype == tensors[k].dtype for k in exact)
    assert not torch.equal(out["raw"]["out.2.weight"], out["ema"]["out.2.weight"])
    model = ours(parts.first_stage.state, parts.first_stage.config, VQAutoencoder)
    assert bool(model.codebook.initialised)
    x = torch.randn(1, 3, 16, 16)
    assert model.decode(model.moments(x).mean).shape == x.shape


@pytest.mark.parametrize("option", [{"head_channels": 32}, {"heads": 1}, {"head_channels": 16}])
@torch.no_grad()
def test_plain_attention_has_the_released_order_of_heads(option):
    state = drawn(named.unet(**SMALL_UNET), 3)
    config, _, _ = unet_config(state, Options(**option), "")
    shapes = on_meta(config).state_dict()
    entries = unet_entries(config, on_meta(config))
    model = ours(compvis.to_internal(state, entries, shapes, ""), config, UNet)
    heads = option.get("heads") or 128 // option["head_channels"]
    x = torch.randn(2, 128, 4, 4)
    expected = legacy_attention(state, "middle_block.1", x, heads)
    torch.testing.assert_close(model.mid[1](x), expected, atol=1e-4, rtol=1e-4)
    if heads > 1:
        other = ours(compvis.to_internal(state, unet_entries(config, on_meta(config), False), shapes, ""), config, UNet)
        assert float((other.mid[1](x) - expected).abs().max()) > 1e-2


@torch.no_grad()
def test_classes_become_a_conditioner(tmp_path):
    rows = torch.randn(11, 16)
    options = {**SMALL_UNET, "context_dim": 16}
    state = checkpoint(
        options, ema=False, **{"cond_stage_model.embedding.weight": rows, "scale_factor": torch.tensor(0.5)}
    )
    save_file(state, tmp_path / "m.safetensors")
    part = compvis.read(tmp_path / "m.safetensors", HEADS).diffusion
    assert part.config["conditioner"]["classes"] == 10 and part.config["scale_factor"] == 0.5
    assert torch.equal(part.weights["raw"]["conditioner.embedding.weight"], rows)
    part = compvis.read(tmp_path / "m.safetensors", Options(null_label=False, scale_factor=2.0, heads=2)).diffusion
    assert part.config["conditioner"]["classes"] == 11 and part.config["scale_factor"] == 2.0
    assert part.config["network"]["heads"] == 2
    model = ours(network_of(part.weights["raw"]), part.config["network"], UNet)
    assert model(torch.randn(1, 3, 8, 8), torch.tensor([5.0]), Cond(tokens=rows[None, :1])).shape == (1, 3, 8, 8)


def message(state, tmp_path):
    save_file(state, tmp_path / "m.safetensors")
    with pytest.raises(DataError) as error:
        compvis.read(tmp_path / "m.safetensors", HEADS)
    return str(error.value)


def test_truncated_misnamed_and_misshapen_files_are_named(tmp_path):
    whole = checkpoint(ema=False)
    gone = [k for k in whole if k.startswith("model.diffusion_model.output_blocks.")]
    error = message({k: v for k, v in whole.items() if k not in gone}, tmp_path)
    assert f"{len(gone)} missing" in error and gone[0] in error and "…" in error
    assert len(re.findall(r"output_blocks\.\d", error)) == 10
    error = message({k: v for k, v in whole.items() if ".decoder." not in k}, tmp_path)
    assert "missing: first_stage_model.decoder.conv_in.weight" in error
    error = message({k.replace("middle_block.0", "middle.0"): v for k, v in whole.items()}, tmp_path)
    assert "10 missing" in error and "10 unexpected: model.diffusion_model.middle.0" in error
    bent = {**whole, "model.diffusion_model.middle_block.0.in_layers.2.weight": torch.ones(128, 127, 3, 3)}
    assert "1 misshapen: model.diffusion_model.middle_block.0.in_layers.2.weight (128, 127, 3, 3) instead" in message(
        bent, tmp_path
    )
    assert "names of CompVis" in message({"blocks.0.weight": torch.ones(1)}, tmp_path)
    narrow = drawn(named.autoencoder(**{**SMALL_VQ, "ch": 64}))
    assert "32 groups" in message(narrow, tmp_path)


class Payload:
    def __reduce__(self):
        return os.system, ("true",)


def test_pickles_are_never_run(tmp_path, monkeypatch):
    torch.save({"state_dict": {"a": torch.ones(2)}, "callbacks": Payload()}, tmp_path / "bad.ckpt")
    with pytest.raises(DataError, match=r"refused, nothing of it was executed.*posix\.system"):
        compvis.read(tmp_path / "bad.ckpt", Options())
    # what Lightning leaves: its callback's class as a key, scalars of NumPy; neither is imported or called
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = callback
    monkeypatch.setitem(sys.modules, module.__name__, module)
    beside = {"callbacks": {callback: {"best_model_score": np.float64(3.0)}}, "global_step": 5, "epoch": 1}
    torch.save({"state_dict": drawn(named.autoencoder(**SMALL_VQ)), **beside}, tmp_path / "good.ckpt")
    monkeypatch.delitem(sys.modules, module.__name__)
    assert compvis.read(tmp_path / "good.ckpt", Options()).first_stage is not None
