"""Every experiment is a sweep that can be planned, also in the tiny preset."""

import pytest

from commands import ROOT, run

EXPERIMENTS = sorted(p.stem for p in (ROOT / "experiments").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_planned(tmp_path, name):
    done = run(tmp_path, "-m", f"experiments={name}", "preset=tiny", "do=plan", "tracking=none")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "refused" not in done.stdout and "first_stage" in done.stdout
