"""A sweep whose stages are all in the store."""

from bench.commands import SHORT, TINY, run
from bench.row import Bound, Case, Prepared, Row

AXES = ("first_stage=kl,vq", "schedule=linear,cosine", "sampler=ddim,ddpm,dpm_solver", "sampler.steps=4,5,6,8")


def ours(case: Case) -> Prepared:
    """The sweep of 48 jobs, which has been run once."""
    folder = case.scratch / "sweep"
    run(case, folder, "-m", *AXES, *TINY, *SHORT)

    def call() -> None:
        run(case, folder, "-m", *AXES, *TINY, *SHORT)

    return Prepared(call)


ROW = Row(
    title="A sweep of 48 jobs that finds every stage, report included",
    sides={"ours": ours},
    bounds=(Bound(seconds=12.0),),
    seconds=30,
    rounds=(2, 5),
    threads=1,
    note="The whole command: composed, planned, every object verified, every figure found that was drawn before.",
)
