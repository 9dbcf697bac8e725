"""From one job's configuration to its stages, by the table of kinds. Free of torch."""

from collections.abc import Mapping
from typing import Any

from ablatent.stages.all_kinds import kinds_of
from ablatent.stages.kind_base import Fingerprints, JobGraph
from ablatent.stages.stage import Stage


def stages_of(config: Mapping[str, Any], fingerprints: Fingerprints) -> dict[str, Stage]:
    """role → stage of one job, each after what it reads. Raises ConfigError or DataError for data that is not there."""
    job = JobGraph(config, fingerprints.of(dict(config["data"])))
    for kind in kinds_of(config):
        job.stages.update(kind.stages(job))
    return job.stages
