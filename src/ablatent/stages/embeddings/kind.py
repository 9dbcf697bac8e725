"""embeddings: captions through a frozen text encoder, once."""

from ablatent.core.declared import declared
from ablatent.core.errors import ConfigError
from ablatent.core.targets import TARGET
from ablatent.stages.kind_base import JobGraph, StageKind
from ablatent.stages.options import conditioner_parts, task_declares
from ablatent.stages.stage import Stage


class EmbeddingsKind(StageKind):
    """Decided by the options that the conditioner's class declares as `cached`, and the annotations."""

    name = "embeddings"

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        if not task_declares(job.config, "uses_model"):
            return {}
        parts = conditioner_parts(job.config["conditioner"])
        found = [{n: part[n] for n in (TARGET, *options)} for part in parts if (options := declared(part, "cached"))]
        if any(other != found[0] for other in found[1:]):
            got = "; ".join(", ".join(f"{k}={v}" for k, v in node.items() if not isinstance(v, dict)) for node in found)
            raise ConfigError("conditioner.parts", "at most one frozen text encoder", got)
        captions = {"annotations": job.content.annotations}
        return {self.name: self.stage(found[0], {}, captions, job.data)} if found else {}
