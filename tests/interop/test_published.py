"""What shapes do not show: released models have it in the table, others by a config.yaml or a key, none is guessed."""

import json

import compvis_names as named
import pytest
import torch
import yaml
from interop_cases import SMALL, reference_model
from safetensors.torch import load_file, save_file
from test_compvis import SMALL_UNET, SMALL_VQ, drawn

from ablatent.core.errors import ConfigError, DataError
from ablatent.inference.import_weights import read
from ablatent.interop import compvis, diffusers
from ablatent.interop.compvis_shapes import schedule_of, unet_config
from ablatent.interop.published import Options

TOKENS = {**SMALL_UNET, "context_dim": 16}


def shapes(name):
    return {n: torch.empty(s, device="meta") for n, s in named.unet(**named.UNETS[name][0])}


@pytest.mark.parametrize(
    ("name", "betas", "scale"),
    [("text-to-image 256", (0.0015, 0.0195), 1.0), ("retrieval-augmented 768", (0.0015, 0.015), 0.22765929)],
)
def test_two_released_models_have_their_heads_betas_and_scale(name, betas, scale):
    config, model, _ = unet_config(shapes(name), Options(), name)
    assert (config["heads"], config["head_channels"]) == (None, 32)
    schedule, source = schedule_of(None, Options(), model)
    assert (schedule["beta_start"], schedule["beta_end"], model.scale) == (*betas, scale)
    assert source == model.name


@pytest.mark.parametrize("options", [SMALL_UNET, TOKENS])
def test_a_shape_that_no_released_model_has_asks_for_its_heads(options):
    state = {n: torch.empty(s, device="meta") for n, s in named.unet(**options)}
    with pytest.raises(ConfigError, match=r"interop\.heads.*num_head_channels") as error:
        unet_config(state, Options(), "")
    assert error.value.key == "interop.head_channels"
    assert unet_config(state, Options(heads=2), "")[0]["heads"] == 2
    assert unet_config(state, Options(head_channels=64), "")[0]["head_channels"] == 64


def write(folder, state, unet=None, **params):
    save_file(state, folder / "model.safetensors")
    if unet is not None:
        content = {"model": {"params": {**params, "unet_config": {"params": unet}}}}
        (folder / "config.yaml").write_text(yaml.safe_dump(content))


UNET = {"in_channels": 3, "model_channels": 128, "channel_mult": [1, 1]}


@pytest.mark.parametrize(
    ("given", "heads"),
    [({"num_head_channels": 64}, (None, 64)), ({"num_heads": 2}, (2, None)),
     ({"num_heads": 8, "num_head_channels": 16}, (None, 16)), ({"num_heads": 4, "num_head_channels": -1}, (4, None))],
)  # fmt: skip
def test_the_config_beside_a_file_says_them(tmp_path, given, heads):
    ends = {"linear_start": 0.001, "linear_end": 0.02, "scale_factor": 0.5}
    write(tmp_path, drawn(named.unet(**SMALL_UNET)), {**UNET, **given}, **ends)
    parts = compvis.read(tmp_path / "model.safetensors", Options())
    config = parts.diffusion.config
    assert (config["network"]["heads"], config["network"]["head_channels"]) == heads
    assert (config["schedule"]["beta_start"], config["schedule"]["beta_end"]) == (0.001, 0.02)
    assert config["scale_factor"] == 0.5 and any("config.yaml beside it" in note for note in parts.notes)


@pytest.mark.parametrize("unet", [{**UNET, "channel_mult": [1, 2], "num_heads": 2}, UNET, {}, {"model_channels": [3]}])
def test_a_config_of_another_model_or_without_heads_says_nothing(tmp_path, unet):
    write(tmp_path, drawn(named.unet(**SMALL_UNET)), unet)
    with pytest.raises(ConfigError, match=r"interop\.head_channels"):
        compvis.read(tmp_path / "model.safetensors", Options())


