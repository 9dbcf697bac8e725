"""do=publish: a sweep of the store into W&B, or the specification of it where nothing can or shall be sent."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablatent.core.errors import ConfigError
from ablatent.core.escape import for_console
from ablatent.core.progress import console, counted
from ablatent.report.load import load_sweep
from ablatent.report.model import Sweep
from ablatent.report.publication import publication_of
from ablatent.tracking.wandb_publish import WandbPublisher, summary_lines
from ablatent.tracking.wandb_runs import WandbTracking, check_name, server


@dataclass(frozen=True, kw_only=True)
class PublishChoice:
    """What is published, and where to. project, entity: None for those of the sweep's runs; otherwise: the project of
    a sweep that has none; artifacts: checkpoints, samples; dry: send nothing."""

    project: str | None
    entity: str | None
    otherwise: str | None
    artifacts: Collection[str]
    dry: bool


def publish(store_root: Path, sweep_id: str, choice: PublishChoice) -> int:
    """Write publish.json beside the sweep's report and, with a key and without `dry`, send all of it; the exit code.

    Raises ConfigError for an unknown sweep and for one whose project is not known, DataError for an artifact that is
    damaged, PublishError where the server does not take it.
    """
    sweep = load_sweep(store_root, sweep_id)
    project, entity = _place(sweep, choice)
    tracking = WandbTracking("auto", project, entity, store_root)
    publisher = WandbPublisher(
        publication=publication_of(sweep, tracking.stage_run_id, choice.artifacts, sweep.folder / "report"),
        project=project,
        entity=entity,
        roots=_roots(sweep, store_root),
        folder=sweep.folder / "report",
    )
    publisher.write()
    for line in summary_lines(publisher):
        console.print(for_console(line), soft_wrap=True)
    console.print(for_console(f"specification: {publisher.path}"), soft_wrap=True)
    if reason := _kept_here(tracking, choice.dry):
        console.print(for_console(f"Nothing was sent: {reason}"), soft_wrap=True)
        return 0
    sent = publisher.send()
    if sent.absent:
        few = f"{counted(len(sent.absent), 'run')} of the sweep: not on the server, or not yet"
        console.print(f"[yellow]{few}[/]. Those of other trackers are never; for others publish again", soft_wrap=True)
    console.print(for_console(f"workspace: {sent.workspace}\nreport: {sent.report}"), soft_wrap=True)
    return 0


def _place(sweep: Sweep, choice: PublishChoice) -> tuple[str, str | None]:
    """Project and entity: as typed, else those of the sweep's runs, where they were in W&B."""
    nodes = [job.config["tracking"] for job in sweep.jobs if job.config.get("tracking")]
    recorded: Mapping[str, Any] = next((node for node in nodes if node.get("project")), {})
    project = choice.project or recorded.get("project") or choice.otherwise
    entity = choice.entity or recorded.get("entity")
    if project is None:
        do = "The sweep was not run with tracking=wandb: name a project by project=NAME."
        raise ConfigError("project", "a project of W&B", None, do)
    check_name("project", project)
    if entity is not None:
        check_name("entity", entity)
    return project, entity


def _roots(sweep: Sweep, store_root: Path) -> list[Path]:
    """Folders below which runs may lie: the store as it is reached now, and the folder of the runs as it was typed."""
    nodes = [job.config.get("tracking") or {} for job in sweep.jobs]
    typed = [Path(str(node["dir"])) for node in nodes if node.get("dir")]
    return list(dict.fromkeys(path.resolve() for path in [store_root, *typed]))


def _kept_here(tracking: WandbTracking, dry: bool) -> str | None:
    """Why nothing is sent, and what to do about it; None where it is."""
    if dry:
        return "dry=true. Without it, the same command sends this."
    if not tracking.has_key():
        return (
            f"there is no key for {server()}. Get one at {tracking.key_page}, type export WANDB_API_KEY=KEY or "
            "wandb login, and the same command sends this."
        )
    if tracking.resolved_mode() == "offline":
        return "WANDB_MODE keeps W&B offline. Without it, the same command sends this."
    return None
