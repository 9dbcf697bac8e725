"""bf16 autocast on the CPU: the losses of the same twenty steps are those of float32, to 2 %."""

import csv

import pytest

from commands import SMALL, run

STEPS = 20


@pytest.mark.slow
def test_bf16_losses_are_near_float32(tmp_path, first_stages):
    """Twenty steps of the tiny preset's UNet, with the same latents, times and noise; the first stage is float32's."""
    first_stages(tmp_path)
    small = [*SMALL, "first_stage.training.precision=32-true", f"training.steps={STEPS}", "training.batch_size=8"]
    means = []
    for precision in ("32-true", "bf16-mixed"):
        done = run(tmp_path, *small, f"training.validate_every={STEPS}", f"training.precision={precision}")
        assert done.returncode == 0, done.stdout + done.stderr
        newest = max((tmp_path / "store/objects/diffusion").glob("*/curves.csv"), key=lambda p: p.stat().st_mtime)
        with newest.open(newline="") as f:
            rows = [float(r["value"]) for r in csv.DictReader(f) if r["name"] == "train/loss"]
        assert len(rows) == STEPS / 10, "each is a mean over ten steps"
        means.append(sum(rows) / len(rows))
    assert means[0] != means[1], "autocast changed nothing: it was not on"
    assert means[1] == pytest.approx(means[0], rel=0.02)
