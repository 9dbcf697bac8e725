"""The paper's runs: each row of its tables is a preset that composes, has the paper's parameters, and can be planned.

Rombach et al. 2022, tables 1, 3, 8, 10, 12-15; counts are those of the released configurations.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose
from omegaconf import OmegaConf

from ablatent.cli.main import plain
from ablatent.cli.preflight import preflight
from ablatent.core.errors import ConfigError
from ablatent.stages.models import dummy_inputs, make_network
from ablatent.stages.stored import make_first_stage
from ablatent.sweep.plan import Composed, make_plan
from commands import ROOT, run
from composing import hydra_ready

pytestmark = pytest.mark.slow

CONF = ROOT / "conf"
NAMES = sorted(p.stem for p in (CONF / "preset" / "paper").glob("*.yaml"))
CLASSES = 1000

# preset → millions of UNet and autoencoder, latents (c, h, w), batch, learning rate, end of the betas
ROWS: dict[str, tuple[float, float, tuple[int, int, int], int, float, float]] = {
    "celebahq_ldm4": (274.06, 55.32, (3, 64, 64), 48, 9.6e-5, 0.0195),
    "ffhq_ldm4": (274.06, 55.32, (3, 64, 64), 42, 8.4e-5, 0.0195),
    "bedrooms_ldm4": (274.06, 55.32, (3, 64, 64), 48, 9.6e-5, 0.0195),
    "churches_ldm8": (294.97, 83.65, (4, 32, 32), 96, 5.0e-5, 0.0155),
    "imagenet_ldm8": (394.98, 67.72, (4, 32, 32), 64, 6.4e-5, 0.0195),
    "imagenet_ldm4": (400.92, 55.32, (3, 64, 64), 1200, 1.0e-4, 0.0195),
    "text2img": (872.30, 83.65, (4, 32, 32), 680, 1.0e-4, 0.012),
    "tab13_f1": (396.84, 0.00, (3, 256, 256), 7, 4.9e-5, 0.0195),
    "tab13_f2": (390.89, 0.00, (2, 128, 128), 9, 6.3e-5, 0.0195),
    "tab13_f4": (400.92, 55.32, (3, 64, 64), 40, 8.0e-5, 0.0195),
    "tab13_f8": (394.98, 67.72, (4, 32, 32), 64, 6.4e-5, 0.0195),
    "tab13_f16": (395.00, 69.59, (8, 16, 16), 112, 4.5e-5, 0.0195),
    "tab13_f32": (395.11, 0.00, (32, 8, 8), 112, 4.5e-5, 0.0195),
    "tab14_f1": (270.46, 0.00, (3, 256, 256), 9, 9.0e-5, 0.0195),
    "tab14_f2": (264.51, 0.00, (2, 128, 128), 11, 1.1e-4, 0.0195),
    "tab14_f4": (274.06, 55.32, (3, 64, 64), 48, 9.6e-5, 0.0195),
    "tab14_f8": (257.73, 67.72, (4, 32, 32), 96, 9.6e-5, 0.0195),
    "tab14_f16": (257.75, 69.59, (8, 16, 16), 128, 1.3e-4, 0.0195),
    "tab14_f32": (257.86, 0.00, (32, 8, 8), 128, 1.3e-4, 0.0195),
    "kl-f4": (274.06, 55.31, (3, 64, 64), 48, 9.6e-5, 0.0195),
    "kl-f8": (257.73, 83.65, (4, 32, 32), 96, 9.6e-5, 0.0195),
    "kl-f16": (0.00, 69.61, (16, 16, 16), 128, 1.3e-4, 0.0195),
    "kl-f32": (0.00, 103.88, (64, 8, 8), 128, 1.3e-4, 0.0195),
    "vq-f2": (264.51, 0.00, (2, 128, 128), 11, 1.1e-4, 0.0195),
    "vq-f4": (274.06, 55.32, (3, 64, 64), 48, 9.6e-5, 0.0195),
    "vq-f4-noattn": (274.06, 53.22, (3, 64, 64), 48, 9.6e-5, 0.0195),
    "vq-f8": (257.73, 67.72, (4, 32, 32), 96, 9.6e-5, 0.0195),
    "vq-f16": (257.75, 69.59, (8, 16, 16), 128, 1.3e-4, 0.0195),
    "vq-f32": (257.86, 0.00, (32, 8, 8), 128, 1.3e-4, 0.0195),
    "layout_openimages": (246.28, 55.32, (3, 64, 64), 24, 4.8e-5, 0.0205),
    "super_resolution": (113.62, 55.32, (3, 64, 64), 64, 6.4e-5, 0.0155),
    "inpainting": (387.25, 53.22, (3, 64, 64), 128, 1.0e-6, 0.0205),
    "semantic_synthesis": (215.23, 55.32, (3, 64, 64), 48, 4.8e-5, 0.0205),
}
"""0.00: the paper and its configurations give no number."""
# preset → its conditioner, and its millions of parameters where the released configuration has some
CONDITIONED: dict[str, tuple[str, float | None]] = {
    "text2img": ("TextTransformer", 581.99),
    "layout_openimages": ("Layout", 58.86),
    "super_resolution": ("LowResolution", 0.0),
    "inpainting": ("MaskedImage", 0.0),
    "semantic_synthesis": ("Semantic", None),
}
ABSOLUTE = ("churches_ldm8", "layout_openimages", "inpainting", "semantic_synthesis")


def made(*overrides: str) -> dict[str, Any]:
    cfg = compose("config", overrides=list(overrides))
    if OmegaConf.is_missing(cfg.data, "root"):
        cfg.data.root = "made/up"
    return plain(cfg)


def composed(*overrides: str) -> dict[str, Any]:
    with hydra_ready():
        return made(*overrides)


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    """Every preset, composed once: with no override but its own name."""
    with hydra_ready():
        return {name: made(f"preset=paper/{name}") for name in NAMES}


def millions(module: torch.nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


# Several rows share a network.
@cache
def counted_first_stage(config: str) -> tuple[float, tuple[int, int, int]]:
    with torch.device("meta"):
        model = make_first_stage(json.loads(config))
    return millions(model), model.latent_shape(256, 256)


@cache
def counted_network(config: str, channels: int) -> tuple[float, float]:
    with torch.device("meta"):
        network, conditioner = make_network(
            json.loads(config), dummy_inputs((channels, 64, 64), 256, CLASSES, CLASSES), False
        )
    return millions(network), millions(conditioner)


def test_parameter_counts_of_all_rows(rows: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the table, past pytest's capture."""
    assert set(rows) == set(ROWS)
    lines = [f"{'preset':<20}{'UNet':>9}{'paper':>9}{'autoencoder':>13}{'paper':>9}{'conditioner':>13}  latents"]
    wrong = []
    for name, cfg in rows.items():
        unet, autoencoder, latent, *_ = ROWS[name]
        autoencoder_count, shape = counted_first_stage(json.dumps(cfg["first_stage"]))
        diffusion = json.dumps({k: cfg[k] for k in ("network", "conditioner")})
        network, conditioner = counted_network(diffusion, shape[0])
        got = network, autoencoder_count
        side = [f"{m:9.2f}" if m else f"{'–':>9}" for m in (unet, autoencoder)]
        line = f"{name:<20}{got[0]:9.2f}{side[0]}{got[1]:13.2f}{side[1]}{conditioner:13.2f}"
        lines.append(f"{line}  {shape[1]}² × {shape[0]}")
        expected = (unet or got[0], autoencoder or got[1])
        beside = CONDITIONED.get(name, ("", None))[1]
        got, expected = (*got, conditioner), (*expected, conditioner if beside is None else beside)
        if max(abs(a - b) for a, b in zip(got, expected, strict=True)) > 0.01 or shape != latent:
            wrong.append(lines[-1])
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_each_row_has_the_settings_of_the_paper(name: str, rows: dict[str, dict[str, Any]]) -> None:
    cfg = rows[name]
    _, _, _, batch, lr, end = ROWS[name]
    assert cfg["training"]["batch_size"] == batch and cfg["optimizer"]["lr"] == lr
    assert cfg["optimizer"]["betas"] == [0.9, 0.999] and cfg["optimizer"]["weight_decay"] == 0.01
    assert cfg["schedule"]["_target_"].endswith("ScaledLinear") and cfg["schedule"]["T"] == 1000
    assert (cfg["schedule"]["beta_start"], cfg["schedule"]["beta_end"]) == (
        0.00085 if name == "text2img" else 0.0015,
        end,
    )
    assert cfg["parameterization"]["_target_"].endswith("Eps") and cfg["weighting"]["_target_"].endswith("Simple")
    assert cfg["training"]["loss"] == ("l1" if name in ABSOLUTE else "mse")
    assert cfg["training"]["warmup_steps"] == (10000 if name == "churches_ldm8" else 0)
    assert (cfg["training"]["decay"], cfg["training"]["clip"], cfg["training"]["ema"]["decay"]) == (
        "none",
        None,
        0.9999,
    )
    assert cfg["data"]["size"] == 256 and cfg["training"]["precision"] == cfg["runtime"]["precision"]
    assert cfg["preset"]["name"] == f"paper/{name}"
    conditional = "imagenet" in name or "tab13" in name
    kind = "ClassLabel" if conditional else CONDITIONED.get(name, ("NoConditioner",))[0]
    assert cfg["conditioner"]["_target_"].rpartition(".")[2] == kind
    if conditional:
        assert cfg["conditioner"]["dim"] == 512 and cfg["conditioner"]["inject"] == "tokens"
        assert cfg["conditioner"]["dropout"] == (0.1 if name == "imagenet_ldm4" else 0.0)
    training = cfg["first_stage"].get("training")
    if training is not None:
        kl = cfg["first_stage"]["_target_"].endswith("KLAutoencoder")
        loss = cfg["first_stage"]["loss"]
        assert training["lr"] == training["disc_lr"] == pytest.approx(4.5e-6 * training["batch_size"])
        assert training["betas"] == [0.5, 0.9] and training["decay"] == "none"
        assert (loss["disc_weight"], loss["regularizer_weight"]) == ((0.5, 1e-6) if kl else (0.75, 1.0))
        assert cfg["latents"]["normalizer"] == ("scalar" if kl else "none")
        assert kl or (cfg["first_stage"]["beta"], cfg["first_stage"]["restart_every"]) == (0.25, None)


