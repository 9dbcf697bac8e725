"""Which claims of an experiment a plan tests, and by how many trainings. Free of torch and scipy."""

from collections.abc import Iterator

from ablatent.claims.claim import claims_of
from ablatent.claims.observations import FEWEST, Observation, arms_of, cells_of, deciding_seeds
from ablatent.core.progress import counted
from ablatent.core.values import axis_value
from ablatent.stages.replicates import unit_of
from ablatent.sweep.plan import Job, Plan


def claim_lines(plan: Plan) -> Iterator[str]:
    """A line on the claims that the sweep does not test, and one on those with fewer than three trainings an arm."""
    untested, few = list[str](), list[str]()
    for name, claim in claims_of({"claims": plan.claims}).items():
        jobs = [_observed(job, claim.unit) for job in plan.jobs if job.refused is None]
        nobody, counts = "", list[int]()
        for contrast in claim.contrasts.values():
            arms = arms_of(contrast, jobs)
            nobody = nobody or arms.nobody
            seeds = deciding_seeds(arms, contrast)
            counts += [len(cells_of(arm, contrast, seeds).replicates) for arm in (arms.of, arms.against)]
        if nobody:
            untested.append(f"{name} ({nobody})")
        elif min(counts) < FEWEST:
            few.append(f"{name} ({min(counts)})")
    if untested:
        yield f"{counted(len(untested), 'claim')} not tested: {', '.join(untested)}"
    if few:
        yield (
            f"{counted(len(few), 'claim')} with fewer than {FEWEST} trainings an arm: {', '.join(few)}; "
            "more by seed=0,1,2, of first stages by first_stage.seed=0,1,2"
        )


def _observed(job: Job, unit: str | None) -> Observation:
    trainings = {stage.kind: str(stage.key) for stage in job.stages.values() if stage.trained}
    return Observation(
        name=job.name,
        axes={axis: axis_value(value) for axis, value in job.axes.items()},
        typed=dict(text.lstrip("+").split("=", 1) for text in job.overrides if "=" in text),
        config=job.config,
        trainings=trainings,
        unit=unit_of(trainings, unit),
    )
