"""Values of the configuration: every leaf declares type, range and meaning, and what it excludes is refused by name."""

from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Le, Len, Lt

from ablatent.cli.reference import page
from ablatent.core.fields import Betas, Count, Matches, OneOf, Positive, Seed, fits, wording
from ablatent.core.schema import leaves, places_of
from ablatent.stages.job_fields import JobCheck, job_fields
from commands import ROOT
from composing import composed
from mistakes import compositions, mistakes


@pytest.mark.parametrize(
    "hint, right, wrong, words",
    [
        (Positive, [1, 0.5], [0, True, None], "a number above 0"),
        (Count, [1, 7], [0, -1, True, 1.0, "1", None, float("nan")], "an integer of at least 1"),
        (Seed, [0, 2**63 - 1], [-1, 2**63], "an integer of at least 0"),
        (Annotated[float, Gt(0)], [1, 0.5], [0, -1, True, float("inf"), "x"], "a number above 0"),
        (Annotated[float, Ge(0), Lt(1)], [0, 0.99], [1, -0.1], "a number from 0 to below 1"),
        (Annotated[float, Gt(0), Le(1)], [1, 0.1], [0, 1.1], "a number above 0, up to 1"),
        (Betas, [[0.9, 0.99]], [[0.9], [2, 3], "ab", [0.9, None]], "a list of 2 numbers from 0 to below 1"),
        (Annotated[list[Count], Len(1)], [[1]], [[], [0]], "a list of at least 1 integers of at least 1"),
        (Literal["a", "b"] | None, ["a", None], ["c", 1], "a or b or null"),
        (Literal[1, 2], [1], [True, 3, 1.0], "1 or 2"),
        (Annotated[str, OneOf({"x": 1, "y": 2})], ["x"], ["z", 1], "x or y"),
        (Annotated[str, Matches("[0-9]+", "digits")], ["12"], ["1a", ""], "digits"),
        (bool, [True], [1, "maybe", None], "true or false"),
    ],
)
def test_types_and_ranges(hint, right, wrong, words):
    assert all(fits(value, hint) for value in right)
    assert not [value for value in wrong if fits(value, hint)]
    assert wording(hint) == words


@pytest.mark.parametrize("overrides", compositions(), ids=" ".join)
def test_every_value_of_every_composition_is_declared_with_its_meaning(overrides):
    config = composed(*overrides)
    JobCheck()(config)
    undeclared = [
        path
        for key, field in job_fields().items()
        for path, _, leaf in leaves(key, config[key], field)
        if not places_of(leaf.hint) and (not leaf.meaning or not wording(leaf.hint))
    ]
    assert not undeclared


def test_every_mistake_is_refused_by_an_error_that_names_its_key():
    made = list(mistakes())
    assert len(made) > 1500
    wrong = [(m, error) for m in made if (error := m.error()) is None or not error.key.startswith(m.named)]
    assert not wrong, "\n".join(f"{m.key} {m.kind} {m.value!r}: {error}" for m, error in wrong[:40])


def test_the_page_of_the_configuration_is_as_the_declarations_say():
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == page(), "write it again: python -m ablatent.cli.reference > docs/configuration.md"
