"""`-m seed=0,1,2`: replicates of what is trained and sampled, and what the plan says of axes."""

import csv

import pytest

from ablatent.sweep.plan import Composed, effects, make_plan
from commands import SMALL, built, run
from composing import composed

DATA = ["preset=tiny", "data=digits"]


def plan_of(*jobs: tuple[str, ...]):
    return make_plan([Composed(list(o), composed(*DATA, *o)) for o in jobs])


def test_seeds_are_replicates_of_diffusion_and_samples():
    plan = plan_of(*[(f"seed={seed}",) for seed in (0, 1, 2)])
    assert effects(plan) == {"seed": ["diffusion", "samples", "scores"]}
    for role in ("first_stage", "latents", "reconstruction"):
        assert len({job.stages[role].key for job in plan.jobs}) == 1
    for role in ("diffusion", "samples", "scores"):
        assert len({job.stages[role].key for job in plan.jobs}) == 3
    (alone,) = plan_of(()).jobs
    assert alone.stages == plan.jobs[0].stages, "0 is the default"
    assert [job.stages["diffusion"].config["seed"] for job in plan.jobs] == [0, 1, 2]


def test_first_stages_are_replicated_where_that_is_the_question():
    plan = plan_of(*[(f"seed={seed}", "first_stage.seed=${seed}") for seed in (0, 1)])
    assert set(effects(plan)["seed"]) >= {"first_stage", "latents", "reconstruction", "diffusion", "samples", "scores"}


def test_a_single_seed_may_still_be_set_apart():
    plan = plan_of(("seed=1", "diffusion.seed=0"), ("seed=2", "diffusion.seed=0"))
    assert effects(plan) == {"seed": ["samples", "scores"]}


def test_an_axis_is_compared_among_jobs_that_differ_in_nothing_else():
    plan = plan_of(*[(f"sampler.steps={s}", f"schedule={n}") for s in (2, 3) for n in ("linear", "cosine")])
    found = effects(plan)
    assert found["sampler.steps"] == ["samples", "scores"]
    assert set(found["schedule"]) == {"diffusion", "samples", "scores"}


@pytest.mark.parametrize("key", ["title=x", "runtime.threads=1", "tracking=none"])
def test_what_decides_nothing_changes_no_stage(key):
    plan = plan_of((key,), ("seed=0",))
    assert all(not kinds for kinds in effects(plan).values())


@pytest.mark.slow
def test_three_seeds_are_three_trainings_and_three_results(tmp_path, first_stages):
    first_stages(tmp_path)
    few = ["training.steps=4", "training.batch_size=8", "sampler.steps=2"]
    done = run(tmp_path, "-m", "seed=0,1,2", *SMALL, *few)
    assert done.returncode == 0, done.stdout + done.stderr
    assert built(done.stdout).count("diffusion") == 3 and "first_stage" not in built(done.stdout)
    (report,) = (tmp_path / "store/sweeps").glob("*/report")
    assert "3 of 3" in (report / "report.md").read_text()
    with (report / "report.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    name = next(column for column in rows[0] if column.startswith("fid") and "baseline" not in column)
    assert len({row[name] for row in rows}) == len(rows) == 3
