"""DiTs of diffusers give the same outputs here, have the same parameters, and come back as they were."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from interop_cases import SMALL_KL, reference_model
from safetensors.torch import load_file, save_file
from test_exchange import config, keys
from torch import Tensor, nn

from ablatent import load
from ablatent.checks.network import built
from ablatent.conditioning.class_label import ClassLabel
from ablatent.core.errors import ConfigError, DataError
from ablatent.core.types import Cond
from ablatent.inference.export import export_weights
from ablatent.inference.import_weights import import_weights
from ablatent.interop import diffusers as fmt
from ablatent.interop import diffusers_dit as dit
from ablatent.interop.layout import beyond_shapes
from ablatent.interop.parts import network_of
from ablatent.interop.published import Options
from ablatent.networks.dit import DiT
from ablatent.store.artifacts import Store
from options import option_of

pytestmark = pytest.mark.slow

TINY: dict[str, Any] = {
    "num_attention_heads": 3,
    "attention_head_dim": 8,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 3,
    "sample_size": 8,
    "num_embeds_ada_norm": 5,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "patch 2": {},
    "patch 4, eps of the paper": {"patch_size": 4, "norm_eps": 1e-6},
    "as many channels out": {"out_channels": None, "num_layers": 1},
}
EMBEDDING = "norm1.emb."
T = torch.tensor([3, 901])
LABELS = torch.tensor([1, 5])  # the second is the null class


def reference(seed: int = 0, **changes: Any) -> nn.Module:
    """A DiT of diffusers with random weights, and one embedding for all blocks, as the published models have it."""
    model = reference_model("DiTTransformer2DModel", TINY | changes, seed)
    first = model.transformer_blocks[0].norm1.emb
    for block in model.transformer_blocks[1:]:
        block.norm1.emb.load_state_dict(first.state_dict())
    return model


def ours(part: Any) -> tuple[DiT, ClassLabel]:
    """Network and conditioner of what was read."""
    nodes = [{k: v for k, v in part.config[n].items() if k != "_target_"} for n in ("network", "conditioner")]
    network, classes = DiT(**nodes[0]), ClassLabel(**nodes[1])
    network.load_state_dict(network_of(part.weights["raw"]))
    classes.load_state_dict(network_of(part.weights["raw"], "conditioner."))
    return network.eval(), classes.eval()


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_the_same_outputs_and_the_same_files_back(name: str, tmp_path: Path) -> None:
    model = reference(**VARIANTS[name])
    model.save_pretrained(tmp_path)
    part = fmt.read(tmp_path, Options()).diffusion
    assert part is not None and part.config["latent_size"] == 8
    assert part.config["learned_variance"] == (VARIANTS[name].get("out_channels", 8) == 8)
    network, classes = ours(part)
    x = torch.randn(2, 4, 8, 8)
    expected = model(x, T, LABELS).sample
    assert float(expected.std()) > 0.05
    cond = classes.embed({"label": LABELS[:1]}).vector, classes.null(Cond(vector=torch.zeros(1, 24))).vector
    got = network(x, T.float(), Cond(vector=torch.cat(cond)))
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    twice = Cond(vector=torch.cat(cond).double())
    exact = network.double()(x.double(), torch.tensor([3.0, 901.0]), twice)
    atol = 1e-6 if "norm_eps" in VARIANTS[name] else 1e-4
    torch.testing.assert_close(exact, model.double()(x.double(), T, LABELS).sample, atol=atol, rtol=atol)
    out = fmt.network_out(
        part.config["network"], network_of(part.weights["raw"]), part.weights["raw"]["conditioner.embedding.weight"], 8
    )
    file = load_file(tmp_path / fmt.WEIGHTS[0])
    assert out.folder == "transformer" and out.has_classes and not out.messages
    assert out.tensors.keys() == file.keys() and all(torch.equal(out.tensors[k], file[k]) for k in file)
    written = json.loads((tmp_path / fmt.CONFIG).read_text())
    written |= {"norm_eps": 1e-6, "out_channels": written["out_channels"] or 4}
    assert {k: written[k] for k in out.config} == out.config


@torch.no_grad()
def test_other_frequencies_of_the_time_are_an_option(tmp_path: Path) -> None:
    """Models that were trained with the paper's, in whose place diffusers computes its own."""
    model = reference()
    model.save_pretrained(tmp_path)
    part = fmt.read(tmp_path, Options(freq_shift=False)).diffusion
    assert part is not None
    (network, classes), x = ours(part), torch.randn(2, 4, 8, 8)
    cond = Cond(vector=classes.embedding(LABELS))
    assert float((network(x, T.float(), cond) - model(x, T, LABELS).sample).abs().max()) > 1e-2
    for module in model.modules():
        if type(module).__name__ == "Timesteps":
            module.downscale_freq_shift = 0
    torch.testing.assert_close(network(x, T.float(), cond), model(x, T, LABELS).sample, atol=1e-4, rtol=1e-4)
    assert beyond_shapes(network) == [3, 3, 3, 0]
    state = network_of(part.weights["raw"])
    assert fmt.network_out(part.config["network"], state, classes.embedding.weight, 8).messages == (fmt.FREQUENCIES,)


