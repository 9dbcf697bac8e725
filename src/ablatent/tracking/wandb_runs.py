"""Runs in Weights & Biases, online or offline."""

import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, SupportsFloat
from urllib.parse import urlsplit

import numpy as np

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.fields import OneOf, Text
from ablatent.tracking.base import Run, RunSpec, SweepOverview, Tracking
from ablatent.tracking.workspace import write_workspace


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
    """Whether a key for the W&B host is in WANDB_API_KEY or in the netrc file. Makes no network call."""
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

    def __init__(
        self,
        mode: Annotated[str, OneOf(("auto", "online", "offline")), "auto: online where there is a key"],
        project: Annotated[Text, "of the runs"],
        entity: Annotated[Text | None, "user or team; null: that of the key"],
        dir: Annotated[str | os.PathLike[str], "of the runs"],
    ):
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
        return WandbRun(spec, self.resolved_mode(), self.project, self.entity, self.folder)

    def write_overview(self, overview: SweepOverview, folder: Path) -> str | None:
        path = write_workspace(overview, folder, self.project, self.entity)
        place = "not written, wandb-workspaces is not installed" if path is None else str(path)
        return f"W&B workspace: {place}"
