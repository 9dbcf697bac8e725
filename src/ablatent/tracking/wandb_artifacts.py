"""Stages as W&B artifacts, each the output of the run that built it, which took its inputs."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ablatent.tracking.publication import PublishedArtifact, PublishedRun
from ablatent.tracking.wandb_runs import NAME_LENGTH, TAG_LENGTH, cut, quiet_settings

if TYPE_CHECKING:
    import wandb

RETRIES, UPLOAD_SECONDS = 4, 3600
"""How often a call is tried again, and how long an artifact may take."""


def send_artifact(
    item: PublishedArtifact, before: Mapping[str, "wandb.Artifact"], project: str, entity: str
) -> "wandb.Artifact":
    """Log an artifact as the output of its run, with those of `before` (key → artifact) that it was built from.

    What the server has already, by the digests of all files, becomes no new version. Raises what wandb raises.
    """
    import wandb

    artifact = wandb.Artifact(item.name, type=item.type, metadata=dict(item.metadata))
    for file in item.files:
        artifact.add_file(str(file.path), name=file.name, policy="immutable", skip_cache=True)
    with tempfile.TemporaryDirectory() as folder:
        run = resumed(item.run, project, entity, Path(folder))
        try:
            for key in item.inputs:
                if key in before:
                    run.use_artifact(before[key])
            run.log_artifact(artifact, aliases=["latest"])
            artifact.wait(timeout=UPLOAD_SECONDS)
        except BaseException:
            run.finish(exit_code=1)
            raise
        run.finish()
    return artifact


def resumed(run: PublishedRun, project: str, entity: str, folder: Path) -> "wandb.Run":
    """The run on the server, open again; a new one where the server has none. folder: of W&B's own files."""
    import wandb

    return wandb.init(
        mode="online",
        project=project,
        entity=entity,
        dir=str(folder),
        id=run.id,
        name=cut(run.name, NAME_LENGTH),
        group=cut(run.group, NAME_LENGTH),
        job_type=cut(run.job_type, TAG_LENGTH),
        resume="allow",
        reinit="create_new",
        settings=quiet_settings(
            x_save_requirements=False, x_graphql_retry_max=RETRIES, x_file_transfer_retry_max=RETRIES
        ),
    )
