"""What a plan says of claims: which it does not test, and which by too few trainings."""

from ablatent.sweep.claims_planned import claim_lines
from ablatent.sweep.plan import Composed, make_plan
from claim_nodes import claim
from composing import composed

CLAIMS = {
    "stages": claim(of={"first_stage": "vq"}, against={"first_stage": "kl"}),
    "steps": claim(of={"sampler.steps": 5}, against={"sampler.steps": 50}),
}


def lines(*jobs: str) -> list[str]:
    """Of a sweep of these jobs, each with both claims."""
    plan = make_plan(
        [
            Composed(job.split(), composed("data=digits", "preset=tiny", *job.split()) | {"claims": CLAIMS})
            for job in jobs
        ]
    )
    assert [job.refused for job in plan.jobs] == [None] * len(jobs)
    return list(claim_lines(plan))


def test_a_sweep_names_what_it_does_not_test():
    few, *none = lines(*(f"first_stage={f} sampler.steps={s}" for f in ("kl", "vq") for s in (5, 50)))
    assert not none and few.startswith("2 claims with fewer than 3 trainings an arm: stages (1), steps (1)")
    untested, few = lines("first_stage=kl sampler.steps=7", "first_stage=vq sampler.steps=7")
    assert untested == "1 claim not tested: steps (no job of the sweep has sampler.steps=5 or sampler.steps=50)"
    assert few.startswith("1 claim with fewer than 3 trainings an arm: stages (1)")


def test_trainings_are_counted_and_sets_of_samples_are_not():
    jobs = [f"first_stage={f} samples.seed={s}" for f in ("kl", "vq") for s in range(3)]
    assert "stages (1)" in lines(*jobs)[-1]
    jobs = [f"first_stage={f} seed={s}" for f in ("kl", "vq") for s in range(3)]
    assert len(lines(*jobs)) == 1 and "steps" in lines(*jobs)[0] and "stages" not in lines(*jobs)[0]


def test_a_sweep_without_claims_says_nothing():
    assert list(claim_lines(make_plan([Composed([], composed("data=digits"))]))) == []
