"""Planning of 8 and of 1,000 jobs."""

from bench.commands import TINY, run
from bench.row import Bound, Case, Prepared, Row

EIGHT = ("first_stage=kl,vq", "schedule=linear,cosine", "sampler=ddim,ddpm")
THOUSAND = (
    *("first_stage=kl,vq", "schedule=linear,cosine", "sampler=ddim,ddpm,heun,unipc,plms", "parameterization=eps,v"),
    f"seed={','.join(map(str, range(25)))}",
)


def ours(case: Case) -> Prepared:
    """`do=plan` of a sweep on an empty store: composed, counted, all objects constructed."""

    def call() -> None:
        run(case, case.scratch / "sweep", "-m", *case.options["axes"], "do=plan", *case.options["of"])

    return Prepared(call)


ROW = Row(
    title="Planning of 8 jobs (2 first stages × 2 schedules × 2 samplers), or of 1,000, as a whole command",
    sides={"ours": ours},
    cases={
        "tiny": {"axes": EIGHT, "of": TINY},
        "demo": {"axes": EIGHT, "of": ("preset=demo", "tracking=none", "runtime=cpu")},
        "1000": {"axes": THOUSAND, "of": TINY},
    },
    bounds=(Bound(seconds=4.0, cases=("tiny", "demo")),),
    seconds=20,
    rounds=(3, 10),
    full=frozenset({"1000"}),
    note="Nothing is in the store; what earlier plans remember of files is there. 1000: 40 choices, 25 seeds.",
)
