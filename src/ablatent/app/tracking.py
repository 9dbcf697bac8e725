"""Experiment trackers: one run per trained stage and one per sweep job, in W&B, TensorBoard, CSV files, or nowhere.

Every run is a context: an exception inside it ends the run as failed and goes on to the caller, and the run is closed
whatever happened, so that nothing of one job is left for the next. Trackers are imported when a run is opened.
"""

import csv
import hashlib
import json
import netrc
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsFloat
from urllib.parse import urlsplit

import numpy as np

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.files import read_json, write_atomic, write_json

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


def run_id(*parts: object) -> str:
    """16 hex digits that depend on all parts: the same stage and attempt, or sweep and job, give the same run."""
    text = json.dumps([str(p) for p in parts])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class RunSpec:
    """What a tracker is told when a run starts. config is plain (no OmegaConf); summary holds values known at once."""

    id: str
    name: str
    group: str
    job_type: str
    config: dict[str, Any]
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
        """One picture, (H, W, C) uint8."""

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

    def __init__(self, dir: str | os.PathLike[str] | None):
        self.dir = None if dir is None else Path(dir).absolute()

    @abstractmethod
    def open(self, spec: RunSpec) -> Run:
        """Start a run; a run of the same id is resumed."""

    def stage_run(
        self, key: str, kind: str, config: Mapping[str, Any], sweep: str, attempt: str
    ) -> AbstractContextManager[Run]:
        """The run of one trained stage. The attempt's token stays on resume and is new on a rebuild."""
        about = {"stage": {"key": key, "kind": kind, "attempt": attempt, "sweep": sweep}}
        spec = RunSpec(run_id(key, attempt), key, sweep, kind, {**config, **about}, [kind], {"stage_key": key})
        return self._context(spec, stage=key)

    def job_run(self, sweep: str, job: Mapping[str, Any], command: str) -> AbstractContextManager[Run]:
        """The run of one sweep job: an entry of plan.json. Axes become flat scalars, stages links."""
        axes = flat_axes(job["axes"])
        links = {role: {"key": key, "run": self._stage_run_id(key)} for role, key in job["stages"].items()}
        config = {
            **job["config"],
            **axes,
            "sweep": sweep,
            "job": job["index"],
            "command": command,
            "stage_links": links,
        }
        shown: dict[str, Any] = dict(axes)
        for role, link in links.items():
            shown[f"stages/{role}/key"] = link["key"]
            if link["run"] is not None:
                shown[f"stages/{role}/run"] = link["run"]
        name = job["name"] or "single run"
        spec = RunSpec(run_id(sweep, job["index"], name), name, sweep, "job", config, ["job"], shown)
        return self._context(spec, stage=None)

    @contextmanager
    def _context(self, spec: RunSpec, stage: str | None) -> Iterator[Run]:
        run = self.open(spec)
        try:
            run.summary(spec.summary)
            if stage is not None:
                self._remember(stage, run)
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
            known = read_json(path) if path.exists() else {}
            write_json(path, {**known, self.backend: run.info()})

    def _stage_run_id(self, key: str) -> str | None:
        path = self._link_file(key)
        known = read_json(path) if path is not None and path.exists() else {}
        return known.get(self.backend, {}).get("id")


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


