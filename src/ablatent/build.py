"""``python -m ablatent.build SPEC.json``: build one stage anywhere.

SPEC.json: {"stage": an entry of `stages` in plan.json, "store": PATH, "runtime": {…}, "invocation": ID}. Its
inputs must be in the store. Exit code 0: the stage is in the store; 1: it failed, with a message.
"""

import sys
from pathlib import Path

from ablatent.core.errors import AblatentError
from ablatent.core.escape import for_console
from ablatent.core.progress import console
from ablatent.core.signals import end_on_signals


def main(path: str) -> int:
    """Build the stage that the JSON file at `path` describes; 0 where it is in the store afterwards, else 1."""
    from ablatent.stages.stage import Stage
    from ablatent.store.artifacts import Store
    from ablatent.store.records import BuildRecord
    from ablatent.sweep.builder import Builder

    try:
        spec = BuildRecord.read(Path(path))
        Builder(Store(spec.store), spec.runtime, spec.invocation)(Stage.of(spec.stage.to_json()))
    except AblatentError as e:
        console.print(f"[red]error[/] {for_console(e)}")
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m ablatent.build SPEC.json")
    end_on_signals()  # before the imports, which take seconds
    sys.exit(main(sys.argv[1]))
