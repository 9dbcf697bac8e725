"""diffusion.init_from=diffusion-…: a training that goes on where another one ended."""

import json
from pathlib import Path

import pytest

from commands import SMALL, run

pytestmark = pytest.mark.slow

FEW = ["first_stage=kl", *SMALL, "training.snapshots=[]", "training.decay=none", "timestep_sampler=importance"]


def weights(folder: Path, key: str) -> dict[str, str]:
    files = json.loads((folder / "store" / "objects" / "diffusion" / key / "manifest.json").read_text())["files"]
    return {name: file["sha256"] for name, file in files.items() if name.endswith(".safetensors")}


def test_two_trainings_in_a_row_have_the_bits_of_one(tmp_path, first_stages):
    first_stages(tmp_path)
    assert run(tmp_path, *FEW, "training.steps=24").returncode == 0
    (half,) = (p.name for p in tmp_path.glob("store/objects/diffusion/*"))
    done = run(tmp_path, *FEW, "training.steps=16", f"diffusion.init_from={half}")
    assert done.returncode == 0, done.stdout + done.stderr
    (longer,) = (p.name for p in tmp_path.glob("store/objects/diffusion/*") if p.name != half)
    assert run(tmp_path, *FEW, "training.steps=40").returncode == 0
    (whole,) = (p.name for p in tmp_path.glob("store/objects/diffusion/*") if p.name not in (half, longer))
    assert weights(tmp_path, longer) == weights(tmp_path, whole) and len(weights(tmp_path, whole)) == 3
    for key in (longer, whole):
        assert json.loads((tmp_path / f"store/objects/diffusion/{key}/summary.json").read_text())["steps"] == 40
    for wrong, named in (
        ("network.ch=16", "network: expected that of diffusion-"),
        ("optimizer=adam", "optimizer: expected AdamW"),
        ("training.snapshots=[24]", "steps from 25 on"),
        ("training.ema.power_widths=[0.1]", "training.ema.power_widths: expected [] where diffusion.init_from"),
    ):
        refused = run(tmp_path, *FEW, "training.steps=16", f"diffusion.init_from={half}", wrong, "do=plan")
        assert refused.returncode == 2 and named in refused.stdout, refused.stdout