class CsvRun(Run):
    """A folder: run.json (config, state, summary), metrics.csv (step,name,value), images/NAME-STEP.png."""

    backend = "csv"

    def __init__(self, spec: RunSpec, folder: Path):
        super().__init__(spec)
        self.folder, self.values = folder, dict[str, Any]()
        self.metrics = folder / "metrics.csv"
        folder.mkdir(parents=True, exist_ok=True)
        self.resumed = self.metrics.exists()
        if not self.resumed:
            self.metrics.write_text("step,name,value\n")
        self._save("running")

    def _save(self, state: str) -> None:
        about = {k: getattr(self.spec, k) for k in ("id", "name", "group", "job_type", "config")}
        text = json.dumps(
            {**about, "state": state, "error": self.failure, "summary": self.values}, indent=2, default=str
        )
        write_atomic(self.folder / "run.json", text.encode())

    def log(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        if self.resumed:  # steps after the last checkpoint are trained again: their old rows go
            with self.metrics.open(newline="") as f:
                kept = [row for row in csv.reader(f) if row and (row[0] == "step" or int(row[0]) < step)]
            with self.metrics.open("w", newline="") as f:
                csv.writer(f).writerows(kept)
            self.resumed = False
        with self.metrics.open("a", newline="") as f:
            csv.writer(f).writerows([step, name, float(value)] for name, value in values.items())

    def images(self, step: int, name: str, image: np.ndarray) -> None:
        from PIL import Image

        path = self.folder / "images" / f"{name.replace('/', '_')}-{step:07d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)

    def summary(self, values: Mapping[str, Any]) -> None:
        self.values.update(values)

    def info(self) -> dict[str, Any]:
        return {**super().info(), "dir": str(self.folder)}

    def close(self) -> None:
        self._save("failed" if self.failure else "finished")


class CsvTracking(Tracking):
    """tracking=csv: folders under DIR/tracking/csv."""

    backend = "csv"

    def open(self, spec: RunSpec) -> Run:
        if self.dir is None:
            raise ConfigError("tracking.dir", "a folder", None, "It is the store's folder by default.")
        return CsvRun(spec, self.dir / "tracking" / "csv" / f"{spec.job_type}-{spec.id}")


class TensorboardRun(Run):
    """Event files of one run; its config and its end are texts."""

    backend = "tensorboard"

    def __init__(self, spec: RunSpec, folder: Path):
        from torch.utils.tensorboard import SummaryWriter

        super().__init__(spec)
        self.folder = folder
        self.writer = SummaryWriter(log_dir=str(folder))
        self._text("config", spec.config)

    def _text(self, name: str, value: Any) -> None:
        text = json.dumps(value, indent=2, default=str).replace("\n", "\n    ")
        self.writer.add_text(name, f"    {text}")

    def log(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, float(value), step)

    def images(self, step: int, name: str, image: np.ndarray) -> None:
        self.writer.add_image(name, image, step, dataformats="HWC")

    def summary(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self.writer.add_scalar(f"summary/{name}", float(value), 0)
            else:
                self._text(f"summary/{name}", value)

    def info(self) -> dict[str, Any]:
        return {**super().info(), "dir": str(self.folder)}

    def close(self) -> None:
        self._text("state", {"state": "failed" if self.failure else "finished", "error": self.failure})
        self.writer.close()


class TensorboardTracking(Tracking):
    """tracking=tensorboard: events under DIR/tracking/tensorboard."""

    backend = "tensorboard"

    def open(self, spec: RunSpec) -> Run:
        if self.dir is None:
            raise ConfigError("tracking.dir", "a folder", None, "It is the store's folder by default.")
        return TensorboardRun(spec, self.dir / "tracking" / "tensorboard" / f"{spec.job_type}-{spec.id}")


class WandbRun(Run):
    """A W&B run of its own: `reinit="create_new"` never hands out, nor ends, a run that is open already."""

    backend = "wandb"

    def __init__(self, spec: RunSpec, mode: str, project: str, entity: str | None, folder: Path):
        import wandb

        super().__init__(spec)
        self.mode = mode
        folder.mkdir(parents=True, exist_ok=True)
        # x_disable_stats: samples of the machine's load would differ from run to run of the same stage
        settings = wandb.Settings(
            silent=True, quiet=True, console="off", save_code=False, disable_git=True, x_disable_stats=True
        )
        try:
            self.run = wandb.init(
                mode="online" if mode == "online" else "offline",
                project=project,
                entity=entity,
                dir=str(folder),
                id=spec.id,
                name=spec.name,
                group=spec.group,
                job_type=spec.job_type,
                tags=[t[:64] for t in spec.tags],
                config=spec.config,
                resume="allow" if mode == "online" else None,  # offline, the same id makes a second folder
                reinit="create_new",
                settings=settings,
            )
        except wandb.Error as error:
            do = "Use tracking.mode=offline and `wandb sync` later, or tracking=none."
            raise ConfigError("tracking.mode", "a W&B server that takes the run", f"{mode}: {error}", do) from error

    def log(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        self.run.log({name: float(value) for name, value in values.items()}, step=step)

    def images(self, step: int, name: str, image: np.ndarray) -> None:
        import wandb

        self.run.log({name: wandb.Image(image)}, step=step)

    def summary(self, values: Mapping[str, Any]) -> None:
        self.run.summary.update(dict(values))

    def info(self) -> dict[str, Any]:
        url = self.run.url if self.mode == "online" else None
        return {**super().info(), "dir": str(Path(self.run.dir).parent), "url": url}

    def close(self) -> None:
        if self.failure:
            self.run.summary.update({"error": self.failure[:2000]})
        self.run.finish(exit_code=1 if self.failure else 0)


def wandb_has_key() -> bool:
    """Whether a key for the W&B host is in WANDB_API_KEY or in the netrc file. Nothing is asked of the network."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    named = os.environ.get("NETRC")
    for path in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        if path.is_file():
            try:
                found = netrc.netrc(path).authenticators(host)
            except netrc.NetrcParseError as error:
                do = "Mend the file, or set tracking.mode=offline."
                raise ConfigError("tracking.mode", "a readable netrc file", f"{path}: {error}", do) from error
            return found is not None and bool(found[2])
    return False


class WandbTracking(Tracking):
    """tracking=wandb. mode auto is online when there is a key for the host and WANDB_MODE does not say otherwise."""

    backend = "wandb"
    modes = ("auto", "online", "offline")

    def __init__(self, mode: str, project: str, entity: str | None, dir: str | os.PathLike[str]):
        if mode not in self.modes:
            raise ConfigError("tracking.mode", f"one of {', '.join(self.modes)}", mode, did_you_mean(mode, self.modes))
        if not project or not isinstance(project, str):
            raise ConfigError("tracking.project", "the name of a W&B project", project)
        super().__init__(dir)
        self.mode, self.project, self.entity = mode, project, entity

    def resolved_mode(self) -> str:
        """online or offline. A person's WANDB_MODE=offline or disabled keeps `auto` off the network."""
        if self.mode != "auto":
            return self.mode
        kept_off = os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled")
        return "online" if wandb_has_key() and not kept_off else "offline"

    def open(self, spec: RunSpec) -> Run:
        if self.dir is None:
            raise ConfigError("tracking.dir", "a folder", None, "It is the store's folder by default.")
        return WandbRun(spec, self.resolved_mode(), self.project, self.entity, self.dir)
