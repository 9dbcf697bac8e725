"""What all searches share: their keys, and the checks before the first job is built."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from ablatent.core.errors import AblatentError, ConfigError
from ablatent.core.fields import Count, Matches, Seed, Text
from ablatent.inference.pretrained import Resolver
from ablatent.search.objectives import objectives_of
from ablatent.search.record import Objective, SearchRecord, TrialRecord
from ablatent.search.space import Space
from ablatent.stages.job_fields import JobCheck
from ablatent.store.artifacts import Store
from ablatent.store.identity import SearchName, digest
from ablatent.sweep.plan import Composed, Job, make_plan

NO_RESULT = ("claims", "do", "executor", "out", "question", "runtime", "store", "title", "tracking")
"""Keys at the top that change no result, so that the same search goes on under others of their values."""


@dataclass(frozen=True)
class Jobs:
    """What a search does with jobs.

    compose: overrides → the job; launch: hands jobs over together, and returns 0, or an exit code where one failed;
    refusal: overrides → why the job cannot run, None where it can; command: as typed; here: whether their stages may be
    built in this process.
    """

    compose: Callable[[list[str]], Composed]
    launch: Callable[[list[list[str]]], int]
    refusal: Callable[[list[str]], str | None]
    command: str = ""
    here: bool = True


@dataclass(frozen=True)
class Beginning:
    """What is known before the first job: the store, the name of the search, what it wants, and what makes it the same
    search when it is called again."""

    store: Store
    name: SearchName
    objectives: list[Objective]
    about: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Search(ABC):
    """Points of a space, and what was measured there. Its fields are the keys of `hydra.sweeper`.

    takes_plan: whether all its points are known beforehand, so that do=plan can show them.
    """

    n_trials: Annotated[Count, "points; of optuna: trials of the whole search, those of earlier commands included"]
    seed: Annotated[Seed, "of the points"] = 0
    objectives: Annotated[
        Sequence[Text], "names of scores, nfe (network evaluations of a sample), seconds (of all stages of a job)"
    ] = ()
    directions: Annotated[
        Sequence[Literal["lower", "higher"]] | None, "which is better, for each objective; null: as scores declare it"
    ] = None
    name: Annotated[
        Annotated[str, Matches(r"[A-Za-z0-9][A-Za-z0-9_-]*", "a name of letters, digits, - and _")] | None,
        "folder below store/searches; null: from the space and the objectives",
    ] = None

    takes_plan: ClassVar[bool] = False

    def __call__(self, space: Space, jobs: Jobs) -> int:
        """Search the space; the exit code: 1 where a job failed. Raises ConfigError for what cannot be searched."""
        self.check()
        return self.run(space, jobs)

    @abstractmethod
    def run(self, space: Space, jobs: Jobs) -> int:
        """The search itself, after `check`."""

    def check(self) -> None:
        """Raise ConfigError for keys that do not fit each other."""
        key = "hydra.sweeper.directions"
        if self.directions is not None and len(self.directions) != len(self.objectives):
            raise ConfigError(key, f"{len(self.objectives)} directions, one for each objective", list(self.directions))
        if len(set(self.objectives)) < len(self.objectives):
            raise ConfigError("hydra.sweeper.objectives", "different objectives", list(self.objectives))

    def plans(self, jobs: Jobs, space: Space) -> bool:
        """Whether the command only plans. Raises ConfigError where it cannot, and for a verb without results."""
        config = jobs.compose(space.overrides(space.ends()[0])).config
        verb = config.get("do", "run")
        if verb == "run" or (verb == "plan" and self.takes_plan):
            return bool(verb == "plan")
        do = "Later points follow from scores of earlier ones: hydra/sweeper=sobol do=plan shows what a design costs."
        raise ConfigError("do", "run with this search", verb, do)

    def begin(self, space: Space, jobs: Jobs) -> Beginning:
        """Check space and objectives on the jobs at the ends of all dimensions, before anything is built.

        Raises ConfigError for a value that no job can have, an unknown score and a store that cannot be written;
        AblatentError with the reason where neither job can run.
        """
        composed = [jobs.compose(space.overrides(point)) for point in space.ends()]
        check = JobCheck()
        for each in composed:
            if each.refused is None:
                check(each.config)
        job, store = _planned(composed)
        store.check_writable()
        objectives = objectives_of(job, list(self.objectives), self.directions)
        about = {
            "space": {d.key: d.typed for d in space.dimensions},
            "fixed": [o for o in space.fixed if o.lstrip("+~").split("=")[0].split(".")[0] not in NO_RESULT],
            "objectives": [[o.name, o.better] for o in objectives],
        }
        name = SearchName(digest(about)[:8] if self.name is None else self.name)
        return Beginning(store, name, objectives, about)

    def record(
        self,
        space: Space,
        beginning: Beginning,
        jobs: Jobs,
        trials: Sequence[TrialRecord],
        importance: Mapping[str, Mapping[str, float]] | None = None,
        pruning: str = "",
    ) -> SearchRecord:
        """The record of this search with these trials."""
        return SearchRecord(
            name=beginning.name,
            search=type(self).__name__,
            command=jobs.command,
            n_trials=self.n_trials,
            seed=self.seed,
            space={d.key: d.typed for d in space.dimensions},
            fixed=list(space.fixed),
            objectives=beginning.objectives,
            trials=list(trials),
            importance=importance or {},
            pruning=pruning,
        )


def _planned(composed: Sequence[Composed]) -> tuple[Job, Store]:
    """The first of these jobs that can run, and its store. Raises AblatentError with the reasons where none can."""
    config = next((job.config for job in composed if job.config), None)
    if config is None:
        raise AblatentError("\n".join(dict.fromkeys(str(job.refused) for job in composed)))
    store = Store(config["store"]["path"])
    resolver = Resolver(store)
    plan = make_plan(composed, resolver, resolver.check_stages)
    for job in plan.jobs:
        if job.refused is None:
            return job, store
    raise AblatentError("\n".join(dict.fromkeys(str(job.refused) for job in plan.jobs)))