def test_the_null_class_of_the_guided_model_is_the_1001st(rows: dict[str, dict[str, Any]]) -> None:
    with torch.device("meta"):
        _, conditioner = make_network(rows["imagenet_ldm4"], dummy_inputs((3, 64, 64), 256, CLASSES), False)
    assert conditioner.embedding.weight.shape == (1001, 512)
    assert rows["imagenet_ldm4"]["guidance"]["scale"] == 1.5


def leaves(node: Any, path: tuple[str, ...] = ()) -> set[str]:
    if not isinstance(node, dict):
        return {".".join(path)}
    return set().union(*(leaves(v, (*path, k)) for k, v in node.items() if k != "defaults"))


def test_every_key_of_every_preset_is_read_by_an_option() -> None:
    """A key that nothing reads is a mistyped one."""
    text = "\n".join(p.read_text() for p in CONF.rglob("*.yaml"))
    read = set(re.findall(r"\$\{(?:oc\.select:)?preset\.([\w.]+)", text)) | {"name"}
    files: list[Path] = [*(CONF / "preset").rglob("*.yaml"), *(CONF / "recipe").glob("*.yaml")]
    assert len(files) > len(NAMES) + 3
    for file in files:
        assert leaves(yaml.safe_load(file.read_text())) <= read, file


