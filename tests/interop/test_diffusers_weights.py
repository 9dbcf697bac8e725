"""Weights in diffusers' format give the outputs of diffusers' own modules, and come back as they were."""

import json
import re

import pytest
import torch
from interop_cases import FULL, SMALL, reference_model
from safetensors.torch import load_file

from ablatent.core.errors import DataError
from ablatent.core.types import Cond
from ablatent.first_stage.kl import KLAutoencoder
from ablatent.first_stage.vq import VQAutoencoder
from ablatent.interop import diffusers as fmt
from ablatent.interop import diffusers_config as fields
from ablatent.interop.diffusers_names import autoencoder_entries, unet_entries
from ablatent.interop.layout import on_meta
from ablatent.interop.parts import network_of
from ablatent.interop.published import Options
from ablatent.networks.unet import UNet

pytestmark = pytest.mark.slow

CLASSES = {"KLAutoencoder": KLAutoencoder, "VQAutoencoder": VQAutoencoder, "UNet": UNet}


def ours(config, state):
    model = CLASSES[config["_target_"].rsplit(".", 1)[-1]](**{k: v for k, v in config.items() if k != "_target_"})
    model.load_state_dict(state)
    return model.eval()


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_the_same_outputs_and_the_same_files_back(name, tmp_path):
    kind, arguments = SMALL[name]
    reference = reference_model(kind, arguments)
    reference.save_pretrained(tmp_path)
    parts = fmt.read(tmp_path, Options())
    x = torch.randn(2, arguments.get("in_channels", 3), 16, 16)
    if kind in ("AutoencoderKL", "VQModel"):
        part = parts.first_stage
        model = ours(part.config, part.state)
        if kind == "AutoencoderKL":
            posterior = reference.encode(x).latent_dist
            torch.testing.assert_close(model.moments(x).std, posterior.std, atol=1e-4, rtol=1e-4)
            z = posterior.mean
        else:
            z = reference.encode(x).latents
        torch.testing.assert_close(model.moments(x).mean, z, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model.decode(z), reference.decode(z).sample, atol=1e-4, rtol=1e-4)
        settings, state = fmt.first_stage_out(part.config, part.state, arguments.get("scaling_factor", 0.18215))
    else:
        config = parts.diffusion.config["network"]
        network = network_of(parts.diffusion.weights["raw"])
        model = ours(config, network)
        t, extra, cond = torch.tensor([3, 901]), {}, {}
        latents, spatial = x.split([config["in_channels"], config["spatial_channels"]], dim=1)
        if config["spatial_channels"]:
            cond["spatial"] = spatial
        if config["context_dim"] is not None:
            cond["tokens"] = extra["encoder_hidden_states"] = torch.randn(2, 5, config["context_dim"])
        if config["vector_dim"] is not None:
            cond["vector"] = extra["class_labels"] = torch.randn(2, config["vector_dim"])
        expected = reference(x, t, **extra).sample
        assert float(expected.std()) > 0.05
        torch.testing.assert_close(model(latents, t.float(), Cond(**cond)), expected, atol=1e-4, rtol=1e-4)
        settings, state = fmt.unet_out(config, network)
    file = load_file(str(tmp_path / "diffusion_pytorch_model.safetensors"))
    assert set(state) == set(file)
    assert all(torch.equal(state[k].flatten(), file[k].flatten()) for k in file)
    assert all(state[k].shape == file[k].shape or name == "linear projections" for k in file)
    written = json.loads((tmp_path / "config.json").read_text())
    assert type(reference).__name__ == settings["_class_name"]
    for field, value in settings.items():
        if field not in ("attention_head_dim", "attn_norm_num_groups", "vq_embed_dim", "scaling_factor"):
            assert written[field] == value, field
    type(reference)(**{k: v for k, v in settings.items() if k != "_class_name"}).load_state_dict(
        state, strict=name != "linear projections"
    )


@pytest.mark.parametrize("name", FULL)
def test_the_published_sizes_have_all_their_names(name):
    import diffusers

    kind, arguments, count = FULL[name]
    with torch.device("meta"):
        reference = getattr(diffusers, kind)(**arguments)
    settings = {**reference.config, "_class_name": kind}
    first_stage = kind == "AutoencoderKL"
    config = (fields.autoencoder_in if first_stage else fields.unet_in)(settings, name)
    model = on_meta(config)
    assert sum(p.numel() for p in model.parameters()) == count
    table = (autoencoder_entries if first_stage else unet_entries)(config, model)
    assert {e.name for e in table} == set(model.state_dict())
    mine = model.state_dict()
    shapes = {n: tuple(p.shape) for e in table for n, p in zip(e.external, e.to_external(mine[e.name]), strict=True)}
    assert shapes == {n: tuple(p.shape) for n, p in reference.state_dict().items()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """(folder of a small UNet2DModel, its tensors, its config)."""
    folder = tmp_path_factory.mktemp("plain")
    reference_model("UNet2DModel", SMALL["plain"][1]).save_pretrained(folder)
    return folder, load_file(str(folder / fmt.WEIGHTS[0])), json.loads((folder / fmt.CONFIG).read_text())


def test_names_of_older_releases_are_read(plain, tmp_path):
    folder, state, config = plain
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    renamed = {re.sub("|".join(map(re.escape, old)), lambda m: old[m[0]], k): v for k, v in state.items()}
    assert renamed.keys() != state.keys()
    torch.save(renamed, tmp_path / fmt.WEIGHTS[1])
    (tmp_path / fmt.CONFIG).write_text(json.dumps(config))
    parts = [fmt.read(f, Options()).diffusion.digest for f in (folder, tmp_path)]
    assert parts[0] == parts[1]


REFUSED = {
    "norm_eps": (1e-6, "norm_eps"),
    "freq_shift": (1, "freq_shift"),
    "flip_sin_to_cos": (False, "flip_sin_to_cos"),
    "num_class_embeds": (10, "num_class_embeds"),
    "a_field_of_the_future": (3, "a_field_of_the_future"),
    "norm_num_groups": (16, "16 groups"),
    "resnet_time_scale_shift": ("scale_shift", "attn_norm_num_groups"),
    "up_block_types": (["UpBlock2D", "UpBlock2D"], "same levels on both sides"),
    "down_block_types": (["SkipDownBlock2D", "AttnDownBlock2D"], "SkipDownBlock2D"),
    "block_out_channels": ([128, 320], "multiples"),
    "layers_per_block": (2, "missing: down_blocks"),
    "_class_name": ("UNet3DConditionModel", "UNet2DConditionModel"),
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_would_change_the_result_is_refused(plain, tmp_path, field):
    folder, _, config = plain
    value, message = REFUSED[field]
    (tmp_path / fmt.CONFIG).write_text(json.dumps({**config, field: value}))
    (tmp_path / fmt.WEIGHTS[0]).symlink_to(folder / fmt.WEIGHTS[0])
    with pytest.raises(DataError, match=re.escape(message)):
        fmt.read(tmp_path, Options())
