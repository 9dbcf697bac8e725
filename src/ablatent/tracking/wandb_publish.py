"""A sweep in W&B: its runs, a workspace, a report and artifacts, as they are on this disk and once they are sent."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablatent.core.errors import AblatentError
from ablatent.core.files import read_json, write_json
from ablatent.core.progress import counted, track
from ablatent.tracking.publication import Publication, PublishedArtifact, PublishedRun
from ablatent.tracking.wandb_artifacts import send_artifact
from ablatent.tracking.wandb_report import TITLE_LENGTH, report_of
from ablatent.tracking.wandb_runs import INIT_SECONDS, cut, end_service, server
from ablatent.tracking.wandb_sync import LocalRun, local_runs, upload
from ablatent.tracking.workspace import view_id, workspace_of

if TYPE_CHECKING:
    import wandb

SPECIFICATION = "publish.json"
SETTLE_SECONDS = 30.0
"""How long a server may take until it shows all of the runs that it has taken."""


class PublishError(AblatentError):
    """A server that cannot be reached, or refuses: nothing on this disk is lost, and the same command goes on."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What the server has: addresses of the workspace and the report, runs that were not there, keys of artifacts."""

    workspace: str
    report: str
    absent: Sequence[str]
    artifacts: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class WandbPublisher:
    """One sweep for one project. entity: None for that of the key; roots: folders below which wandb/ may be; folder: of
    the specification."""

    publication: Publication
    project: str
    entity: str | None
    roots: Sequence[Path]
    folder: Path

    @property
    def path(self) -> Path:
        """The file of the specification."""
        return self.folder / SPECIFICATION

    @property
    def title(self) -> str:
        """Of the report: the same for every sweep of an experiment, whose report is written anew."""
        return cut(self.publication.title, TITLE_LENGTH)

    @cached_property
    def runs(self) -> list[LocalRun]:
        """Those of the sweep on this disk."""
        return local_runs(self.roots, [run.id for run in self.publication.runs])

    @cached_property
    def earlier(self) -> Mapping[str, Any]:
        """What was sent before, and where to, by the specification; empty where nothing was, or it is damaged."""
        try:
            sent = read_json(self.path)["sent"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return sent if isinstance(sent, dict) else {}

    def pending(self, entity: str | None) -> list[LocalRun]:
        """Offline runs that the server lacks: that were never uploaded, or to another project or server."""
        moved = self.moved(entity)
        return [run for run in self.runs if not run.online and (moved or not run.synced)]

    def moved(self, entity: str | None) -> bool:
        """Whether the sweep was sent before, to another place. entity: None where it is not known: any."""
        before = {name: self.earlier.get(name) for name in ("server", "entity", "project")}
        now = {"server": server(), "entity": entity or before["entity"], "project": self.project}
        return bool(self.earlier) and before != now

    def write(self, sent: Mapping[str, Any] | None = None) -> None:
        """Write the specification. sent: what the server has now; None: as before. Needs no network."""
        view = workspace_of(self.publication.overview, self.project, self.entity or "")._to_model()
        report = report_of(self.publication, self.title, self.project, "")._to_model()
        plain: dict[str, Any] = {"mode": "json", "by_alias": True, "exclude_none": True}
        self.folder.mkdir(parents=True, exist_ok=True)
        value = {
            "sweep": self.publication.overview.sweep,
            "server": server(),
            "entity": self.entity,
            "project": self.project,
            "runs": [self._run(run) for run in self.publication.runs],
            "workspace": {
                "name": f"nw-{view_id(self.publication.overview.sweep)}-v",
                "displayName": view.display_name,
                "spec": view.spec.model_dump(**plain),
            },
            "report": {
                "displayName": self.title,
                "description": report.description,
                "spec": report.spec.model_dump(**plain),
            },
            "artifacts": [_described(item) for item in self.publication.artifacts],
            "sent": dict(self.earlier if sent is None else sent) or None,
        }
        write_json(self.path, value)

    def _run(self, run: PublishedRun) -> dict[str, Any]:
        here = [local for local in self.runs if local.id == run.id]
        waiting = {local.folder for local in self.pending(self.entity)}
        return {
            "id": run.id,
            "name": run.name,
            "job_type": run.job_type,
            "config": dict(run.config),
            "folders": [
                {"path": str(local.folder), "bytes": local.size, "to_sync": local.folder in waiting} for local in here
            ],
        }

    def send(self) -> Sent:
        """Send everything, what is there already not twice. Raises PublishError, with what is kept and how to go on."""
        import wandb

        wandb.setup(wandb.Settings(silent=True, quiet=True))
        with self._named("cannot be used"):
            api = wandb.Api(timeout=int(INIT_SECONDS))
            entity = self.entity or api.default_entity
        if not entity:
            raise PublishError(f"the key for {server()} has no entity of its own: name one by entity=NAME")
        pending = self.pending(entity)
        if pending:
            reason = upload(pending, self.project, entity, self.moved(entity))
            self._note(entity)
            if reason is not None:
                raise self._error(f"did not take all runs: {reason}")
        with self._named("did not take values of runs"):
            absent = self._annotate(api, entity)
        with self._named("did not take the workspace"):
            workspace = self._send_workspace(entity)
        with self._named("did not take the report"):
            report = self._send_report(api, entity)
        with self._named("did not take the artifacts"):
            artifacts = self._send_artifacts(entity)
        self._note(entity, workspace=workspace, report=report, artifacts=artifacts)
        return Sent(workspace=workspace, report=report, absent=absent, artifacts=artifacts)

    def _note(self, entity: str, **more: Any) -> None:
        place = {"server": server(), "entity": entity, "project": self.project}
        before = {} if self.moved(entity) else self.earlier
        kept = {name: before[name] for name in ("workspace", "report", "artifacts") if name in before}
        self.write({**kept, **place, **more, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")})

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """A block of calls of the server, whatever they raise."""
        try:
            yield
        except AblatentError:
            raise
        except Exception as error:
            end_service()
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise self._error(f"{what}: {reason}") from error

    def _error(self, text: str) -> PublishError:
        kept = f"Nothing is lost: the runs stay on this disk, {self.path} has the specification"
        return PublishError(f"the W&B server {server()} {text}. {kept}, and the same command goes on.")

    def _annotate(self, api: "wandb.Api", entity: str) -> list[str]:
        """Give the runs the values by which the workspace shows them; the ids of those that the server lacks."""
        absent, end = [], time.monotonic() + SETTLE_SECONDS
        with track("values of runs", len(self.publication.runs), "runs") as bar:
            for run in self.publication.runs:
                if not _annotated(api, f"{entity}/{self.project}/{run.id}", run.config, end):
                    absent.append(run.id)
                bar.advance()
        return absent

    def _send_workspace(self, entity: str) -> str:
        import wandb_workspaces.workspaces as ws

        workspace = workspace_of(self.publication.overview, self.project, entity)
        workspace._internal_name = f"nw-{view_id(self.publication.overview.sweep)}-v"
        try:
            workspace._internal_id = ws.Workspace.from_url(workspace.url)._internal_id
        except ValueError as error:
            if "not found" not in str(error):
                raise
        return str(workspace.save().url)

    def _send_report(self, api: "wandb.Api", entity: str) -> str:
        report = report_of(self.publication, self.title, self.project, entity)
        there = [view for view in api.reports(f"{entity}/{self.project}") if view.display_name == self.title]
        if there:
            report.id = there[0].id
        report.save()
        return str(report.url)

    def _send_artifacts(self, entity: str) -> list[str]:
        sent: dict[str, wandb.Artifact] = {}
        with track("artifacts", len(self.publication.artifacts), "artifacts") as bar:
            for item in self.publication.artifacts:
                sent[item.key] = send_artifact(item, sent, self.project, entity)
                bar.advance()
        return list(sent)


def _annotated(api: "wandb.Api", path: str, config: Mapping[str, Any], end: float) -> bool:
    """Add to the configuration of a run; False where the server has none, or not yet all of it at the time `end`."""
    from wandb.errors import CommError

    try:
        run = api.run(path)
    except (ValueError, CommError) as error:
        if "could not find" in str(error).lower():
            return False
        raise
    # An update writes the summary back as it was read: one that is on its way would be lost. All our runs have one.
    while not any(not name.startswith("_") for name in run.summary_metrics):
        if time.monotonic() > end:
            return False
        time.sleep(1)
        run.load(force=True)
    new = {name: value for name, value in config.items() if run.config.get(name) != value}
    if new:
        run.config.update(new)
        run.update()
    return True


def _described(item: PublishedArtifact) -> dict[str, Any]:
    return {
        "name": item.name,
        "type": item.type,
        "run": item.run.id,
        "inputs": list(item.inputs),
        "metadata": dict(item.metadata),
        "files": [{"name": f.name, "path": str(f.path), "size": f.size, "sha256": f.sha256} for f in item.files],
    }


def summary_lines(publisher: WandbPublisher) -> list[str]:
    """What is on this disk to be sent, as lines for a person."""
    publication, pending = publisher.publication, publisher.pending(publisher.entity)
    here = {run.id for run in publisher.runs}
    size = sum(run.size for run in pending) / 1e6
    synced = len({run.folder for run in publisher.runs} - {run.folder for run in pending})
    absent = len({run.id for run in publication.runs} - here)
    lines = [
        f"W&B: {server()}, project {publisher.entity or '(of the key)'}/{publisher.project}",
        f"runs: {counted(len(pending), 'run')} to sync ({size:.1f} MB), {synced} synced, {absent} not on this disk",
        *(f"  {run.folder}" for run in pending[:20]),
        *([f"  and {len(pending) - 20} more"] if len(pending) > 20 else []),
        f"workspace: sweep {publication.overview.sweep}",
        f"report: {publisher.title} ({counted(len(publication.claims), 'verdict')})",
    ]
    for item in publication.artifacts:
        lines.append(
            f"artifact: {item.name}, {item.type}, {counted(len(item.files), 'file')}, {item.size / 1e6:.1f} MB"
        )
    return lines
