"""A search by Optuna: ask for a batch of trials, hand their jobs over together, tell what was measured."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from ablatent.core.errors import ConfigError
from ablatent.core.escape import for_console
from ablatent.core.fields import Count, Whole
from ablatent.core.progress import console
from ablatent.core.rng import stream
from ablatent.search.base import Beginning, Jobs, Search
from ablatent.search.pruning import CurveWatch, incomparable
from ablatent.search.record import FAILED, FINISHED, PRUNED
from ablatent.search.report import show, write
from ablatent.search.results import Batch, Outcome
from ablatent.search.space import Space
from ablatent.search.study import StoredStudy, check_installed
from ablatent.store.layout import search_folder
from ablatent.store.locks import locked
from ablatent.tracking.watching import watching

if TYPE_CHECKING:
    from optuna.trial import Trial

PRUNING = "Pruned trials ended within their diffusion training, before samples and scores; none of it is published."


@dataclass(frozen=True, kw_only=True)
class OptunaSearch(Search):
    """Trials by the tree-structured Parzen estimator (Bergstra et al. 2011), of several objectives too (Ozaki et al.
    2020), stored where a later command goes on."""

    batch_size: Annotated[Count, "trials proposed at once, whose jobs are planned as one graph"] = 4
    startup_trials: Annotated[Whole, "drawn at random before others follow from scores, and not pruned by median"] = 10
    pruner: Annotated[
        Literal["none", "median", "halving"], "which diffusion trainings end early, by their validation loss"
    ] = "none"

    def check(self) -> None:
        super().check()
        check_installed()
        if self.pruner != "none" and len(self.objectives) > 1:
            raise ConfigError("hydra.sweeper.pruner", "none with several objectives", self.pruner)

    def run(self, space: Space, jobs: Jobs) -> int:
        self.plans(jobs, space)
        if self.pruner != "none" and not jobs.here:
            do = "Another launcher trains in processes whose curves cannot be watched: leave hydra/launcher out."
            raise ConfigError("hydra.sweeper.pruner", "none with this launcher", self.pruner, do)
        beginning = self.begin(space, jobs)
        folder = search_folder(beginning.store.root, beginning.name)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock", f"search {beginning.name}"):
            study = StoredStudy(folder, beginning)
            pruning = self._prune(study, space)
            study.repeat_stopped()
            while (left := self.n_trials - study.ended) > 0:
                self._batch(min(left, self.batch_size), study, space, jobs, beginning)
                write(beginning.store.root, self.record(space, beginning, jobs, study.trials(), {}, pruning))
            importance = study.importance(self.seed)
            record = self.record(space, beginning, jobs, study.trials(), importance, pruning)
            show(beginning.store.root, record)
            return 1 if record.in_state(FAILED) else 0

    def _prune(self, study: StoredStudy, space: Space) -> str:
        """Give the study its pruner; what is pruned in words, or why nothing is, which is printed too."""
        keys = [] if self.pruner == "none" else incomparable(space)
        study.prune_by("none" if keys else self.pruner, self.startup_trials)
        if not keys:
            return PRUNING if study.prunes else ""
        why = f"No trial is pruned: validation losses cannot be compared between values of {', '.join(keys)}."
        console.print(f"[yellow]{for_console(why)}[/]")
        return why

    def _batch(self, count: int, study: StoredStudy, space: Space, jobs: Jobs, beginning: Beginning) -> None:
        """Ask for trials, build their jobs, tell the study what became of them."""
        study.sample_by(int(stream(self.seed, "search", study.ended).integers(2**31)), self.startup_trials)
        proposed = list(study.ask(count, space))
        batch = Batch(beginning.store.root)
        overrides = {trial.number: space.overrides(point) for trial, point in proposed}
        watch = CurveWatch([(trial, overrides[trial.number]) for trial, _ in proposed], batch) if study.prunes else None
        with nullcontext() if watch is None else watching(watch):
            jobs.launch(list({tuple(job): job for job in overrides.values()}.values()))
        for trial, point in proposed:
            job = overrides[trial.number]
            outcome = batch.outcome(job, beginning.objectives).explained(partial(jobs.refusal, job))
            if watch is not None:
                outcome = _watched(watch, trial, batch, outcome)
            study.tell(trial, outcome)
            measured = [f"{o.name} {v:.4g}" for o, v in zip(beginning.objectives, outcome.values, strict=False)]
            about = ", ".join(measured) or outcome.reason.partition("\n")[0]
            where = " ".join(f"{key}={value}" for key, value in point.items())
            console.print(for_console(f"trial {trial.number} {where} {outcome.state}: {about}"))


def _watched(watch: CurveWatch, trial: Trial, batch: Batch, outcome: Outcome) -> Outcome:
    """The outcome of a trial whose curves were watched: pruned, or with the curve of a stage that was found."""
    if trial.number in watch.pruned:
        return Outcome(PRUNED, sweep=outcome.sweep, job=outcome.job, reason=outcome.reason)
    if outcome.state == FINISHED and outcome.sweep is not None and outcome.job is not None:
        watch.report_stored(trial, *batch.job(outcome.sweep, outcome.job))
    return outcome
