"""The invariants of all options: declarations, types and ranges, and the way from YAML to plain values and back."""

import json

from ablatent.checks.option import Option
from ablatent.checks.suite import expect, invariant
from ablatent.core.declared import declared
from ablatent.core.fields import Modules, Supplied, wording
from ablatent.core.schema import FILLED, fields_of, leaves, places_of
from ablatent.core.validation import check_value
from ablatent.store.identity import NEUTRAL, canonical


@invariant
def stands_in_its_yaml(option: Option) -> None:
    """Every argument of the class stands in the YAML, every key there is one, each value in its range."""
    left_out = [name for name in _arguments(option) if name not in option.node]
    expect(not left_out, "every argument of the class in the YAML", f"none for {', '.join(left_out)}")
    check_value(option.key, option.node, option.field)


@invariant
def is_declared(option: Option) -> None:
    """Every value declares its type and its meaning, as Annotated[TYPE, RANGE, MEANING]."""
    for path, _, leaf in leaves(option.key, option.node, option.field):
        if not places_of(leaf.hint):
            expect(wording(leaf.hint) != "a value", f"a type of {path}", "none")
            expect(leaf.meaning, f"the meaning of {path}, as Annotated[TYPE, …, MEANING]", "none")


@invariant
def survives_json(option: Option) -> None:
    """Its node, and what of it enters the keys of the store, are the same after a round trip through JSON."""
    again = json.loads(json.dumps(option.node))
    expect(again == option.node, "a node of plain values", again)
    expect(canonical(again) == canonical(option.node), "the same key of a stage", "another one")


def _arguments(option: Option) -> list[str]:
    """The arguments that a configuration must give; none for a class of another package, or without a class."""
    if option.origin is None or any(isinstance(rule, Modules) for rule in option.field.metadata):
        return []
    given = {*declared(option.node, FILLED, ()), *declared(option.node, NEUTRAL, {})}
    given |= {name for rule in option.field.metadata if isinstance(rule, Supplied) for name in rule.names}
    return [name for name in fields_of(*option.origin) if name not in given]
