"""Whole searches by the command line, on a small real model."""

import csv
import importlib.util
import json
import re

import pytest

from commands import SMALL, built, found, run

needs_optuna = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="needs the extra `search`")
pytestmark = pytest.mark.slow
OPTUNA = ["-m", *SMALL, "hydra/sweeper=optuna", "hydra.sweeper.objectives=[fid_192,nfe]", "hydra.sweeper.name=steps"]


def trials(folder, name="steps"):
    return list(csv.DictReader((folder / "store/searches" / name / "trials.csv").open()))


@needs_optuna
def test_a_search_over_sampler_steps_trains_one_model(tmp_path, first_stages):
    first_stages(tmp_path)
    space = ["sampler.steps=range(2,40)", "hydra.sweeper.batch_size=2"]
    done = run(tmp_path, *OPTUNA, *space, "hydra.sweeper.n_trials=2")
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(tmp_path, *OPTUNA, *space, "hydra.sweeper.n_trials=4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert built(done.stdout) == ["samples", "scores"] * 2 and "diffusion" in found(done.stdout)
    rows = trials(tmp_path)
    assert [row["state"] for row in rows] == ["finished"] * 4
    assert all(float(row["nfe"]) == int(row["sampler.steps"]) for row in rows)
    for row in rows:
        store = tmp_path / "store"
        plan = json.loads((store / "sweeps" / row["sweep"] / "plan.json").read_text())
        key = plan["jobs"][int(row["job"])]["stages"]["scores"]
        scores = json.loads((store / "objects/scores" / key / "scores.json").read_text())["metrics"]
        assert float(row["fid_192"]) == scores["fid_192"]["value"]
    page = (tmp_path / "store/searches/steps/report.html").read_text()
    assert "Pareto front" in page and all(f"../../sweeps/{row['sweep']}/report/report.html" in page for row in rows)
    again = run(tmp_path, *OPTUNA, *space, "hydra.sweeper.n_trials=4")
    assert again.returncode == 0 and not built(again.stdout) + found(again.stdout), again.stdout
    other = run(tmp_path, *OPTUNA, "sampler.steps=range(2,50)")
    assert other.returncode == 2 and "error hydra.sweeper.name" in other.stdout


@needs_optuna
@pytest.mark.parametrize("launcher", ["ablatent", "basic"])
def test_a_failed_trial_stops_no_other(tmp_path, first_stages, launcher):
    first_stages(tmp_path)
    failing = ["optimizer.lr=1e-3,1e30", "training.clip=null", "latents.normalizer=none", f"hydra/launcher={launcher}"]
    few = ["hydra.sweeper.n_trials=6", "hydra.sweeper.batch_size=3", "hydra.sweeper.objectives=[fid_192]"]
    done = run(tmp_path, *OPTUNA, *failing, *few)
    assert done.returncode == 1, done.stdout + done.stderr
    states = {(row["optimizer.lr"], row["state"]) for row in trials(tmp_path)}
    assert states == {("0.001", "finished"), ("1e+30", "failed")} and len(trials(tmp_path)) == 6
    assert "Traceback" not in done.stdout + done.stderr


@needs_optuna
def test_a_pruned_training_is_not_published(tmp_path, first_stages):
    first_stages(tmp_path)
    over = ["optimizer.lr=tag(log,interval(1e-6,3e-3))", "training.validate_every=6", "hydra.sweeper.seed=1"]
    prune = ["hydra.sweeper.pruner=median", "hydra.sweeper.startup_trials=2", "hydra.sweeper.objectives=[fid_192]"]
    done = run(tmp_path, *OPTUNA, *over, *prune, "hydra.sweeper.n_trials=8", "hydra.sweeper.batch_size=2")
    assert done.returncode == 0, done.stdout + done.stderr
    ended = re.findall(r"^  (diffusion-\w+)\s+failed: pruned at step (\d+)", done.stdout, re.M)
    pruned = [row for row in trials(tmp_path) if row["state"] == "pruned"]
    assert len(ended) == len(pruned) > 0 and {step for _, step in ended} <= {"6", "12", "18"}
    published = [path.name for path in (tmp_path / "store/objects/diffusion").iterdir()]
    assert len(published) == 8 - len(pruned)
    assert not [key for key, _ in ended if any(name.startswith(key) for name in published)]


def test_a_sobol_design_is_one_sweep_with_a_report_of_the_search(tmp_path, first_stages):
    first_stages(tmp_path)
    design = ["hydra/sweeper=sobol", "hydra.sweeper.n_trials=4", "hydra.sweeper.name=design"]
    over = ["sampler.steps=range(2,10)", "sampler=ddim,ddpm", "hydra.sweeper.objectives=[kid_192,seconds]"]
    done = run(tmp_path, "-m", *SMALL, *design, *over)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = trials(tmp_path, "design")
    assert len({row["sweep"] for row in rows}) == 1 and [row["job"] for row in rows] == ["0", "1", "2", "3"]
    assert built(done.stdout).count("diffusion") == 1 and built(done.stdout).count("samples") == 4
    assert all(float(row["seconds"]) > 0 for row in rows)
