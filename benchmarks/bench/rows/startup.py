"""Start-up: the help, a mistake, an import."""

import subprocess
import sys

from bench.row import Bound, Case, Prepared, Row


def ours(case: Case) -> Prepared:
    """A command in a process of its own, which must end with the code that belongs to it."""
    command = [sys.executable, *(a.format(run=case.root / "run.py") for a in case.options["arguments"])]

    def call() -> None:
        done = subprocess.run(command, cwd=case.scratch, capture_output=True, text=True, check=False)
        if done.returncode != case.options["code"]:
            raise RuntimeError(f"{command}: code {done.returncode}\n{done.stdout}{done.stderr}")

    return Prepared(call)


ROW = Row(
    title="Start-up of the command line",
    sides={"ours": ours},
    cases={
        "help": {"arguments": ["{run}", "--help"], "code": 0},
        "mistake": {"arguments": ["{run}", "first_stage.ch_multt=[1,2]"], "code": 2},
        "import": {"arguments": ["-c", "import ablatent"], "code": 0},
    },
    bounds=(Bound(seconds=1.0, cases=("help", "mistake")),),
    note="Whole processes, from start to end. Memory is that of the process and those below it.",
)
