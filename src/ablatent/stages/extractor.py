"""The extractor of a stage that takes features, with the stages that it reads itself."""

from ablatent.core.declared import declared
from ablatent.core.instantiate import make
from ablatent.evaluation.scores import Extractor
from ablatent.stages.context import Context
from ablatent.stages.kept import keep
from ablatent.stages.stored import stored_config


def extractor_of(ctx: Context) -> Extractor:
    """The extractor of a stage's configuration: the same object for the same node and artifacts, see `kept`.

    Raises StageError where a stage that it reads is not in the store.
    """
    node = ctx.config["extractor"]
    artifacts = [ctx.input(role) for role in declared(node, "needs_stages")]

    def made() -> Extractor:
        extractor = make(node, Extractor)
        for artifact in artifacts:
            extractor.read(artifact, stored_config(artifact))
        return extractor

    files = [
        [artifact.key, {name: file.sha256 for name, file in artifact.manifest.files.items()}] for artifact in artifacts
    ]
    return keep([Extractor.__name__, node, *files], made)
