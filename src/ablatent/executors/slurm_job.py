"""What a job of Slurm does: it builds one stage. Imports nothing slow before signals are taken up."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from ablatent.core.files import print_into
from ablatent.core.signals import end_on_signals


def build_there(spec: str, log: str) -> NoReturn:
    """Build the stage of a spec, and end this process: 0 for a stage that is in the store, or that another process
    builds; 1 for one that failed.

    spec: path of its JSON file; log: of the file that the output is added to.
    """
    end_on_signals()  # in the place of submitit's handlers: a signal ends the build, and the job's script goes on
    print_into(Path(log))
    from ablatent.sweep.worker import build_spec

    outcome = build_spec(Path(spec))
    sys.stdout.flush()
    os._exit(int(outcome.status == "failed"))  # without waiting for threads of others
