"""A study of Optuna in the journal of a search, which may be killed at any moment. Optuna is imported where it is used:
it is an extra of this package."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ablatent.core.errors import ConfigError
from ablatent.search.base import Beginning
from ablatent.search.record import FAILED, FINISHED, PRUNED, RUNNING, STOPPED, TrialRecord
from ablatent.search.results import Outcome
from ablatent.search.space import Point, Space
from ablatent.store.identity import SweepId

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial, Trial

JOURNAL = "journal.log"
STATES = {"COMPLETE": FINISHED, "FAIL": FAILED, "PRUNED": PRUNED, "RUNNING": RUNNING}
"""Optuna's names of states → ours; a trial that waits in the queue has not begun."""
REPEATS = "repeats"
"""The attribute of a trial with the number of the one whose parameters it tries again."""
FEW = 8
"""Finished trials below which no importance is estimated."""


class StoredStudy:
    """A study in a folder, made or gone on with. To be opened by one process at a time.

    Raises ConfigError where the folder holds a search of something else.
    """

    def __init__(self, folder: Path, beginning: Beginning):
        check_installed()
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.objectives = beginning.objectives
        journal = folder / JOURNAL
        if journal.exists():
            _drop_torn_line(journal)
            Path(f"{journal}.lock").unlink(missing_ok=True)  # of a process that was killed: the search has its own lock
        ways = {"lower": optuna.study.StudyDirection.MINIMIZE, "higher": optuna.study.StudyDirection.MAXIMIZE}
        self.study: Study = optuna.create_study(
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(journal))),
            study_name=beginning.name,
            directions=[ways[o.better] for o in self.objectives],
            load_if_exists=True,
        )
        about = self.study.user_attrs.get("about")
        if about is None:
            self.study.set_user_attr("about", beginning.about)
        elif about != beginning.about:
            changed = ", ".join(part for part, value in beginning.about.items() if about.get(part) != value)
            do = f"Its {changed} are others: {about}. Give this one another name, or none."
            raise ConfigError("hydra.sweeper.name", f"the search that {folder} holds", beginning.name, do)

    @property
    def ended(self) -> int:
        """Trials that have ended, those apart that were stopped and are tried again."""
        return sum(trial.state in (FINISHED, FAILED, PRUNED) for trial in self.trials())

    @property
    def prunes(self) -> bool:
        """Whether a pruner was chosen."""
        return self.pruner != "none"

    def prune_by(self, name: str, startup: int) -> None:
        """Take the pruner of that name. startup: finished trials that the median waits for."""
        self.pruner, self.study.pruner = name, pruners(startup)[name]()

    def sample_by(self, seed: int, startup: int) -> None:
        """Take a sampler that has drawn nothing yet: what it proposes is a function of the seed and the study."""
        from optuna.samplers import TPESampler

        self.study.sampler = TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)

    def repeat_stopped(self) -> None:
        """Put the parameters of trials that were at work when their process was killed first in the queue."""
        from optuna.trial import TrialState

        queued = {trial.user_attrs.get(REPEATS) for trial in self.study.get_trials(deepcopy=False)}
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            if trial.number not in queued:  # before it counts as ended: whoever is killed in between finds it again
                self.study.enqueue_trial(trial.params, user_attrs={REPEATS: trial.number})
            self.study.tell(trial.number, state=TrialState.FAIL)

    def ask(self, count: int, space: Space) -> Iterator[tuple[Trial, Point]]:
        """New trials with their points: those in the queue, then those that the sampler proposes, each away from those
        before it."""
        for _ in range(count):
            trial = self.study.ask()
            point = space.suggest(trial)
            trial.set_user_attr("point", dict(point))
            yield trial, point

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Record what became of a trial."""
        from optuna.trial import TrialState

        for name in ("sweep", "job", "reason"):
            trial.set_user_attr(name, getattr(outcome, name))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a trial is pruned that reported nothing, say
            name = next(name for name, state in STATES.items() if state == outcome.state)
            self.study.tell(trial, outcome.values or None, TrialState[name])

    def trials(self) -> list[TrialRecord]:
        """The trials that have begun, in order."""
        found = self.study.get_trials(deepcopy=False)
        repeated = {trial.user_attrs.get(REPEATS) for trial in found}
        return [_record(trial, trial.number in repeated) for trial in found if trial.state.name in STATES]

    def importance(self, seed: int) -> dict[str, dict[str, float]]:
        """Objective → key → the share of the objective's variance that it explains (fANOVA, Hutter et al. 2014), of
        those whose values differ, where there are FEW finished trials or more."""
        import optuna

        finished = [t for t in self.study.get_trials(deepcopy=False) if STATES.get(t.state.name) == FINISHED]
        found = {}
        for n, objective in enumerate(self.objectives):

            def value(trial: FrozenTrial, n: int = n) -> float:
                return float(trial.values[n])

            if len(finished) >= FEW and len({value(trial) for trial in finished}) > 1:
                forest = optuna.importance.FanovaImportanceEvaluator(seed=seed % 2**32)
                found[objective.name] = optuna.importance.get_param_importances(
                    self.study, evaluator=forest, target=value
                )
        return found


def _record(trial: FrozenTrial, repeated: bool) -> TrialRecord:
    about, sweep = trial.user_attrs, trial.user_attrs.get("sweep")
    state = STOPPED if repeated else STATES[trial.state.name]
    return TrialRecord(
        number=trial.number,
        state=state,
        parameters=about.get("point", {}),
        values=list(trial.values) if state == FINISHED else [],
        sweep=None if sweep is None else SweepId(sweep),
        job=about.get("job"),
        reason="its command was killed; its parameters were tried again" if repeated else about.get("reason", ""),
    )


def check_installed() -> None:
    """Raise ConfigError where Optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        do = "Install it: pip install -c constraints.txt -e '.[search]'. hydra/sweeper=sobol and random do without."
        raise ConfigError("hydra/sweeper", "Optuna for hydra/sweeper=optuna", "no module 'optuna'", do)


def pruners(startup: int) -> Mapping[str, Callable[[], BasePruner]]:
    """Name → pruner. startup: finished trials that the median waits for."""
    from optuna import pruners

    return {
        "none": pruners.NopPruner,
        "median": lambda: pruners.MedianPruner(n_startup_trials=startup),
        "halving": pruners.SuccessiveHalvingPruner,
    }


def _drop_torn_line(journal: Path) -> None:
    """Cut off what a killed process had written of a line: the next one would be appended to it."""
    with journal.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
