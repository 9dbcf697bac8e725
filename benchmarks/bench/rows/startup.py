"""Start-up: the help, a mistake, an import."""

from bench.commands import command
from bench.row import Bound, Case, Prepared, Row


def ours(case: Case) -> Prepared:
    """A command in a process of its own, which must end with the code that belongs to it."""
    arguments = [word.format(run=case.root / "run.py") for word in case.options["arguments"]]

    def call() -> None:
        command(case, case.scratch, arguments, case.options["code"])

    return Prepared(call)


ROW = Row(
    title="Start-up of the command line",
    sides={"ours": ours},
    cases={
        "help": {"arguments": ["{run}", "--help"], "code": 0},
        "mistake": {"arguments": ["{run}", "first_stage.ch_multt=[1,2]"], "code": 2},
        "import": {"arguments": ["-c", "from ablatent import load"], "code": 0},
    },
    bounds=(Bound(seconds=1.0, cases=("help", "mistake")),),
    note="Whole processes, from start to end.",
)
