"""A job on a found model: new samples and their scores, or nothing new at all."""

from itertools import count

from bench.commands import SHORT, TINY, run
from bench.row import At, Bound, Case, Prepared, Row

BEFORE = "f195bf7"


def ours(case: Case) -> Prepared:
    """Trains the tiny model; each turn is then a command that samples it with a new seed, or finds all."""
    folder = case.scratch / "sweep"
    run(case, folder, *TINY, *SHORT)
    seeds = count(1)

    def call() -> None:
        new = (f"samples.seed={next(seeds)}",) if case.options["new"] else ()
        run(case, folder, *TINY, *SHORT, *new)

    return Prepared(call)


ROW = Row(
    title=f"A job on a found model in the tiny preset, one thread, against {BEFORE}",
    sides={"ours": ours, BEFORE: At(BEFORE, ours)},
    cases={"new samples and scores": {"new": True}, "all found": {"new": False}},
    bounds=(Bound(BEFORE, time=0.5, cases=("new samples and scores",)),),
    seconds=30,
    rounds=(2, 5),
    warmup=0,
    threads=1,
    note="Whole commands, from start to the written report: 64 samples of 32 px in 5 steps, evaluation=quick.",
)
