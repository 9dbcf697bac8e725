"""`-m seed=0,1,2`: replicates of what is trained and sampled, and what the plan says of axes."""

import pytest

from ablatent.sweep.plan import Composed, effects, make_plan
from composing import composed

DATA = ["preset=tiny", "data=digits"]


def plan_of(*jobs: tuple[str, ...]):
    return make_plan([Composed(list(o), composed(*DATA, *o)) for o in jobs])


def test_seeds_are_replicates_of_diffusion_and_samples():
    plan = plan_of(*[(f"seed={seed}",) for seed in (0, 1, 2)])
    assert effects(plan) == {"seed": ["diffusion", "samples", "scores"]}
    for role in ("first_stage", "latents", "reconstruction"):
        assert len({job.stages[role].key for job in plan.jobs}) == 1
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
