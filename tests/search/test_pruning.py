"""Pruning: a diffusion training that is behind earlier ones ends, and only where their losses can be compared."""

import pytest

optuna = pytest.importorskip("optuna")  # the extra `search`

from search_cases import Course, space  # noqa: E402

from ablatent.search import optuna_search  # noqa: E402
from ablatent.search.pruning import CURVE, Pruned, incomparable  # noqa: E402
from ablatent.search.record import FINISHED, PRUNED  # noqa: E402
from ablatent.search.results import Outcome  # noqa: E402
from ablatent.store.identity import Key, SweepId  # noqa: E402
from ablatent.store.records import PlannedJob  # noqa: E402
from ablatent.tracking.watching import tell  # noqa: E402

SWEEP = SweepId("20261129-120000-aaaa")
STEPS = (10, 20, 30)
LEVELS = space("level=interval(0,1)")


class Trainings(Course):
    """Searches whose jobs are diffusion trainings with a constant validation loss, `level`, logged at STEPS.

    seen: level → steps that were reached. shown: whether their stages are built where they can be watched.
    """

    def __init__(self, monkeypatch, folder, curve=CURVE):
        super().__init__(monkeypatch, folder, lambda at: Outcome(FINISHED, [at["level"]], SWEEP))
        self.curve, self.seen, self.planned = curve, {}, []
        course, measured = self, optuna_search.Batch

        class Planned(measured):
            def planned(self):
                return ((SWEEP, job) for job in course.planned)

        monkeypatch.setattr(optuna_search, "Batch", Planned)

    def launch(self, jobs):
        self.planned = [job_of(n, overrides) for n, overrides in enumerate(jobs)]
        for job in self.planned:
            level = float(job.overrides[0].partition("=")[2])
            try:
                for step in STEPS:
                    self.seen.setdefault(level, []).append(step)
                    tell(job.stages["diffusion"], step, {self.curve: level, "validation/t_0": 9.0})
                    tell(job.stages["diffusion"], step, {"train/loss": 99.0})
                    tell("first_stage-00", step, {CURVE: 99.0})
            except Pruned:
                pass
        return super().launch(jobs)


def job_of(n, overrides):
    config = {"training": {"steps": STEPS[-1]}}
    stages = {"diffusion": Key(f"diffusion-{n:04x}")}
    return PlannedJob(index=n, name="", overrides=list(overrides), axes={}, config=config, stages=stages, refused=None)


@pytest.mark.parametrize("pruner", ["median", "halving"])
def test_trainings_behind_earlier_ones_end(monkeypatch, tmp_path, pruner):
    course = Trainings(monkeypatch, tmp_path)
    assert course.run(24, over=LEVELS, pruner=pruner, startup_trials=4) == 0  # a pruned trial has not failed
    record = course.record
    pruned = record.in_state(PRUNED)
    assert pruned and len(record.in_state(FINISHED)) == 24 - len(pruned)
    assert all(t.values == [] for t in pruned) and "before samples and scores" in record.pruning
    steps = {t.number: course.seen[float(t.parameters["level"])] for t in record.trials}
    assert all(len(steps[t.number]) < len(STEPS) for t in pruned)
    assert all(steps[t.number] == list(STEPS) for t in record.in_state(FINISHED))
    assert pruner == "halving" or all(t.state == FINISHED for t in record.trials[:4])


def test_the_median_is_that_of_earlier_trials(monkeypatch, tmp_path):
    course = Trainings(monkeypatch, tmp_path)
    course.run(16, over=LEVELS, pruner="median", startup_trials=4, batch_size=1)
    finished: list[float] = []
    for trial in course.record.trials:
        level = float(trial.parameters["level"])
        if trial.number >= 4:
            middle = sorted(finished)
            median = (middle[(len(middle) - 1) // 2] + middle[len(middle) // 2]) / 2
            assert (trial.state == PRUNED) == (level > median), trial
        finished += [level] if trial.state == FINISHED else []


def test_without_a_pruner_none_ends(monkeypatch, tmp_path):
    course = Trainings(monkeypatch, tmp_path)
    course.run(12, over=LEVELS, startup_trials=4)
    assert not course.record.in_state(PRUNED) and course.record.pruning == ""


def test_losses_that_cannot_be_compared_prune_nothing(monkeypatch, tmp_path, capsys):
    course = Trainings(monkeypatch, tmp_path)
    over = space("level=interval(0,1)", "schedule=linear,cosine")
    monkeypatch.setattr(course, "measure", lambda at: Outcome(FINISHED, [0.0], SWEEP))
    monkeypatch.setattr("search_cases.values_of", lambda overrides: {})
    course.run(12, over=over, pruner="median", startup_trials=2)
    assert not course.record.in_state(PRUNED)
    assert "cannot be compared between values of schedule" in capsys.readouterr().out
    assert "schedule" in course.record.pruning


def test_which_keys_change_the_loss():
    def keys(*overrides):
        return incomparable(space(*(f"{key}=1,2" for key in overrides)))

    same = ["optimizer.lr", "training.batch_size", "network.ch", "network", "sampler.steps", "guidance.scale"]
    other = [
        "schedule",
        "schedule.beta_start",
        "parameterization",
        "weighting",
        "first_stage.lr",
        "data",
        "latents.flip",
    ]
    assert keys(*same) == [] and keys(*same, *other, "training.loss") == [*other, "training.loss"]
