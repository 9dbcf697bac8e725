"""Building one stage: found in the store, or built, with tracking, provenance and a message."""

import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablatent.core.errors import StageError
from ablatent.core.files import read_word, write_atomic
from ablatent.core.progress import console, seconds
from ablatent.core.verbose import detail
from ablatent.stages import kept, ranks
from ablatent.stages.context import Context, prepared, set_up_torch
from ablatent.stages.provenance import record, stage_code
from ablatent.stages.stage import Stage
from ablatent.store.artifacts import Artifact, Store
from ablatent.store.work import Work
from ablatent.tracking.base import NoTracking, Tracking

BEGUN = "code"
"""The name of the file beside checkpoint and blocks with the digest of the code that began the build."""


@dataclass
class Builder:
    """Builds stages for one invocation (a sweep, or one spec).

    runtime: the node of the configuration; on_code_change: warn | rebuild | error; tracking: of the stages' runs; wait:
    for a stage that another process builds, else raise Busy.
    """

    store: Store
    runtime: Mapping[str, Any]
    invocation: str
    on_code_change: str = "warn"
    tracking: Tracking = field(default_factory=NoTracking)
    wait: bool = True

    def __call__(self, stage: Stage) -> tuple[Artifact, bool, float]:
        """(artifact, whether it was built now, seconds that this took); prints one line.

        Raises StageError where store.on_code_change=error meets an artifact of other code, and what the build raises.
        """
        start = time.monotonic()
        if (found := self.find(stage)) is not None:
            return found, False, time.monotonic() - start
        artifact, built = self.store.get_or_build(
            stage.key,
            lambda work: self._build(stage, work),
            lambda work: record(stage, self.runtime, (work.path / BEGUN).read_text()),
            self.invocation,
            self.wait,
        )
        print_there(stage, artifact.manifest.wall_seconds if built else None)
        _detail(artifact)
        return artifact, built, time.monotonic() - start

    def find(self, stage: Stage) -> Artifact | None:
        """The artifact of a stage that need not be built, with a printed line; None where it must be.

        Raises StageError where store.on_code_change=error meets an artifact of other code.
        """
        found = self.store.find(stage.key)
        if found is None or not self._still_good(found, stage):
            return None
        print_there(stage, None)
        _detail(found)
        return found

    def _build(self, stage: Stage, work: Work) -> None:
        self._begin(stage, work)
        set_up_torch(self.runtime)
        if stage.trained:
            kept.release()
        if "images" in stage.digests:
            prepared(self.store, stage)
        tracking = self.tracking if stage.trained else NoTracking()
        with tracking.stage_run(stage.key, stage.kind, stage.config, self.invocation, work.attempt) as run:
            context = Context(stage, self.store, work, self.runtime, run)
            if ranks.several(stage, self.runtime):
                ranks.build(context)
            else:
                importlib.import_module(stage.builder).build(context)

    def _code(self, stage: Stage) -> str:
        """The code digest of the stage, with those in the manifests of its inputs."""
        inputs = {role: self.store.find(key) for role, key in stage.inputs.items()}
        return stage_code(stage, {role: a.manifest.code or "" for role, a in inputs.items() if a is not None})

    def _begin(self, stage: Stage, work: Work) -> None:
        """Record the code that begins this build; apply store.on_code_change where other code left something."""
        mark, code = work.path / BEGUN, self._code(stage)
        begun = read_word(mark, r"\w+") or "unknown"  # where the mark is damaged
        if work.begun and begun != code:
            text = f"{stage.key.short}: other code than this began it"
            if self.on_code_change == "error":
                do = "Use store.on_code_change=rebuild to build it from the start."
                raise StageError(f"store.on_code_change=error: {text}. {do}")
            if self.on_code_change == "warn":
                console.print(f"  [yellow]{text}[/]; it goes on from there, and counts as built by that code.")
                write_atomic(mark, begun.encode())
                return
            console.print(f"  {text}; it starts anew.")
            work.start_anew()
        write_atomic(mark, code.encode())

    def _still_good(self, found: Artifact, stage: Stage) -> bool:
        """Whether an artifact may be used; store.on_code_change decides where other code built it."""
        code = self._code(stage)
        if found.manifest.code == code:
            return True
        if self.on_code_change == "rebuild":
            reason = f"{stage.key.short} was built by other code."
            self.store.set_aside(stage.key, reason, lambda there: there.manifest.code != code)
            return False
        text = (
            f"{stage.key.short} was built by other code than this, or from inputs that other code built "
            f"({found.manifest.git.get('commit', 'unknown')[:12]})."
        )
        if self.on_code_change == "error":
            raise StageError(f"store.on_code_change=error: {text} Use store.on_code_change=rebuild to build it again.")
        console.print(f"  [yellow]{text}[/] It is used as it is (store.on_code_change=warn).")
        return True


def _detail(artifact: Artifact) -> None:
    """Where an artifact is, what built it and from what, for -v."""
    manifest = artifact.manifest
    inputs = ", ".join(f"{role} {key.short}" for role, key in manifest.inputs.items()) or "no other stage"
    detail(f"{artifact.path}, of {inputs}; {manifest.created}, code {(manifest.code or 'unknown')[:12]}")


def print_there(stage: Stage, took: float | None) -> None:
    """The line of a stage that is in the store. took: seconds that its build took; None: it was found."""
    word = "found" if took is None else f"[green]built[/] in {seconds(took)}"
    console.print(f"  {stage.key.short:<24} {word}")
