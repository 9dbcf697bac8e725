"""Planning of 8 jobs."""

from bench.commands import TINY, run
from bench.row import Bound, Case, Prepared, Row


def ours(case: Case) -> Prepared:
    """`do=plan` of 2 × 2 × 2 jobs on an empty store: composed, counted, all objects constructed."""
    axes = ("-m", "first_stage=kl,vq", "schedule=linear,cosine", "sampler=ddim,ddpm", "do=plan")

    def call() -> None:
        run(case, case.scratch / "sweep", *axes, *case.options["of"])

    return Prepared(call)


ROW = Row(
    title="Planning of 8 jobs (2 first stages × 2 schedules × 2 samplers), as a whole command",
    sides={"ours": ours},
    cases={"tiny": {"of": TINY}, "demo": {"of": ("preset=demo", "tracking=none", "runtime=cpu")}},
    bounds=(Bound(seconds=4.0),),
    seconds=20,
    rounds=(3, 10),
    note="Nothing is in the store; what earlier plans remember of files is there.",
)
