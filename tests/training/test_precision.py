"""bf16 autocast on the CPU: the losses of the same twenty steps are those of float32, to 2 %."""

import csv

import pytest

from commands import SMALL, run


@pytest.mark.slow
def test_bf16_losses_are_near_float32(tmp_path):
    means = []
    for precision in ("32-true", "bf16-mixed"):
        folder = tmp_path / precision
        folder.mkdir()
        small = [*SMALL, "first_stage=kl", "first_stage.training.precision=32-true", "training.steps=20"]
        done = run(folder, *small, f"training.precision={precision}")
        assert done.returncode == 0, done.stdout + done.stderr
        (curves,) = (folder / "store/objects/diffusion").glob("*/curves.csv")
        with curves.open(newline="") as f:
            rows = [float(r["value"]) for r in csv.DictReader(f) if r["name"] == "train/loss"]
        assert len(rows) == 2, "means over ten steps"
        means.append(sum(rows) / len(rows))
    assert means[0] != means[1], "autocast changed nothing: it was not on"
    assert means[1] == pytest.approx(means[0], rel=0.02)
