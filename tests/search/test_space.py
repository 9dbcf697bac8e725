"""Hydra's own grammar of values as the space of a search; what is no space is refused by its key."""

import math

import numpy as np
import pytest
from search_cases import space

from ablatent.core.errors import ConfigError
from ablatent.search.space import END, Choice, Interval, Steps


def only(override: str):
    (dimension,) = space(override).dimensions
    return dimension


@pytest.mark.parametrize(
    "override, values",
    [
        ("first_stage=kl,vq", ["kl", "vq"]),
        ("first_stage=choice(kl,vq,identity)", ["kl", "vq", "identity"]),
        ("guidance.interval=choice([0,1],[0.2,0.8])", ["[0,1]", "[0.2,0.8]"]),
        ("a=choice(true,'x y')", ["True", "x\\ y"]),
        ("sampler.steps=range(5,25,5)", ["5", "10", "15", "20"]),
        ("sampler.steps=range(20,4,-5)", ["5", "10", "15", "20"]),
        ("a=range(0.25,1,0.25)", ["0.25", "0.5", "0.75"]),
    ],
)
def test_each_value_has_the_same_share(override, values):
    dimension = only(override)
    n = len(values)
    assert [dimension.at((k + 0.5) / n) for k in range(n)] == values
    assert (dimension.at(0.0), dimension.at(END)) == (values[0], values[-1])


def test_a_shuffled_choice_is_the_same_space_each_time():
    assert all(only("a=shuffle(choice(c,a,b,d,e,f,g))").values == tuple("abcdefg") for _ in range(5))


def test_an_interval_of_numbers_and_of_whole_numbers():
    assert only("a=interval(1,3)") == Interval("a", "interval(1,3)", 1.0, 3.0)
    assert [float(only("a=interval(1,3)").at(u)) for u in (0.0, 0.5)] == [1.0, 2.0]
    whole = only("a=int(interval(1,3))")
    assert [whole.at(u) for u in (0.0, 0.32, 0.34, 0.67, END)] == ["1", "1", "2", "3", "3"]


def test_a_log_interval_is_even_over_logarithms():
    dimension = only("lr=tag(log,interval(1e-4,1e-2))")
    assert dimension.log and math.isclose(float(dimension.at(0.5)), 1e-3)
    assert float(dimension.at(0.0)) >= 1e-4 and float(dimension.at(END)) <= 1e-2
    whole = only("n=tag(log,int(interval(1,1000)))")
    found = np.array([int(whole.at(u)) for u in ((np.arange(3000) + 0.5) / 3000).tolist()])
    assert (whole.at(0.0), whole.at(END)) == ("1", "1000") and abs((found < 32).mean() - 0.5) < 0.02


def test_what_is_fixed_stays_as_typed_and_the_last_of_two_holds():
    found = space("preset=tiny", "a=1,2", "title='a, b'", "a=3,4,5")
    assert found.fixed == ("preset=tiny", "title='a, b'") and found.keys == ["a"]
    assert found.overrides(found.at([0.5])) == ["preset=tiny", "title='a, b'", "a=4"]
    assert found.ends() == [{"a": "3"}, {"a": "5"}]


@pytest.mark.parametrize(
    "override, key",
    [
        ("a=choice(5)", "a"),
        ("a=range(5,6,5)", "a"),
        ("a=range(5,5)", "a"),
        ("a=choice(x,x)", "a"),
        ("a=interval(2,1)", "a"),
        ("a=interval(1,1)", "a"),
        ("a=tag(log,interval(0,1))", "a"),
        ("a=5", "hydra.sweeper"),
    ],
)
def test_what_is_no_dimension_is_refused(override, key):
    with pytest.raises(ConfigError) as refused:
        space(override)
    assert refused.value.key == key and refused.value.expected


def test_only_a_fixed_value_is_offered_for_a_single_one():
    with pytest.raises(ConfigError, match=r"Type a=5 for a fixed value\."):
        space("a=choice(5)", "b=1,2")


class Drawing:
    """A trial that takes the upper end of what it is requested for, and notes it."""

    def __init__(self):
        self.requested = {}

    def suggest_categorical(self, name, choices):
        self.requested[name] = list(choices)
        return choices[-1]

    def suggest_int(self, name, low, high, *, step=1, log=False):
        self.requested[name] = (low, high, step, log)
        return high

    def suggest_float(self, name, low, high, *, log=False):
        self.requested[name] = (low, high, log)
        return high


def test_trials_are_asked_for_the_same_values():
    over = space(
        "a=x,y", "b=range(5,25,5)", "c=range(1.0,1.35,0.1)", "d=tag(log,interval(1,8))", "e=int(interval(1,8))"
    )
    trial = Drawing()
    point = over.suggest(trial)
    assert trial.requested["a"] == ["x", "y"] and trial.requested["b"] == (5, 20, 5, False)
    assert (
        trial.requested["c"] == (0, 3, 1, False)
        and trial.requested["d"] == (1.0, 8.0, True)
        and trial.requested["e"] == (1, 8, 1, False)
    )
    assert (point["a"], point["b"], point["c"], point["e"]) == ("y", "20", over.dimensions[2].at(END), "8")
    assert [type(d) for d in over.dimensions] == [Choice, Steps, Steps, Interval, Interval]