@pytest.mark.parametrize(
    "overrides",
    [
        ["preset=paper/churches_ldm8", "schedule=cosine", "first_stage=vq", "parameterization=v"],
        ["preset=paper/celebahq_ldm4", "network=dit", "first_stage=kl", "conditioner=class", "optimizer=adam"],
        ["preset=paper/tab14_f1", "first_stage=kl", "schedule=linear"],
    ],
    ids=lambda o: o[0],
)
def test_rows_take_other_options_and_can_be_planned(overrides: list[str]) -> None:
    from ablatent.sweep.check import check_plan

    plan = make_plan([Composed([], composed(*overrides, "data=digits"))])
    check_plan(plan)
    assert plan.jobs[0].refused is None


def test_a_preset_in_a_folder_passes_the_preflight_and_a_mistyped_one_does_not() -> None:
    preflight(ROOT, ["preset=paper/celebahq_ldm4", "data=digits", "training.batch_size=1"], multirun=False)
    preflight(ROOT, ["preset=paper/churches_ldm8,paper/tab13_f8", "data.root=x"], multirun=True)
    for wrong, near in (("paper/celebahq_ldm", "paper/celebahq_ldm4"), ("papers/kl-f8", "paper/kl-f8")):
        with pytest.raises(ConfigError, match=f"Did you mean '{near}'"):
            preflight(ROOT, [f"preset={wrong}"], multirun=False)
    with pytest.raises(ConfigError, match="a key that exists"):
        preflight(ROOT, ["preset=paper/celebahq_ldm4", "schedule.s=1"], multirun=False)


@pytest.mark.slow
def test_a_row_is_planned_by_the_command_line(tmp_path: Path) -> None:
    done = run(tmp_path, "preset=paper/celebahq_ldm4", "data=digits", "training.steps=1000", "do=plan")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"diffusion .* UNet .* 274\.06M .* 48 .* 1,000 .* 410,000", done.stdout), done.stdout
    assert re.search(r"first_stage .* VQAutoencoder .* 55\.32M", done.stdout), done.stdout
    without = run(tmp_path, "preset=paper/celebahq_ldm4", "do=plan")
    assert without.returncode == 2 and "data.root" in without.stdout and "Traceback" not in without.stdout
