"""The verb that sends a sweep to the server of a tracker."""

from collections.abc import Sequence

from ablatent.cli.verb import Config, Verb
from ablatent.cli.verb_keys import PublishKeys
from ablatent.store.artifacts import Store
from ablatent.store.sweeps import newest_sweep
from ablatent.sweep.plan import Composed


class PublishVerb(Verb):
    """Sync the runs of a sweep to W&B, with a workspace, a report and artifacts, or write what would be sent."""

    reads = ("store",)
    writes = True
    keys = PublishKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.report.publish import PublishChoice, publish

        typed = config["sweep"]
        sweep = newest_sweep(store.root) if typed is None else str(typed)
        choice = PublishChoice(
            project=config["project"],
            entity=config["entity"],
            otherwise=config["tracking"].get("project"),
            artifacts=config["artifacts"],
            dry=config["dry"],
        )
        return publish(store.root, sweep, choice)
