"""The report of a search: every trial, with its sweep and job; the best; the front of two objectives."""

import csv

import pytest

from ablatent.search.record import FAILED, FINISHED, PRUNED, Objective, SearchRecord, TrialRecord
from ablatent.search.report import show, write
from ablatent.store.identity import SearchName, SweepId
from hostile import HOSTILE, Elements

ELEMENTS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "h1",
        "h2",
        "p",
        "pre",
        "div",
        "table",
        "thead",
        "tbody",
    ),
    *("tr", "th", "td", "ul", "li", "a", "wbr"),
}
SWEEPS = [SweepId("20261129-120000-aaaa"), SweepId("20261129-120100-bbbb")]


def record(objectives, trials, **about) -> SearchRecord:
    fields = {"importance": {}, "pruning": "", "fixed": ["preset=tiny"], **about}
    return SearchRecord(
        name=SearchName("steps"),
        search="SobolDesign",
        command="python run.py -m …",
        n_trials=len(trials),
        seed=0,
        space={"sampler.steps": "range(5,50,5)"},
        objectives=objectives,
        trials=trials,
        **fields,
    )


def trial(number, values, state=FINISHED, reason="", sweep=SWEEPS[0]):
    return TrialRecord(number, state, {"sampler.steps": str(5 * number + 5)}, values, sweep, number, reason)


@pytest.fixture
def two():
    trials = [trial(0, [9.0, 5.0]), trial(1, [4.0, 10.0]), trial(2, [4.5, 15.0], sweep=SWEEPS[1])]
    trials += [trial(3, [], FAILED, "diverged"), trial(4, [], PRUNED, "behind")]
    return record([Objective("fid_192", "lower"), Objective("nfe", "lower")], trials)


def test_the_front_and_all_trials_are_shown(tmp_path, two, capsys):
    assert [t.number for t in two.best] == [0, 1]
    show(tmp_path, two)
    folder = tmp_path / "searches" / "steps"
    assert SearchRecord.read(folder / "search.json") == two
    page = Elements((folder / "report.html").read_text())
    for text in ("Pareto front", "fid_192 ↓", "nfe ↓", "diverged", "behind", "3 finished, 1 pruned, 1 failed"):
        assert text in page.text, text
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == [f"../../sweeps/{sweep}/report/report.html" for sweep in SWEEPS]
    images = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 1 and images[0].startswith("data:image/png;base64,")
    best = [
        attributes for tag, attributes in page.tags if tag == "td" and "best" in (attributes["class"] or "").split()
    ]
    assert len(best) == 4  # two objectives of the two trials
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    assert [row["fid_192"] for row in rows] == ["9.0", "4.0", "4.5", "", ""]
    assert [row["sweep"] for row in rows[1:3]] == SWEEPS
    shown = capsys.readouterr().out
    assert "search steps: 5 trials: 3 finished, 1 pruned, 1 failed" in shown and "report.html" in shown


def test_one_objective_has_no_front_but_importance(tmp_path):
    importance = {"recall_192": {"sampler.steps": 0.75}}
    one = record([Objective("recall_192", "higher")], [trial(0, [0.5]), trial(1, [0.75])], importance=importance)
    page = Elements(write(tmp_path, one).read_text())
    assert "img" not in [tag for tag, _ in page.tags] and "75%" in page.text and "Best" in page.text
    assert [t.number for t in one.best] == [1]


def test_a_search_without_a_finished_trial(tmp_path, two):
    none = record(two.objectives, two.trials[3:])
    assert "No trial has finished." in write(tmp_path, none).read_text()


def test_texts_of_users_show_as_they_are(tmp_path):
    for n, text in enumerate(HOSTILE):
        hostile = record(
            [Objective("nfe", "lower")],
            [TrialRecord(0, FAILED, {"sampler.steps": text}, [], None, None, text), trial(1, [1.0])],
            fixed=[text],
            pruning=text,
        )
        show(tmp_path / str(n), hostile)
        page = Elements((tmp_path / str(n) / "searches/steps/report.html").read_text())
        assert {tag for tag, _ in page.tags} <= ELEMENTS
        assert "".join(text.split()) in "".join(page.text.split())
