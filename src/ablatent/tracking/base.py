"""Experiment trackers: one run per trained stage and one per sweep job, in W&B, TensorBoard, CSV files, or nowhere.

Every run is a context: an exception inside it ends the run as failed and goes on to the caller, and the run is closed
whatever happened, so that nothing of one job is left for the next. What the tracker itself raises goes no further than
`Tracking.shielded`: no training hangs on a tracker. Trackers are imported when a run is opened.
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, SupportsFloat

import numpy as np

from ablatent.core.errors import ConfigError
from ablatent.core.escape import for_console
from ablatent.core.files import write_json
from ablatent.core.progress import console
from ablatent.core.signals import before_end
from ablatent.tracking.overview import SweepOverview
from ablatent.tracking.run_links import job_run_id, run_id, runs_in
from ablatent.tracking.watching import tell

Scalar = str | int | float | bool | None


def flat_axes(axes: Mapping[str, Any]) -> dict[str, Scalar]:
    """``{"sampler.steps": 20}`` -> ``{"axes_sampler_steps": 20}``; lists become text: trackers cannot search them."""
    plain = (str, int, float, bool, type(None))
    return {
        "axes_" + name.replace(".", "_").replace("/", "_").replace("@", "_"): v
        if isinstance(v, plain)
        else json.dumps(v)
        for name, v in axes.items()
    }


@dataclass(frozen=True)
class TrackedJob:
    """What a tracker shows of a job. axes: those that tell it from others of its sweep; stages: role → key."""

    index: int
    name: str
    axes: Mapping[str, Any]
    config: Mapping[str, Any]
    stages: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What a tracker gets when a run starts. config: plain values, no OmegaConf; summary: values known by then."""

    id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


