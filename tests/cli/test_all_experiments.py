"""experiments=all: every experiment of experiments/all.yaml, one command each."""

import shutil
from pathlib import Path

import pytest

from ablatent.cli.all_experiments import sequence, wanted
from ablatent.core.errors import ConfigError
from commands import ROOT, python

SWEEP = "# @package _global_\nhydra: {sweeper: {params: {sampler.steps: '5,10'}}}\n"
BROKEN = SWEEP.replace("'5,10'", "'0,5'")


def project(folder: Path, sequence_: str, **experiments: str) -> Path:
    """A folder with run.py, conf/ and these experiments."""
    (folder / "conf").symlink_to(ROOT / "conf")
    shutil.copy(ROOT / "run.py", folder)
    (folder / "experiments").mkdir()
    (folder / "experiments" / "all.yaml").write_text(f"sequence: [{sequence_}]\n")
    for name, text in experiments.items():
        (folder / "experiments" / f"{name}.yaml").write_text(text)
    return folder


@pytest.mark.slow
def test_one_that_is_refused_stops_no_other(tmp_path: Path) -> None:
    root = project(tmp_path, "broken, second, first", first=SWEEP, second=SWEEP, broken=BROKEN)
    done = python(root, "run.py", "-m", "experiments=all", "do=plan", "preset=tiny", "data=digits", "tracking=none")
    assert done.returncode == 2
    lines = [line for line in done.stdout.splitlines() if line.startswith("experiments=") or " job" in line[:12]]
    assert lines[0] == "experiments=broken" and "experiments=second" in lines and lines[-1] == "2 jobs"
    assert lines.index("experiments=second") < lines.index("experiments=first")


def test_a_name_that_is_no_experiment_is_refused(tmp_path: Path) -> None:
    root = project(tmp_path, "fist", first=SWEEP)
    with pytest.raises(ConfigError, match="Did you mean 'first'"):
        sequence(root)


def test_all_is_not_one_of_several() -> None:
    assert wanted(["experiments=all"]) and not wanted(["experiments=first_stage"]) and not wanted([])
    with pytest.raises(ConfigError, match=r"^experiments: "):
        wanted(["experiments=first_stage,all"])
