"""A search from the command line: its space from Hydra's overrides, its jobs through Hydra's composition."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig

from ablatent.cli.checked_plan import checked_plan
from ablatent.cli.composer import Composer
from ablatent.cli.main import command_line, composed
from ablatent.cli.next_command import one_of_several
from ablatent.cli.override_targets import typed_value
from ablatent.core.errors import AblatentError, ConfigError
from ablatent.core.escape import for_console
from ablatent.core.instantiate import make
from ablatent.core.progress import console
from ablatent.core.schema import origin_of_class
from ablatent.core.validation import check_node
from ablatent.search.base import Jobs, Search
from ablatent.search.space import Choice, Dimension, Interval, Space, Steps
from ablatent.store.artifacts import Store
from ablatent.sweep.plan import Composed


def search(
    node: Mapping[str, Any],
    arguments: Sequence[str],
    loader: Any,
    master: DictConfig,
    launch: Callable[[list[list[str]]], int],
    here: bool,
) -> int:
    """Run a search; the exit code. What is wrong becomes one printed message and code 2.

    node: the search with its keys; arguments: overrides, space and fixed ones; loader, master: Hydra's, of the command;
    launch, here: see `Jobs`.
    """
    try:
        check_node("hydra.sweeper", node, [origin_of_class(Search)])
        space = space_of(OverridesParser.create(config_loader=loader).parse_overrides(list(arguments)))
        composer = Composer(loader, master)

        def compose(overrides: list[str]) -> Composed:
            return composed(overrides, composer(overrides))

        def launched(jobs: list[list[str]]) -> int:
            try:
                with one_of_several():
                    return launch(jobs)
            except HydraException as e:  # of another launcher than this package's: the jobs are refused
                return _failed(e)

        def refusal(overrides: list[str]) -> str | None:
            try:
                job = compose(overrides)
                store = Store((job.config or dict(master))["store"]["path"])
                return checked_plan([job], store, everything=False).jobs[0].refused
            except (AblatentError, HydraException) as e:
                return str(e)

        return make(node, Search)(space, Jobs(compose, launched, refusal, command_line(), here))
    except (AblatentError, HydraException) as e:
        return _failed(e)


def _failed(error: Exception) -> int:
    console.print(f"[red]error[/] {for_console(error)}", soft_wrap=True)
    return 2


def space_of(overrides: Sequence[Override]) -> Space:
    """The space of these overrides; of two with one key, the last holds. Raises ConfigError for one without values."""
    last = {override.get_key_element(): override for override in overrides}
    dimensions = [dimension_of(override) for override in last.values() if override.is_sweep_override()]
    fixed = [str(override.input_line) for override in last.values() if not override.is_sweep_override()]
    return Space(tuple(dimensions), tuple(fixed))


def dimension_of(override: Override) -> Dimension:
    """The values of a swept override. Raises ConfigError for less than two."""
    key, typed, sweep = override.get_key_element(), typed_value(override), override.value()
    if isinstance(sweep, IntervalSweep):
        if sweep.start is None or sweep.end is None:
            raise ConfigError(key, "an interval with both ends", typed)
        return Interval(key, typed, sweep.start, sweep.end, "log" in sweep.tags)
    if override.is_range_sweep():
        numbers: Any = sorted(override.sweep_iterator())
        return Steps(key, typed, tuple(numbers))
    values = list(override.sweep_string_iterator())
    # a shuffled choice has another order each time, and the same search has the same space
    return Choice(key, typed, tuple(sorted(values) if getattr(sweep, "shuffle", False) else values))