def test_an_autoencoder_alone_is_read_without_its_unet(tmp_path):
    """first_stage=pretrained needs no heads of a UNet that it does not use."""
    state = {f"first_stage_model.{k}": v for k, v in drawn(named.autoencoder(**SMALL_VQ)).items()}
    state |= {f"model.diffusion_model.{k}": v for k, v in drawn(named.unet(**SMALL_UNET)).items()}
    write(tmp_path, state)
    parts = compvis.read(tmp_path / "model.safetensors", None)
    assert parts.first_stage is not None and parts.diffusion is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["decoder.conv_in.weight", "quantize.embedding.weight"])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, name, value):
    state = drawn(named.autoencoder(**SMALL_VQ))
    state[name].view(-1)[3] = value
    write(tmp_path, state)
    with pytest.raises(DataError, match=rf"expected finite weights; got 1 with NaN or infinity: {name}"):
        compvis.read(tmp_path / "model.safetensors", Options())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_shards_of_compvis(tmp_path, dtype):
    state = {k: v.to(dtype) for k, v in drawn(named.autoencoder(**SMALL_VQ)).items()}
    (tmp_path / "one").mkdir()
    write(tmp_path / "one", state)
    whole, _ = read(tmp_path / "one", "compvis", Options())
    assert all(v.dtype == torch.float32 for k, v in whole.first_stage.state.items() if k.endswith("weight"))
    names, folder = list(state), tmp_path / "two"
    folder.mkdir()
    files = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, part in files.items():
        save_file({name: state[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in files.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for path in (folder, folder / "model.safetensors.index.json"):
        parts, source = read(path, "compvis", Options())
        assert parts.first_stage.digest == whole.first_stage.digest
        assert set(source["sha256"]) == {"model.safetensors.index.json", *files}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The folder of a small UNet2DModel, as diffusers writes it."""
    folder = tmp_path_factory.mktemp("plain")
    reference_model("UNet2DModel", SMALL["plain"][1]).save_pretrained(folder)
    return folder


def variant(plain, folder, name, dtype):
    (folder / diffusers.CONFIG).write_bytes((plain / diffusers.CONFIG).read_bytes())
    state = {k: v.to(dtype) for k, v in load_file(plain / diffusers.WEIGHTS[0]).items()}
    save_file(state, folder / name)
    return state


@pytest.mark.parametrize("by_file", [False, True])
@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_a_variant_is_read_where_there_is_nothing_else(plain, tmp_path, kind, by_file):
    name = f"diffusion_pytorch_model.{kind}.safetensors"
    state = variant(plain, tmp_path, name, {"fp16": torch.float16, "bf16": torch.bfloat16}[kind])
    parts, source = read(tmp_path / name if by_file else tmp_path, "diffusers", Options())
    raw = parts.diffusion.weights["raw"]["network.conv_out.weight"]
    assert torch.equal(raw, state["conv_out.weight"].float())
    assert set(source["sha256"]) == {"config.json", name}
    if not by_file:  # whole precision first, once it is there
        (tmp_path / diffusers.WEIGHTS[0]).symlink_to(plain / diffusers.WEIGHTS[0])
        assert set(read(tmp_path, "diffusers", Options())[1]["sha256"]) == {"config.json", diffusers.WEIGHTS[0]}


def test_another_variant_is_read_by_its_name_alone(plain, tmp_path):
    name = "diffusion_pytorch_model.non_ema.safetensors"
    variant(plain, tmp_path, name, torch.float32)
    with pytest.raises(DataError, match=r"got config\.json, diffusion_pytorch_model\.non_ema.*path=FILE"):
        read(tmp_path, "diffusers", Options())
    assert set(read(tmp_path / name, "diffusers", Options())[1]["sha256"]) == {"config.json", name}


@pytest.mark.parametrize("inner", ["", ".fp16"])
def test_shards_as_diffusers_writes_them(plain, tmp_path, inner):
    import diffusers as library

    model = library.UNet2DModel.from_pretrained(plain)
    model.save_pretrained(tmp_path, max_shard_size="1MB", variant=inner.removeprefix(".") or None)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    parts, source = read(tmp_path, "diffusers", Options())
    assert parts.diffusion.digest == diffusers.read(plain, Options()).diffusion.digest
    assert set(source["sha256"]) == {p.name for p in tmp_path.iterdir()}


def test_folders_without_what_is_needed(plain, tmp_path):
    (tmp_path / "unet").mkdir()
    with pytest.raises(DataError, match=r"unet/config\.json: expected a JSON object"):
        diffusers.read(tmp_path, Options())
    (tmp_path / "unet" / "config.json").write_bytes((plain / diffusers.CONFIG).read_bytes())
    with pytest.raises(DataError, match=r"expected diffusion_pytorch_model\.safetensors.*got config\.json"):
        diffusers.read(tmp_path, Options())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"expected config\.json and"):
        diffusers.read(tmp_path / "empty", Options())
    with pytest.raises(ConfigError, match="In it: none"):
        read(tmp_path / "empty", "compvis", Options())
    with pytest.raises(ConfigError, match="that exists"):
        read(tmp_path / "absent", "compvis", Options())
