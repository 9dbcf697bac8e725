"""do=import and do=export: artifacts of the store, in either format, out and back with the same keys."""

import json
import shutil
from pathlib import Path

import compvis_names as named
import pytest
import torch
from safetensors.torch import load_file
from test_compvis import SMALL_UNET, checkpoint, drawn

from ablatent.core.disk import DiskFull
from ablatent.core.errors import ConfigError
from ablatent.core.files import sha256
from ablatent.inference.export import export_weights
from ablatent.inference.import_weights import import_weights
from ablatent.inference.pretrained import Resolver
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from commands import SMALL, built, found, run

pytestmark = pytest.mark.slow

INTEROP = {
    "heads": None,
    "head_channels": 32,
    "heads_first": True,
    "T": 1000,
    "beta_start": None,
    "beta_end": None,
    "scale_factor": None,
    "null_label": True,
    "weights": "ema",
    "snapshot": "last",
}


def config(path, format_, key=None, **interop):
    return {"path": str(path), "format": format_, "key": key, "interop": {**INTEROP, **interop}}


def keys(store: Store, kind: str) -> list[Key]:
    return sorted(Key(p.name) for p in (store.root / "objects" / kind).glob("*"))


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """(folder with model.ckpt, its tensors, store with both parts)."""
    folder = tmp_path_factory.mktemp("imported")
    state = checkpoint(scale_factor=torch.tensor(0.25))
    torch.save({"state_dict": state, "global_step": 1}, folder / "model.ckpt")
    store = Store(folder / "store")
    assert import_weights(store, config(folder / "model.ckpt", "compvis")) == 0
    return folder, state, store


def test_artifacts_say_where_they_come_from(imported, capsys):
    folder, _, store = imported
    for kind in ("first_stage", "imported"):
        artifact = store.open(*keys(store, kind))
        source = artifact.manifest.source
        assert source["format"] == "compvis" and source["path"] == str((folder / "model.ckpt").resolve())
        assert source["sha256"] == {"model.ckpt": sha256(folder / "model.ckpt")}
        assert artifact.manifest.config["weights"] == source
    assert artifact.manifest.config["scale_factor"] == 0.25
    assert artifact.manifest.inputs == {"first_stage": keys(store, "first_stage")[0]}
    import_weights(store, config(folder / "model.ckpt", "compvis"))
    output = capsys.readouterr().out
    assert output.count(" found, ") == 2 and "head_channels=32" in output and "interop.heads" in output


def test_compvis_out_and_back(imported, tmp_path):
    _, state, store = imported
    (key,) = keys(store, "imported")
    assert export_weights(store, config(tmp_path / "out", "compvis", key[:14])) == 0
    written = torch.load(tmp_path / "out" / "model.ckpt", weights_only=True)["state_dict"]
    assert set(written) == set(state)
    exact = [k for k in state if k not in ("alphas_cumprod", "betas", "model_ema.num_updates")]
    assert all(torch.equal(written[k], state[k]) for k in exact)
    torch.testing.assert_close(written["betas"], state["betas"])
    again = Store(tmp_path / "store")
    assert import_weights(again, config(tmp_path / "out", "compvis", head_channels=None)) == 0  # config.yaml says it
    for kind in ("first_stage", "imported"):
        assert keys(again, kind) == keys(store, kind)
    params = json.loads((tmp_path / "out" / "config.yaml").read_text())["model"]["params"]
    assert params["scale_factor"] == 0.25 and params["linear_end"] == 0.0155 and params["use_ema"]
    assert params["unet_config"]["params"]["num_head_channels"] == 32


def test_diffusers_out_and_back(imported, tmp_path):
    import diffusers

    _, _, store = imported
    (key,) = keys(store, "imported")
    assert export_weights(store, config(tmp_path / "out", "diffusers", key)) == 0
    unet = diffusers.UNet2DModel.from_pretrained(tmp_path / "out", subfolder="unet")
    vae = diffusers.VQModel.from_pretrained(tmp_path / "out", subfolder="vqvae")
    assert vae.config.scaling_factor == 0.25
    scheduler = diffusers.DDIMScheduler.from_pretrained(tmp_path / "out", subfolder="scheduler")
    assert (scheduler.config.beta_schedule, scheduler.config.beta_end) == ("scaled_linear", 0.0155)
    ema = load_file(str(store.open(key).path / "ema-0000000.safetensors"))
    assert torch.equal(unet.conv_out.weight, ema["network.conv_out.weight"])
    again = Store(tmp_path / "store")
    (tmp_path / "out" / "text_encoder").mkdir()
    (tmp_path / "out" / "text_encoder" / "model.safetensors").touch()
    assert import_weights(again, config(tmp_path / "out", "diffusers")) == 0
    assert keys(again, "first_stage") == keys(store, "first_stage"), "the same tensors, the same key"
    raw = load_file(str(again.open(*keys(again, "imported")).path / "raw-0000000.safetensors"))
    assert raw.keys() == ema.keys() and all(torch.equal(raw[k], ema[k]) for k in raw)
    sources = again.open(*keys(again, "first_stage")).manifest.source["sha256"]
    assert "unet/config.json" in sources and "vqvae/diffusion_pytorch_model.safetensors" in sources


