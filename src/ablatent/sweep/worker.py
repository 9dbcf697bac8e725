"""One build anywhere: its outcome and heartbeat in files, so that whoever wanted it need not be its parent process."""

import time
import traceback
from pathlib import Path

from ablatent.core.errors import AblatentError
from ablatent.core.escape import for_console
from ablatent.core.files import write_json
from ablatent.core.instantiate import make
from ablatent.core.progress import console
from ablatent.stages.stage import Stage
from ablatent.store.artifacts import Store
from ablatent.store.locks import Busy
from ablatent.store.records import BuildRecord, JobFailure, StageOutcome
from ablatent.store.work import Superseded
from ablatent.sweep.builder import Builder
from ablatent.sweep.journal import beating
from ablatent.tracking.base import NoTracking, Tracking


def build_spec(path: Path) -> StageOutcome:
    """Build the stage that a JSON file (`BuildRecord`) describes; the outcome, also in the file that it names.

    Raises DataError for a file that is none.
    """
    spec = BuildRecord.read(path)
    stage = Stage.of(spec.stage.to_json())
    with beating(None if spec.beat is None else Path(spec.beat)):
        outcome = _built(spec, stage)
    if spec.end is not None:
        write_json(Path(spec.end), outcome.to_json())
    return outcome


def _built(spec: BuildRecord, stage: Stage) -> StageOutcome:
    try:
        tracking = NoTracking() if spec.tracking is None else make(spec.tracking, Tracking)
        builder = Builder(
            Store(spec.store), spec.runtime, spec.invocation, spec.on_code_change, tracking, wait=spec.end is None
        )
        return build_one(stage, builder)
    except AblatentError as error:  # of the store, or of the tracker's options
        return failed(stage, error)


def build_one(stage: Stage, builder: Builder) -> StageOutcome:
    """Build a stage whose inputs are there; an error becomes an outcome, and one printed line."""
    start = time.monotonic()
    try:
        _, built, spent = builder(stage)
        return StageOutcome("built" if built else "found", spent)
    except (Busy, Superseded):
        return StageOutcome("busy")
    except Exception as error:
        return failed(stage, error, time.monotonic() - start)


def failed(stage: Stage, error: Exception, spent: float = 0.0) -> StageOutcome:
    """The outcome of a stage whose build raised an error, which is printed in one line. spent: seconds until then."""
    message = str(error) if isinstance(error, AblatentError) else f"{type(error).__name__}: {error}"
    print_failed(stage, message)
    trace = "".join(traceback.format_exception(error))
    return StageOutcome("failed", spent, JobFailure(stage.key, stage.kind, message, trace))


def print_failed(stage: Stage, message: str) -> None:
    """The line of a stage that failed."""
    console.print(f"  {stage.key.short:<24} [red]failed[/]: {for_console(message)}")
