"""Runs in Weights & Biases, online or offline."""

import hashlib
import netrc
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, SupportsFloat
from urllib.parse import urlsplit

import numpy as np

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.escape import for_console
from ablatent.core.fields import Matches, OneOf
from ablatent.core.progress import console
from ablatent.tracking.base import Run, RunSpec, Tracking
from ablatent.tracking.overview import SweepOverview
from ablatent.tracking.workspace import write_workspace

if TYPE_CHECKING:
    import wandb

INIT_SECONDS, FINISH_SECONDS = 20.0, 60.0
"""How long a server may take to accept a run, and to take the rest of it at its end."""
NAME_LENGTH, TAG_LENGTH = 128, 64
"""W&B's limits, in characters: of names, groups, projects; of tags and job types."""
Name = Annotated[
    str,
    Matches(
        r"(?!\s)[^/\\#?%:\x00-\x1f]{1,128}(?<!\s)", "1 to 128 characters without / \\ # ? % : and control characters"
    ),
]
"""What W&B takes as the name of a project or an entity."""


def cut(text: str, limit: int) -> str:
    """The text in at most `limit` characters; 8 hex digits at the end stand for what is cut off."""
    if len(text) <= limit:
        return text
    return f"{text[: limit - 9]}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


def quiet_settings(**more: Any) -> "wandb.Settings":
    """Settings of runs: nothing is printed, no code, console or load of the machine is kept, no wait has no end."""
    import wandb

    # x_disable_stats: samples of the machine's load would differ from run to run of the same stage
    return wandb.Settings(
        silent=True,
        quiet=True,
        console="off",
        save_code=False,
        disable_git=True,
        x_disable_stats=True,
        init_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
        **more,
    )


