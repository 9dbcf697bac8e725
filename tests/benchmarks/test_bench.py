"""The benchmark's statistics, record and rows; nothing is timed here."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench import machine, side, worker
from bench.measure import CaseResult, Disagreement, SideResult, _difference
from bench.ratios import beyond_noise, paired_ratio, spread
from bench.record import Record, changes, entry
from bench.row import Bound, Prepared, Row, load_row, row_names
from bench.table import section

MACHINE = {"processor": "A", "cores": 2, "memory_GB": 8, "device": "cpu"}


def test_ratios_are_of_pairs():
    drift = [1.0, 1.5, 3.0, 2.0, 9.0]
    ratio = paired_ratio([0.8 * d for d in drift], drift)
    assert (ratio.median, ratio.low, ratio.high) == pytest.approx((0.8, 0.8, 0.8))
    with pytest.raises(ValueError, match="pairs"):
        paired_ratio([1.0, 2.0], [1.0])


def test_the_interval_of_a_ratio_has_the_truth_and_shrinks_with_pairs():
    draw = np.random.default_rng(1)
    few, many = (paired_ratio((0.9 * draw.lognormal(0, 0.1, n)).tolist(), [1.0] * n) for n in (10, 1000))
    assert few.low <= 0.9 <= few.high
    assert many.low <= 0.9 <= many.high
    assert many.high - many.low < 0.3 * (few.high - few.low)


def test_quartiles():
    assert spread([5.0, 1.0, 2.0, 4.0, 3.0]) == spread([1.0, 2.0, 3.0, 4.0, 5.0])
    assert vars(spread([1.0, 2.0, 3.0, 4.0, 5.0])) == {"median": 3.0, "low": 2.0, "high": 4.0, "count": 5}


@pytest.mark.parametrize(
    ("now", "change"),
    [
        ((1.2, 1.18, 1.22), 0.2),
        ((0.8, 0.79, 0.81), -0.2),
        ((1.2, 1.01, 1.4), None),  # the intervals meet
        ((1.025, 1.021, 1.03), None),  # apart, but less than 3 %
    ],
)
def test_a_change_is_more_than_noise(now, change):
    found = beyond_noise(now, (1.0, 0.98, 1.02))
    assert found is None if change is None else found == pytest.approx(change)


def result(ours: list[float], others: list[float] | None, memory: int = 100_000_000) -> CaseResult:
    sides = {"ours": SideResult(spread(ours), memory, 50_000_000, 1.0, 8)}
    if others is None:
        return CaseResult(sides, {}, {}, {}, None, len(ours))
    sides["other"] = SideResult(spread(others), 80_000_000, 60_000_000, 1.0, 8)
    return CaseResult(sides, {"other": paired_ratio(ours, others)}, {"other": 1.25}, {"other": 2.5}, 1e-6, len(ours))


def recorded(row: Row, of: CaseResult) -> dict:
    return json.loads(json.dumps(entry(row, "", of, {"commit": "abc"}, 2)))


ROW = Row("A row", {"ours": lambda case: Prepared(), "other": lambda case: Prepared()}, agree=1e-4)


def test_regressions_show():
    before = recorded(ROW, result([1.0, 1.01, 0.99], [1.0, 1.0, 1.0]))
    slower = recorded(ROW, result([2.4, 2.42, 2.38], [2.0, 2.0, 2.0]))  # on a machine half as fast
    assert changes(slower, before) == {"other": pytest.approx(0.2)}
    assert changes(recorded(ROW, result([2.0, 2.02, 1.98], [2.0, 2.0, 2.0])), before) == {}
    larger = recorded(ROW, result([1.0, 1.01, 0.99], [1.0, 1.0, 1.0], memory=150_000_000))
    assert changes(larger, before) == {"memory": pytest.approx(0.5)}
    assert changes(slower, None) == {}


def test_regressions_of_rows_that_compare_with_nothing_show():
    before, slower = (recorded(ROW, result([t, 1.01 * t, 0.99 * t], None)) for t in (1.0, 1.2))
    assert changes(slower, before) == {"seconds": pytest.approx(0.2)}
    assert changes(recorded(ROW, result([1.05, 1.06, 1.04], None)), before) == {}


def test_the_record_compares_on_one_machine(tmp_path):
    path = tmp_path / "bench.json"
    record = Record(path, MACHINE)
    first = record.add("row", "", recorded(ROW, result([1.0] * 3, [1.0] * 3)))
    assert first["since"] is None
    record.save()
    again = Record(path, MACHINE).add("row", "", recorded(ROW, result([2.0] * 3, [1.0] * 3)))
    assert again["since"].startswith("abc")
    assert "**slower: other +100%**" in section("row", ROW, {"": again})
    assert Record(path, {**MACHINE, "cores": 4}).last("row", "") is None


@pytest.mark.parametrize(
    ("bound", "met", "value"),
    [
        (Bound("other", time=0.95), False, 1.0),
        (Bound("other", time=1.0), True, 1.0),
        (Bound("other", memory=1.0), False, 2.5),
        (Bound("other", megabytes=25), True, 20.0),
        (Bound(seconds=0.5), False, 1.0),
        (Bound(gigabytes=4.0), True, 0.1),
    ],
)
def test_what_is_asked_for_is_checked(bound, met, value):
    row = replace(ROW, bounds=(bound,))
    (found,) = recorded(row, result([1.0] * 3, [1.0] * 3))["bounds"]
    assert found["met"] is met
    assert found["value"] == pytest.approx(value)


def fake_side(name: str, **values: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(name=name, log=Path("log.txt"), value=lambda path: values)


def test_sides_must_agree():
    row, x = replace(ROW, agree=1e-4, agree_in={"coarse": 1e-2}), np.zeros(3)
    allowed = row.agreement("fine")
    assert (allowed, row.agreement("coarse")) == (1e-4, 1e-2)
    assert _difference(allowed, [fake_side("ours", x=x), fake_side("other", x=x + 1e-5)]) == pytest.approx(1e-5)
    for other in ({"x": x + 1e-3}, {"x": x * np.nan}, {"y": x}, {"x": np.zeros(4)}, {}):
        with pytest.raises(Disagreement):
            _difference(allowed, [fake_side("ours", x=x), fake_side("other", **other)])


class Ended(Exception):
    pass


def turns(monkeypatch, prepared: Prepared, *commands: dict) -> tuple[worker.Turns, int]:
    """The turns of these commands, and the file descriptor of what is answered."""
    given, taken, answered, answers = (*os.pipe(), *os.pipe())
    os.write(taken, "".join(json.dumps(c) + "\n" for c in commands).encode())
    os.close(taken)
    monkeypatch.setenv("BENCH_COMMANDS", str(given))
    monkeypatch.setenv("BENCH_ANSWERS", str(answers))

    def end() -> None:
        raise Ended

    monkeypatch.setattr(worker, "_end", end)
    return worker.Turns(prepared, cuda=False), answered


def answers_of(made: worker.Turns, descriptor: int) -> list[dict]:
    made.answers.close()
    with os.fdopen(descriptor) as file:
        return [json.loads(line) for line in file]


def test_a_turn_is_the_mean_of_its_units_of_work(monkeypatch, tmp_path):
    clock = iter([0.0, 12.0, 100.0, 101.0])
    monkeypatch.setattr(worker.time, "perf_counter", lambda: next(clock))
    prepared = Prepared(value=lambda: {"x": np.arange(2)}, times=10.0)
    value = tmp_path / "value.npz"
    made, descriptor = turns(monkeypatch, prepared, {"run": 4}, {"value": str(value)}, {"run": 1}, {"stop": 1})
    done = 0
    with pytest.raises(Ended):
        while True:
            made()
            done += 1
    assert done == 5
    assert [a["seconds"] for a in answers_of(made, descriptor) if "seconds" in a] == [30.0, 10.0]
    assert np.load(value)["x"].tolist() == [0, 1]


def test_the_load_of_other_processes_is_not_our_own(monkeypatch):
    seen = iter([(100, 1000, 40), (190, 1200, 100)])
    monkeypatch.setattr(machine.OtherLoad, "_now", lambda self: next(seen))
    assert machine.OtherLoad([]).share() == pytest.approx((90 - 60) / 200)


def test_memory_of_an_instant_does_not_count(monkeypatch):
    """A process between fork and exec seems to have all memory of the one above it."""
    seen = iter([5, 7, 90, 6, 8, 8])
    monkeypatch.setattr(side, "anonymous", lambda pid: next(seen))
    memory = side.Memory(0)
    memory.ended = SimpleNamespace(wait=lambda seconds: seen.__length_hint__() == 0)
    memory._watch()
    assert memory.peak == 8


@pytest.mark.parametrize("name", row_names())
def test_a_row_declares_what_it_must(name):
    row = load_row(name)
    assert row.title
    assert row.title[0].isupper()
    assert row.note.endswith(".")
    assert len(row.sides) >= 1
    assert all(callable(getattr(s, "maker", s)) for s in row.sides.values())
    first, *others = row.sides
    assert row.agree is None or others
    assert row.full < set(row.cases), "some case must run by default"
    for bound in row.bounds:
        assert set(bound.cases) <= set(row.cases)
        assert not bound.of or bound.of in others
        assert (bound.time is None and bound.memory is None and bound.megabytes is None) or bound.of
    min_rounds, max_rounds = row.rounds
    assert 1 <= min_rounds <= max_rounds
    assert row.bounds_of(first) is not None