@pytest.mark.parametrize("format_", ["compvis", "diffusers"])
def test_a_full_disk_leaves_no_half_model(imported, small_disk, format_):
    _, _, store = imported
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - 65536))
    with pytest.raises(DiskFull, match=r"the disk is full .* The store is as it was\."):
        export_weights(store, config(small_disk / "out", format_, keys(store, "imported")[0]))
    assert not (small_disk / "out").exists()


def job(**first_stage):
    node = {"_target_": "ablatent.first_stage.pretrained.PretrainedFirstStage", **first_stage}
    return {"first_stage": node, "diffusion": {"init_from": None}}


def test_a_job_names_its_first_stage_by_key_or_by_file(imported, tmp_path):
    folder, _, store = imported
    (key,) = keys(store, "first_stage")
    named_by_key = Resolver(store)(job(key=key[:18]))
    assert named_by_key["first_stage"] == store.open(key).manifest.config
    again = Store(tmp_path / "store")
    Resolver(again)(job(path=str(folder / "model.ckpt"), format="compvis"))
    assert keys(again, "first_stage") == [key]
    wrong = [
        job(),
        job(key=key, path="x"),
        job(key="first_stage-00"),
        job(path="absent.ckpt", format="compvis"),
        job(path=str(folder / "model.ckpt")),
        job(url="https://example.org/model.ckpt", format="compvis"),
        job(path=str(folder / "model.ckpt"), format="compvis", sha256="00"),
    ]
    named_keys = ["key", "key", "key", "path", "format", "sha256", "sha256"]
    for mistake, part in zip(wrong, named_keys, strict=True):
        with pytest.raises(ConfigError) as error:
            Resolver(store)(mistake)
        assert error.value.key == f"first_stage.{part}"


def test_mistakes_name_their_key(imported, tmp_path):
    folder, _, store = imported
    (unet,) = keys(store, "imported")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    for call, given, key in (
        (import_weights, config(tmp_path / "absent", "compvis"), "path"),
        (import_weights, config(folder / "model.ckpt", "compvs"), "format"),
        (import_weights, config(tmp_path / "full", "compvis"), "path"),
        (export_weights, config(tmp_path / "full", "compvis", "first_stage-0"), "path"),
        (export_weights, config(tmp_path / "new", "compvis", "samples-0"), "key"),
        (export_weights, config(tmp_path / "new", "compvis", "first_stage-00"), "key"),
        (
            export_weights,
            config(tmp_path / "new", "compvis", unet, weights="best"),
            "interop.weights",
        ),
    ):
        with pytest.raises(ConfigError) as error:
            call(store, given)
        assert error.value.key == key
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_the_commands_of_the_page(tmp_path: Path):
    """Import, train a small diffusion on the imported first stage, go on from the imported UNet, export that."""
    torch.save(checkpoint(), tmp_path / "model.ckpt")
    done = run(tmp_path, "do=import", "path=model.ckpt", "format=compvis", "interop.head_channels=32")
    assert done.returncode == 0, done.stdout + done.stderr
    store = Store(tmp_path / "store")
    (first,), (unet,) = keys(store, "first_stage"), keys(store, "imported")
    first_stage = ["first_stage=pretrained", f"first_stage.key={first}"]
    few = ["training.steps=2", "training.batch_size=4", "sampler.steps=2"]
    network = ["network.ch=128", "network.ch_mult=[1,1]", "network.head_channels=32"]
    normalizer = "latents.normalizer=none"
    done = run(tmp_path, *first_stage, *SMALL, *few, *network, normalizer, f"diffusion.init_from={unet}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "first_stage" in found(done.stdout) and "diffusion" in built(done.stdout)
    wrong = run(tmp_path, *first_stage, *SMALL, *few, normalizer, f"diffusion.init_from={unet}")
    assert wrong.returncode == 1 and "diffusion.init_from" in wrong.stdout and "ch=128" in wrong.stdout
    (key,) = keys(store, "diffusion")
    for format_ in ("compvis", "diffusers"):
        done = run(tmp_path, "do=export", f"key={key}", f"path={format_}", f"format={format_}")
        assert done.returncode == 0, done.stdout + done.stderr
    state = torch.load(tmp_path / "compvis" / "model.ckpt", weights_only=True)["state_dict"]
    names = {f"model.diffusion_model.{n}" for n, _ in named.unet(**SMALL_UNET)}
    assert names <= set(state) and not torch.equal(
        state["model.diffusion_model.out.2.weight"], drawn(named.unet(**SMALL_UNET), 2)["out.2.weight"]
    )
    assert (tmp_path / "diffusers" / "unet" / "config.json").exists()