class WandbRun(Run):
    """A W&B run of its own: `reinit="create_new"` never hands out, nor ends, a run that is open already.

    mode: online or offline; folder: below which wandb/ is; unsent: called with a reason and the folder of the run
    where the server did not take all of it. Raises what `wandb.init` raises, after INIT_SECONDS at the latest.
    """

    backend = "wandb"

    def __init__(
        self,
        spec: RunSpec,
        mode: str,
        project: str,
        entity: str | None,
        folder: Path,
        unsent: Callable[[str, Path], None],
    ):
        import wandb

        super().__init__(spec)
        self.mode, self.unsent = mode, unsent
        folder.mkdir(parents=True, exist_ok=True)
        # Listing the installed packages is most of opening a run. Trainings have the list; a job links to them.
        settings = quiet_settings(x_save_requirements=spec.job_type != "job")
        self.run = wandb.init(
            mode="online" if mode == "online" else "offline",
            project=project,
            entity=entity,
            dir=str(folder),
            id=spec.id,
            name=cut(spec.name, NAME_LENGTH),
            group=cut(spec.group, NAME_LENGTH),
            job_type=cut(spec.job_type, TAG_LENGTH),
            tags=[cut(tag, TAG_LENGTH) for tag in spec.tags],
            config=spec.config,
            resume="allow" if mode == "online" else None,  # offline, the same id makes a second folder
            reinit="create_new",
            settings=settings,
        )
        self.folder = Path(self.run.dir).parent
        # W&B adds -1, -2, ... to the name where a run with the same id began in the same second.
        for pattern in (f"*run-*-{spec.id}", f"*run-*-{spec.id}-[0-9]*"):
            for earlier in self.folder.parent.glob(pattern):
                if earlier != self.folder:  # of a process that was killed: all of it is logged again
                    shutil.rmtree(earlier, ignore_errors=True)

    def log(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        if step >= self.run.step:  # the server of a resumed run has the steps before
            self.run.log({name: float(value) for name, value in values.items()}, step=step)

    def images(self, step: int, name: str, image: np.ndarray) -> None:
        import wandb

        if step >= self.run.step:
            self.run.log({name: wandb.Image(image)}, step=step)

    def figure(self, name: str, path: Path) -> None:
        import wandb

        self.run.log({name: wandb.Image(str(path))}, step=0)  # the file as it is: encoding it again takes longer

    def summary(self, values: Mapping[str, Any]) -> None:
        self.run.summary.update(dict(values))

    def info(self) -> dict[str, Any]:
        url = self.run.url if self.mode == "online" else None
        return {**super().info(), "dir": str(self.folder), "url": url}

    def close(self) -> None:
        if self.failure:
            self.run.summary.update({"error": self.failure[:2000]})
        try:
            self.run.finish(exit_code=1 if self.failure else 0)
        except TimeoutError:
            self.unsent(f"it did not take the end of a run within {FINISH_SECONDS:.0f} s", self.folder)


def server() -> str:
    """The address of the W&B server."""
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def wandb_has_key() -> bool:
    """Whether a key for the W&B host is in WANDB_API_KEY or in the netrc file. Makes no network call.

    A netrc file that cannot be read has none.
    """
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(server()).netloc
    named = os.environ.get("NETRC")
    for path in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        if path.is_file():
            try:
                found = netrc.netrc(path).authenticators(host)
            except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as error:
                console.print(
                    f"[yellow]tracking[/]: no key is read from {for_console(f'{path}: {error}')}", soft_wrap=True
                )
                return False
            return found is not None and bool(found[2])
    return False


class WandbTracking(Tracking):
    """tracking=wandb. mode auto is online when there is a key for the host and WANDB_MODE does not say otherwise.

    Where the server does not answer, or refuses the first run, all further runs are offline. mode: auto, online or
    offline; project: 1 to 128 characters without / \\ # ? % : and control characters; entity: the same, or None for
    the key's own.
    """

    backend = "wandb"
    modes = ("auto", "online", "offline")

    def __init__(
        self,
        mode: Annotated[str, OneOf(("auto", "online", "offline")), "auto: online where there is a key"],
        project: Annotated[Name, "of the runs"],
        entity: Annotated[Name | None, "user or team; null: that of the key"],
        dir: Annotated[str | os.PathLike[str], "of the runs"],
    ):
        if mode not in self.modes:
            raise ConfigError("tracking.mode", f"one of {', '.join(self.modes)}", mode, did_you_mean(mode, self.modes))
        check_name("tracking.project", project)
        if entity is not None:
            check_name("tracking.entity", entity)
        super().__init__(dir)
        self.mode, self.project, self.entity = mode, project, entity
        self.online: bool | None = None  # not known before the first run
        self.offline_runs = 0

    def resolved_mode(self) -> str:
        """online or offline. A person's WANDB_MODE=offline or disabled keeps `auto` off the network."""
        if self.mode != "auto":
            return self.mode
        kept_off = os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled")
        return "online" if not kept_off and wandb_has_key() else "offline"

    @staticmethod
    def has_key() -> bool:
        """Whether there is a key for the server."""
        return wandb_has_key()

    @property
    def key_page(self) -> str:
        """The address where the server shows a person's key."""
        return f"{server().replace('//api.', '//').rstrip('/')}/authorize"

    @property
    def sync_command(self) -> str:
        """The command that uploads the offline runs, from any folder."""
        return f"wandb sync {shlex.quote(str(self.folder / 'wandb'))}/offline-run-*"

    def open(self, spec: RunSpec) -> Run:
        if self.online is None:
            self.online = self.resolved_mode() == "online"
            if self.online and not wandb_has_key():  # wandb would ask for one
                self._go_offline("there is no key for it", self.sync_command)
        if self.online:
            try:
                return self._run(spec, "online")
            except Exception as error:  # whatever the server does, the run is kept here
                end_service()
                self._go_offline((str(error).strip() or type(error).__name__).splitlines()[0], self.sync_command)
        self.offline_runs += 1
        return self._run(spec, "offline")

    def _run(self, spec: RunSpec, mode: str) -> Run:
        return WandbRun(spec, mode, self.project, self.entity, self.folder, self._unsent)

    def _unsent(self, reason: str, folder: Path) -> None:
        self._go_offline(reason, f"wandb sync --include-online {shlex.quote(str(folder))}")

    def _go_offline(self, reason: str, command: str) -> None:
        self.online = False
        text = for_console(f"the W&B server {server()} cannot be used: {reason}")
        console.print(f"[yellow]tracking[/]: {text}\n  Runs are kept on this disk. Later: {for_console(command)}")

    def write_overview(self, overview: SweepOverview, folder: Path) -> str | None:
        path = write_workspace(overview, folder, self.project, self.entity)
        place = "not written, wandb-workspaces is not installed" if path is None else str(path)
        upload = f"\nW&B runs are offline; to upload them: {self.sync_command}" if self.offline_runs else ""
        return f"W&B workspace: {place}{upload}"


def end_service() -> None:
    """End W&B's process in the background: it holds the id of a run that could not be opened."""
    import wandb

    wandb.teardown(exit_code=1)


def check_name(key: str, name: str) -> None:
    """Raise ConfigError, which names the key, for what W&B does not take as the name of a project or an entity."""
    rule = Name.__metadata__[0]  # type: ignore[attr-defined]  # typing does not show it
    if not re.fullmatch(rule.pattern, name):
        raise ConfigError(key, rule.form, name)