class Run(ABC):
    """One open run of a tracker."""

    backend = "none"

    def __init__(self, spec: RunSpec):
        self.spec = spec
        self.failure: str | None = None

    @abstractmethod
    def log(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        """Scalars at a training step; steps must not fall within one process."""

    @abstractmethod
    def images(self, step: int, name: str, image: np.ndarray) -> None:
        """One image, (H, W, C) uint8, at a step; `name` groups the images of a run."""

    def figure(self, name: str, path: Path) -> None:
        """A PNG file as an image, for runs without steps."""
        from PIL import Image

        self.images(0, name, np.asarray(Image.open(path).convert("RGB")))

    @abstractmethod
    def summary(self, values: Mapping[str, Any]) -> None:
        """Final values of the run: scores, axes, links."""

    def fail(self, message: str) -> None:
        """Mark the run as failed; it is closed so when its context ends."""
        self.failure = message

    def info(self) -> dict[str, Any]:
        """Where the run is: backend, id, dir (None where nothing is on disk) and url (None where not online)."""
        return {"backend": self.backend, "id": self.spec.id, "dir": None, "url": None}

    @abstractmethod
    def close(self) -> None:
        """End the run, as failed when `fail` was called. The tracking context calls it."""


class Tracking(ABC):
    """Opens runs. `dir` is the store's folder, or None where nothing is written."""

    backend = "none"

    def __init__(self, dir: Annotated[str | os.PathLike[str] | None, "folder of the runs"]):
        self.dir = None if dir is None else Path(dir).absolute()
        self.failed = False  # an error of this tracker was printed

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """What a tracker does. Any exception inside is printed, the first one only, and goes no further."""
        try:
            yield
        except Exception as error:
            if not self.failed:
                text = f"{self.backend}: {type(error).__name__}: {error}"
                console.print(
                    f"[yellow]tracking failed[/]: {for_console(text)}. All else goes on; further errors are not shown"
                )
            self.failed = True

    @property
    def folder(self) -> Path:
        """Where runs are written. Raises ConfigError where there is no folder."""
        if self.dir is None:
            raise ConfigError("tracking.dir", "a folder", None, "It is the store's folder by default.")
        return self.dir

    @abstractmethod
    def open(self, spec: RunSpec) -> Run:
        """Start a run. It takes the place of an earlier one of the same id: a resumed training logs again what it had
        logged up to its checkpoint."""

    def write_overview(self, overview: SweepOverview, folder: Path) -> str | None:
        """Write this tracker's overview of a sweep into a folder; a line that says where, None for trackers without."""
        return None

    def stage_run(
        self, key: str, kind: str, config: Mapping[str, Any], sweep: str, attempt: str
    ) -> AbstractContextManager[Run]:
        """The run of one trained stage. The attempt's token stays on resume and is new on a rebuild."""
        about = {"stage": {"key": key, "kind": kind, "attempt": attempt, "sweep": sweep}}
        spec = RunSpec(
            id=run_id(key, attempt),
            name=key,
            group=sweep,
            job_type=kind,
            config={**config, **about},
            tags=[kind],
            summary={"stage_key": key},
        )
        return self._context(spec, stage=key)

    def job_run(self, sweep: str, job: TrackedJob, command: str) -> AbstractContextManager[Run]:
        """The run of one job of a sweep. Axes become flat scalars, stages links."""
        axes = flat_axes(job.axes)
        links = {role: {"key": key, "run": self.stage_run_id(key)} for role, key in job.stages.items()}
        config = {
            **job.config,
            **axes,
            "sweep": sweep,
            "job": job.index,
            "command": command,
            "stage_links": links,
        }
        shown: dict[str, Any] = dict(axes)
        for role, link in links.items():
            shown[f"stages/{role}/key"] = link["key"]
            if link["run"] is not None:
                shown[f"stages/{role}/run"] = link["run"]
        name = job.name or "single run"
        spec = RunSpec(
            id=job_run_id(sweep, job.index, name),
            name=name,
            group=sweep,
            job_type="job",
            config=config,
            tags=["job"],
            summary=shown,
        )
        return self._context(spec, stage=None)

    @contextmanager
    def _context(self, spec: RunSpec, stage: str | None) -> Iterator[Run]:
        opened: Run = NoRun(spec)
        with self.shielded():
            opened = self.open(spec)
        run = ShieldedRun(opened, self)
        try:
            run.summary(spec.summary)
            if stage is not None:
                with self.shielded():
                    self._remember(stage, run)
            with before_end(lambda: _end(run)):
                yield run
        except BaseException as error:  # also an interrupt ends the run as failed
            run.fail(f"{type(error).__name__}: {error}")
            raise
        finally:
            run.close()

    def _link_file(self, key: str) -> Path | None:
        return None if self.dir is None else self.dir / "tracking" / "stages" / f"{key}.json"

    def _remember(self, key: str, run: Run) -> None:
        """A job that finds its stage built by an earlier command still links to that stage's run."""
        path = self._link_file(key)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {**runs_in(path), self.backend: run.info()})

    def stage_run_id(self, key: str) -> str | None:
        """The id of the newest run of a trained stage, None where this tracker has none."""
        path = self._link_file(key)
        found = {} if path is None else runs_in(path).get(self.backend, {})
        return found.get("id")


def _end(run: Run) -> None:
    """End a run as failed: a signal ends its process, and no context."""
    run.fail("ended by a signal")
    run.close()


class ShieldedRun(Run):
    """A run whose errors end in `tracking.shielded`; those who watch curves see what it logs."""

    def __init__(self, run: Run, tracking: Tracking):
        super().__init__(run.spec)
        self.run, self.tracking = run, tracking

    def log(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        with self.tracking.shielded():
            self.run.log(step, values)
        tell(self.spec.name, step, values)

    def images(self, step: int, name: str, image: np.ndarray) -> None:
        with self.tracking.shielded():
            self.run.images(step, name, image)

    def figure(self, name: str, path: Path) -> None:
        with self.tracking.shielded():
            self.run.figure(name, path)

    def summary(self, values: Mapping[str, Any]) -> None:
        with self.tracking.shielded():
            self.run.summary(values)

    def fail(self, message: str) -> None:
        self.run.fail(message)

    def info(self) -> dict[str, Any]:
        with self.tracking.shielded():
            return self.run.info()
        return super().info()

    def close(self) -> None:
        with self.tracking.shielded():
            self.run.close()


class NoRun(Run):
    """Takes everything and keeps nothing."""

    def log(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        pass

    def images(self, step: int, name: str, image: np.ndarray) -> None:
        pass

    def summary(self, values: Mapping[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


class NoTracking(Tracking):
    """tracking=none."""

    def __init__(self) -> None:
        super().__init__(None)

    def open(self, spec: RunSpec) -> Run:
        return NoRun(spec)