@pytest.mark.parametrize("size", ["s", "b", "l", "xl"])
def test_the_published_sizes_have_the_parameters_of_diffusers(size: str) -> None:
    """Its blocks beside the first have copies of the embedding, which are no parameters of the published models."""
    import diffusers

    option = option_of("network", f"dit/{size}")
    width, heads = option.node["width"], option.node["heads"]
    for patch in (2, 4, 8):
        with torch.device("meta"):
            network = built(option, patch_size=patch, out_channels=8, vector_dim=width)
            classes = ClassLabel(1000, width, inject="vector")
            there = diffusers.DiTTransformer2DModel(
                num_attention_heads=heads, attention_head_dim=width // heads, out_channels=8, patch_size=patch,
                num_layers=option.node["depth"],
            )  # fmt: skip
        copies = sum(parameters(block.norm1.emb) for block in there.transformer_blocks[1:])
        assert parameters(network) + parameters(classes) == parameters(there) - copies
        settings = {"_class_name": "DiTTransformer2DModel", **there.config}
        node = dit.network_in(settings, size, True)
        assert node["out_channels"] == 8 and node["vector_dim"] == width
        names = [n for entry in dit.table(node) for n in entry.external]
        rest = {n for n in there.state_dict() if EMBEDDING not in n or n.startswith("transformer_blocks.0.")}
        assert {*names, f"transformer_blocks.0.{EMBEDDING}class_embedder.embedding_table.weight"} == rest


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor], dict[str, Any]]:
    """(folder of a tiny DiT, its tensors, its config)."""
    folder = tmp_path_factory.mktemp("dit")
    reference().save_pretrained(folder)
    return folder, load_file(folder / fmt.WEIGHTS[0]), json.loads((folder / fmt.CONFIG).read_text())


REFUSED: dict[str, tuple[Any, str]] = {
    "activation_fn": ("geglu", "activation_fn = 'gelu-approximate'"),
    "attention_bias": (False, "attention_bias = True"),
    "norm_elementwise_affine": (True, "norm_elementwise_affine = False"),
    "norm_type": ("ada_norm_single", "norm_type = 'ada_norm_zero'"),
    "norm_eps": (1e-3, "norm_eps"),
    "patch_size": (None, "a whole number as patch_size; got None"),
    "num_layers": (4, "all 4 blocks"),
    "qk_norm": ("rms_norm", "qk_norm = 'rms_norm'"),
    "_class_name": ("PixArtTransformer2DModel", "DiTTransformer2DModel"),
}


def read_with(saved: Any, folder: Path, settings: dict[str, Any], state: dict[str, Tensor] | None = None) -> Any:
    (folder / fmt.CONFIG).write_text(json.dumps(settings))
    save_file(saved[1] if state is None else state, folder / fmt.WEIGHTS[0])
    return fmt.read(folder, Options()).diffusion


@pytest.mark.parametrize("field", REFUSED)
def test_what_would_change_the_result_is_refused(saved: Any, tmp_path: Path, field: str) -> None:
    value, message = REFUSED[field]
    with pytest.raises(DataError, match=re.escape(message)):
        read_with(saved, tmp_path, {**saved[2], field: value})


def test_the_name_of_released_models_is_read(saved: Any, tmp_path: Path) -> None:
    """They are Transformer2DModel, whose missing fields have other values."""
    legacy = {
        **saved[2],
        "_class_name": "Transformer2DModel",
        "cross_attention_dim": None,
        "only_cross_attention": False,
    }
    assert read_with(saved, tmp_path, legacy).digest == fmt.read(saved[0], Options()).diffusion.digest  # type: ignore[union-attr]
    for field, message in {"attention_bias": "attention_bias = True", "patch_size": "patch_size; got None"}.items():
        with pytest.raises(DataError, match=message):
            read_with(saved, tmp_path, {k: v for k, v in legacy.items() if k != field})


