"""The plan of a command's jobs, with every job that cannot run refused."""

from collections.abc import Sequence

from ablatent.core.collector import rare_collections
from ablatent.core.escape import for_console
from ablatent.core.progress import console
from ablatent.inference.pretrained import Resolver
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.sweep.claims_planned import claim_lines
from ablatent.sweep.image_counts import image_lines
from ablatent.sweep.plan import Composed, Job, Plan, make_plan


@rare_collections()
def checked_plan(composed: Sequence[Composed], store: Store, everything: bool) -> Plan:
    """The plan of these jobs; each that cannot run is refused, with a printed reason.

    everything: check also where all stages are in the store already, which takes an import of torch.
    """
    resolver = Resolver(store)
    plan = make_plan(composed, resolver, resolver.check_stages)
    check_missing(plan, store, everything)
    for line in image_lines(plan):
        console.print(for_console(line))
    print_refused(plan)
    for line in claim_lines(plan):
        console.print(for_console(line))
    return plan


def check_missing(plan: Plan, store: Store, everything: bool = False) -> None:
    """Refuse every job of a plan that cannot run; `everything` as for `checked_plan`."""
    missing = missing_stages(plan, store)
    if everything or missing:
        from ablatent.sweep.check import check_plan

        check_plan(plan, lambda stage: stage.key not in missing)


def print_refused(plan: Plan) -> None:
    """A line for each reason why jobs are refused."""
    for reason, jobs in refusals(plan).items():
        named = f"job {jobs[0].index} {jobs[0].name}: " if len(plan.jobs) > 1 else ""
        if len(jobs) > 1:
            named = "all jobs: " if len(jobs) == len(plan.jobs) else f"{len(jobs)} jobs, the first {named}"
        console.print(f"[red]refused[/] {for_console(named + reason)}")


def refusals(plan: Plan) -> dict[str, list[Job]]:
    """Reason → the jobs that are refused for it, each reason once."""
    out: dict[str, list[Job]] = {}
    for job in plan.jobs:
        if job.refused is not None:
            out.setdefault(job.refused, []).append(job)
    return out


def missing_stages(plan: Plan, store: Store) -> set[Key]:
    """The keys of a plan's stages that the store does not have."""
    return {stage.key for stage in plan.stages.values() if not store.folder(stage.key).exists()}
