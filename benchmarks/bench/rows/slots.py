"""Worker processes against one process: sweeps of trainings in two slots, and of many small stages in one."""

from collections.abc import Sequence
from itertools import count

from bench.commands import SHORT, TINY, run
from bench.row import Bound, Case, Maker, Prepared, Row

TRAININGS = ("-m", "diffusion.seed=0,1,2,3", "training.steps=600", *TINY)
SMALL = ("-m", f"samples.seed={','.join(map(str, range(1, 101)))}", *TINY, *SHORT)


def slots(count: int) -> list[str]:
    """The executor with so many."""
    return ["executor=process", f"executor.slots={count}"]


def side(trainings: Sequence[str], small: Sequence[str]) -> Maker:
    """A maker of commands, each with new stages. trainings: the executor for the case of that name; small: for the
    other."""

    def maker(case: Case) -> Prepared:
        folder, numbers = case.scratch / "sweep", count(1)
        of_trainings = case.name == "trainings"
        run(case, folder, *TINY, *(() if of_trainings else SHORT), "do=run")

        def call() -> None:
            if of_trainings:
                run(case, folder, *TRAININGS, f"optimizer.lr={1e-4 + 1e-6 * next(numbers)}", *trainings)
            else:
                run(case, folder, *SMALL, f"sampler.eta={0.001 * next(numbers)}", *small)

        return Prepared(call)

    return maker


ROW = Row(
    title="Worker processes: four trainings in two slots against one; 200 small stages in one slot against inline",
    sides={
        "ours": side(slots(2), small=slots(1)),
        "the other": side(slots(1), small=["executor=inline"]),
    },
    cases={"trainings": {}, "200 small stages": {}},
    bounds=(
        Bound("the other", time=1 / 1.7, cases=("trainings",)),
        Bound("the other", time=1.15, cases=("200 small stages",)),
    ),
    seconds=60,
    rounds=(1, 3),
    warmup=0,
    threads=1,
    note="Whole commands on a found first stage, one thread each, with reports. Small: 100 samples and their scores.",
)
