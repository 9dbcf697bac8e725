"""From composed jobs to their verb. Free of torch: the modules of verbs import what they use."""

from collections.abc import Sequence

from ablatent.cli.command_fields import check_command, check_preset
from ablatent.cli.next_command import tell_next
from ablatent.cli.verb import Verb
from ablatent.core.collector import rare_collections
from ablatent.core.declared import declared
from ablatent.core.disk import full_disk_named
from ablatent.core.errors import AblatentError
from ablatent.core.instantiate import make
from ablatent.store.artifacts import Store
from ablatent.store.group import share_with_group
from ablatent.sweep.plan import Composed


def execute(jobs: Sequence[Composed], command: str, typed: Sequence[str]) -> int:
    """Run the verb that the jobs name by `do`, and name the next command; the exit code.

    command: for records; typed: its arguments. Raises AblatentError where no job could be composed.
    """
    config = next((job.config for job in jobs if job.refused is None or job.without_data), None)
    if config is None:
        raise AblatentError("\n".join(dict.fromkeys(str(job.refused) for job in jobs)))
    with rare_collections():
        check_preset(config.get("preset") or {})
        check_command(config, declared(config["verb"], "reads"))
    store = Store(config["store"]["path"])
    share_with_group(store.root)  # a report, too, which goes there
    verb: Verb = make(config["verb"], Verb)
    verb.typed = tuple(typed)
    if verb.writes:
        store.check_writable()
    with full_disk_named(store.root):
        code = verb(jobs, store, config, command)
    tell_next(verb.then(code), typed)
    return code
