"""The report of a finished sweep, written again."""

from bench.commands import SHORT, TINY, command, run
from bench.row import At, Case, Prepared, Row

BEFORE = "f195bf7"


def ours(case: Case) -> Prepared:
    """`do=report` of a sweep of two jobs."""
    folder = case.scratch / "sweep"
    run(case, folder, "-m", "sampler=ddim,ddpm", *TINY, *SHORT)

    def call() -> None:
        command(case, folder, [str(case.root / "run.py"), "do=report"])  # which takes no threads

    return Prepared(call)


ROW = Row(
    title=f"Report of a sweep of two tiny jobs (do=report), against {BEFORE}",
    sides={"ours": ours, BEFORE: At(BEFORE, ours)},
    seconds=25,
    rounds=(2, 5),
    warmup=0,
    note="Whole commands, from start to the written HTML, Markdown, CSV and figures.",
)
