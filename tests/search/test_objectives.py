"""Which scores a job will publish is known beforehand; what no job publishes is refused before anything is built."""

import importlib.util

import numpy as np
import pytest
from report_store import build

from ablatent.core.errors import ConfigError
from ablatent.evaluation.reconstruction import reconstruction_scores
from ablatent.first_stage.perceptual import Perceptual
from ablatent.report.load import load_sweep
from ablatent.search.objectives import OF_PAIRS, objectives_of, scores_of, value_of
from ablatent.search.record import FAILED, FINISHED, Objective
from ablatent.search.results import Batch, Outcome
from ablatent.store.identity import SweepId
from ablatent.sweep.plan import Composed, make_plan
from commands import SMALL, inline
from composing import composed

SETS = {"fid": "lower", "kid": "lower", "precision": "higher", "recall": "higher"}


def planned(*overrides: str):
    (job,) = make_plan([Composed([], composed("data=digits", "preset=tiny", "runtime=cpu", *overrides))]).jobs
    assert job.refused is None
    return job


@pytest.mark.parametrize(
    "evaluation, names",
    [
        ("quick", {f"{name}_192": better for name, better in SETS.items()} | {"rfid_192": "lower"}),
        (
            "standard",
            SETS
            | {"density": "higher", "coverage": "higher", "authenticity": None}
            | {"is_effnet_lite0": "higher", "rfid": "lower", "ris_effnet_lite0": "higher"},
        ),
    ],
)
def test_scores_of_samples_and_reconstructions(evaluation, names):
    assert scores_of(planned(f"evaluation={evaluation}")) == names | OF_PAIRS


def test_scores_by_a_judge_have_the_names_of_its_distances():
    names = scores_of(planned("conditioner=class", "judge=classifier", "evaluation=judge"))
    assert {"fd_judge", "kd_judge", "rfd_judge"} <= set(names), names


class Mean(Perceptual):
    name, smallest, digest = "mean", 1, "0"

    def forward(self, x, y):
        return (x - y).abs().mean(dim=(1, 2, 3))


def test_scores_of_pairs_are_those_of_reconstructions():
    images = np.random.default_rng(0).integers(0, 255, (2, 2, 16, 16, 3), dtype=np.uint8)
    scores = reconstruction_scores(images[0], images[1], Mean())
    assert {name: score.better for name, score in scores.items()} == OF_PAIRS


def test_objectives_take_their_directions_from_scores_unless_they_are_typed():
    job = planned()
    assert objectives_of(job, ["recall_192", "nfe"], None) == [
        Objective("recall_192", "higher"),
        Objective("nfe", "lower"),
    ]
    assert objectives_of(job, ["recall_192"], ["lower"]) == [Objective("recall_192", "lower")]


@pytest.mark.parametrize("names", [[], ["fid"], ["class_accuracy"]])
def test_a_score_that_no_stage_publishes_is_refused(names):
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.objectives: .*fid_192.*nfe, seconds"):
        objectives_of(planned(), names, None)


def test_reconstructions_alone_have_no_network_evaluations():
    job = planned("task=reconstruct")
    assert objectives_of(job, ["psnr", "seconds"], None)[0].better == "higher"
    with pytest.raises(ConfigError, match="nfe"):
        objectives_of(job, ["nfe"], None)


def test_a_score_of_a_judge_needs_its_direction():
    job = planned("conditioner=class", "judge=classifier")
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.directions"):
        objectives_of(job, ["class_accuracy"], None)
    assert objectives_of(job, ["class_accuracy"], ["higher"]) == [Objective("class_accuracy", "higher")]


def test_values_of_a_stored_sweep(tmp_path):
    sweep = load_sweep(tmp_path, build(tmp_path, {"sampler.steps": ["5", "20"]}))
    values = [[value_of(name, sweep, job) for name in ("fid_192", "nfe", "seconds", "fid")] for job in sweep.jobs]
    assert [(round(fid, 3), nfe, other) for fid, nfe, _, other in values] == [(3.1, 5.0, None), (1.9, 20.0, None)]
    assert values[0][2] == sweep.job_seconds(sweep.jobs[0]) > 300


def test_outcomes_of_the_jobs_that_were_handed_over(tmp_path):
    objectives = [Objective("fid_192", "lower"), Objective("nfe", "lower")]
    early = Batch(tmp_path)
    sweep = SweepId(build(tmp_path, {"sampler.steps": ["5", "20"]}, failed=1))
    (plan, finished), (_, failed) = early.planned()
    assert plan == sweep
    jobs = [early._of(sweep, job.index, objectives) for job in (finished, failed)]
    assert (jobs[0].state, [round(v, 3) for v in jobs[0].values]) == (FINISHED, [3.1, 5.0])
    assert (jobs[1].state, jobs[1].values, jobs[1].job) == (FAILED, [], 1) and "non-finite" in jobs[1].reason
    missing = early._of(sweep, 0, [Objective("is", "higher")])
    assert missing.state == FAILED and "no is;" in missing.reason and "fid_192" in missing.reason
    late = Batch(tmp_path)
    assert not list(late.planned()) and late.outcome([], objectives) == Outcome(FAILED)


SEARCH = ["-m", *SMALL, "sampler.steps=range(2,6)", "hydra/sweeper=sobol", "hydra.sweeper.objectives=[fid_192]"]
needs_optuna = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="needs the extra `search`")


@pytest.mark.parametrize(
    "overrides, key",
    [
        (["hydra.sweeper.objectives=[fid]"], "hydra.sweeper.objectives"),
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials"),
        (["hydra.sweeper.directions=[up]"], "hydra.sweeper.directions"),
        (["hydra.sweeper.name=a/b"], "hydra.sweeper.name"),
        (["sampler.steps=5"], "hydra.sweeper"),
        (["sampler.steps=range(0,6)"], "sampler.steps"),
        (["sampler=interval(1,2)"], "sampler"),
        (["sampler=choice(ddim)"], "sampler"),
        pytest.param(["hydra/sweeper=optuna", "hydra.sweeper.pruner=best"], "hydra.sweeper.pruner", marks=needs_optuna),
        pytest.param(["hydra/sweeper=optuna", "do=plan"], "do", marks=needs_optuna),
    ],
)
def test_mistakes_are_named_before_anything_is_built(tmp_path, overrides, key):
    done = inline(tmp_path, *SEARCH, *overrides)
    assert done.returncode == 2 and f"error {key}: expected" in done.stdout, done.stdout + done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.parent.name in ("sweeps", "objects", "searches")]


@pytest.mark.slow
def test_a_design_is_planned_as_one_graph(tmp_path):
    done = inline(tmp_path, *SEARCH, "do=plan", "hydra.sweeper.n_trials=4")
    assert done.returncode == 0 and "4 jobs" in done.stdout, done.stdout + done.stderr
    assert "sampler.steps: changes samples, scores" in done.stdout
    done = inline(
        tmp_path,
        *SEARCH,
        "do=plan",
        "hydra.sweeper.n_trials=4",
        "sampler.steps=5",
        "sampler.eta=interval(0,1)",
        "optimizer.lr=interval(1e-4,1e-2)",
    )
    assert done.returncode == 0 and ": changes" not in done.stdout  # no two points differ in one key alone
    assert not (tmp_path / "store" / "sweeps").exists()
