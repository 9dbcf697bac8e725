"""do=check: the invariants of a group, checked on one of its options."""

from collections.abc import Sequence
from dataclasses import replace

from rich import box
from rich.table import Table

from ablatent.cli.option_rows import PARTS, node_of, place_of_group, split_option
from ablatent.cli.raw_overrides import unquoted, value_of
from ablatent.cli.verb import Config, Verb
from ablatent.cli.verb_keys import CheckKeys
from ablatent.core.errors import AblatentError, ConfigError
from ablatent.core.escape import for_console
from ablatent.core.options import option_files
from ablatent.core.progress import console, counted, track
from ablatent.core.schema import Field, places_of
from ablatent.core.targets import TARGET, class_of
from ablatent.core.validation import check_class
from ablatent.core.values import get
from ablatent.store.artifacts import Store
from ablatent.sweep.plan import Composed

ENTRY = "checked"
"""The name of an option that is checked in a mapping of options, such as evaluation.metrics."""
SMALL = "tiny"
"""The preset whose sizes a check has, unless another is typed."""


def choosing(option: str, typed: Sequence[str]) -> list[str]:
    """The overrides that put an option, typed as GROUP/NAME, into the job that is checked.

    typed: the other overrides. Raises ConfigError for an option that does not exist, or that no job has.
    """
    group, name = split_option(option)
    place_of_group(group)
    keys = {word.partition("=")[0].lstrip("+") for word in typed}
    small = [] if "preset" in keys else [f"preset={SMALL}"]
    if group not in PARTS:
        return [*small, f"{group}={name}"]
    place = PARTS[group]
    return [*small, f"{'+' if 'NAME' in place else ''}{group}@{place.replace('NAME', ENTRY)}={name}"]


class CheckVerb(Verb):
    """Check every invariant of an option's group on it; print what holds, and of the rest what was expected."""

    keys = CheckKeys
    holds: tuple[str, str] | None = None
    """The group and name of an option that passed."""

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.checks.option import Option
        from ablatent.checks.suite import findings, invariants_of
        from ablatent.stages.check_helpers import one_thread

        group, name = split_option(config["option"])
        if group == "data" and jobs[0].without_data:
            raise AblatentError(str(jobs[0].refused))
        place, field = place_of_group(group)
        key = place.replace("NAME", ENTRY)
        raw = node_of(option_files(group)[name])
        node = get(config, key)
        _check_class(key, node, field)
        option = Option(group, name, key, node, replace(field, name=key.rpartition(".")[2]), config, raw)
        total = len(invariants_of(group))
        found = []
        with track(f"{group}/{name}", total, "invariants") as bar, one_thread():
            for finding in findings(option):
                found.append(finding)
                bar.advance()
        table = Table("invariant", "", "what holds, or what was expected", box=box.SIMPLE)
        for finding in found:
            text = finding.broken or finding.skipped or finding.invariant.statement
            result = "[red]FAIL[/]" if finding.broken else "[yellow]skip[/]" if finding.skipped else "[green]pass[/]"
            table.add_row(finding.invariant.name, result, for_console(text))
        console.print(table)
        broken = sum(finding.broken is not None for finding in found)
        skipped = sum(finding.skipped is not None for finding in found)
        left = f", {skipped} not looked at" if skipped else ""
        held = total - broken - skipped
        console.print(for_console(f"{group}/{name}: {held} of {counted(total, 'invariant')} hold{left}"))
        self.holds = None if broken else (group, name)
        return 1 if broken else 0

    def then(self, code: int) -> Sequence[str]:
        if self.holds is None:
            return ()
        group, name = self.holds
        rest = [word for word in self.typed if word.partition("=")[0] not in ("do", "option", "-v")]
        return [*rest, *choosing(f"{group}/{name}", ["preset"]), "do=plan"]


def _check_class(key: str, node: Config, field: Field) -> None:
    """Raise ConfigError for a class without which no invariant can be looked at: a single message in place of many."""
    if places := places_of(field.hint):
        check_class(key, node, places, field.metadata)
        if TARGET in node:
            class_of(node)


def with_option(overrides: Sequence[str]) -> list[str]:
    """The overrides of do=check: the option that is checked, and then those that were typed."""
    option = value_of(overrides, "option")
    if option is None:
        raise ConfigError("option", "GROUP/NAME, an option of a config group", None, "For example option=sampler/ddim.")
    return [*choosing(unquoted(option), overrides), *overrides]