def test_blocks_with_embeddings_of_their_own_are_refused(saved: Any, tmp_path: Path) -> None:
    name = f"transformer_blocks.2.{EMBEDDING}timestep_embedder.linear_2.bias"
    for state in ({**saved[1], name: saved[1][name] + 1}, {k: v for k, v in saved[1].items() if k != name}):
        with pytest.raises(DataError, match=rf"one embedding .* all 3 blocks.* got 1 tensors .*: {re.escape(name)}\."):
            read_with(saved, tmp_path, saved[2], state)
    table = f"transformer_blocks.0.{EMBEDDING}class_embedder.embedding_table.weight"
    with pytest.raises(DataError, match=re.escape(table)):
        read_with(saved, tmp_path, saved[2], {k: v for k, v in saved[1].items() if not k.endswith("table.weight")})


def test_a_dit_that_diffusers_has_not_is_not_exported(saved: Any) -> None:
    part = fmt.read(saved[0], Options()).diffusion
    assert part is not None
    node, rows = part.config["network"], part.weights["raw"]["conditioner.embedding.weight"]
    for changes, given, key in (
        ({"qk_norm": True}, rows, "network.qk_norm"),
        ({"mlp_ratio": 2.0}, rows, "network.mlp_ratio"),
        ({"context_dim": 6}, rows, "network.context_dim"),
        ({"spatial_channels": 1}, rows, "network.spatial_channels"),
        ({"vector_mlp": True}, rows, "network.vector_mlp"),
        ({}, rows[:, :6], "conditioner"),
        ({"vector_dim": None}, None, "conditioner"),
    ):
        with pytest.raises(ConfigError) as error:
            fmt.network_out({**node, **changes}, {}, given, 8)
        assert error.value.key == key


def test_a_model_alone_has_the_betas_of_the_paper_and_the_scale_of_its_latents(saved: Any, tmp_path: Path) -> None:
    part = fmt.read(saved[0], Options()).diffusion
    assert part is not None and part.config["scale_factor"] == 0.18215
    betas = {k: part.config["schedule"][k] for k in ("T", "beta_start", "beta_end")}
    assert betas == {"T": 1000, "beta_start": 0.0001, "beta_end": 0.02}
    assert part.config["schedule"]["_target_"].endswith(".Linear")
    reference(in_channels=3, out_channels=6).save_pretrained(tmp_path)
    pixels = fmt.read(tmp_path, Options()).diffusion
    assert pixels is not None and pixels.config["scale_factor"] == 1.0


@torch.no_grad()
def test_a_pipeline_through_the_store_and_back(tmp_path: Path) -> None:
    import diffusers

    reference().save_pretrained(tmp_path / "in" / "transformer")
    reference_model("AutoencoderKL", SMALL_KL).save_pretrained(tmp_path / "in" / "vae")
    diffusers.DDIMScheduler(clip_sample=False).save_pretrained(tmp_path / "in" / "scheduler")
    store = Store(tmp_path / "store")
    assert import_weights(store, config(tmp_path / "in", "diffusers")) == 0
    (key,) = keys(store, "imported")
    stored = store.open(key).manifest
    assert stored.config["schedule"]["_target_"].endswith(".Linear") and stored.config["scale_factor"] == 0.18215
    assert {"transformer/config.json", "scheduler/scheduler_config.json"} <= stored.source["sha256"].keys()
    model = load(key, tmp_path / "store")
    first, second = (model.sample(n=1, seed=1, steps=2, label=label, scale=3.0)[0] for label in (1, 2))
    assert first.size == (16, 16) and first.tobytes() != second.tobytes()
    assert export_weights(store, config(tmp_path / "out", "diffusers", key)) == 0
    assert not (tmp_path / "out" / "class_embedding.safetensors").exists()
    parts = [
        diffusers.DiTTransformer2DModel.from_pretrained(tmp_path / f, subfolder="transformer") for f in ("in", "out")
    ]
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(*(p.eval()(x, T, LABELS).sample for p in parts), atol=1e-5, rtol=1e-5)
    again = Store(tmp_path / "again")
    assert import_weights(again, config(tmp_path / "out", "diffusers")) == 0
    assert keys(again, "first_stage") == keys(store, "first_stage") and keys(again, "imported") == [key]
    with pytest.raises(ConfigError, match="key: expected a network that the other program has"):
        export_weights(store, config(tmp_path / "compvis", "compvis", key))
