"""The verbs of `do=`: one class and one YAML in conf/do each. The YAML has the keys that only this verb reads."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from rich.markup import escape

from ablatent.core.errors import AblatentError, ConfigError, DataError, did_you_mean
from ablatent.core.instantiate import make
from ablatent.core.progress import console
from ablatent.inference.pretrained import Resolver
from ablatent.store.artifacts import Damaged, Store, objects_of, verify
from ablatent.store.identity import Key
from ablatent.sweep.executors import Executor
from ablatent.sweep.plan import Composed, Plan, effects, make_plan, stages_table
from ablatent.sweep.run_sweep import newest_sweep, run
from ablatent.tracking.base import Tracking

Config = Mapping[str, Any]


class Verb(ABC):
    """The base of verbs.

    Declared, as literals that are read before torch is imported: reads: the config groups and keys of config.yaml that
    it reads, beside its own; empty: all of a job. takes_jobs: whether it takes the several jobs of -m.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    takes_jobs: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        """Run the verb on the jobs of one command; the exit code.

        config: of the first job that could be composed; command: as typed. Raises AblatentError where it cannot run.
        """


class PlanVerb(Verb):
    """Compose, plan and check every job; print the stages and networks; build nothing."""

    takes_jobs = True

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.sweep.network_sizes import sizes_table

        plan = checked_plan(jobs, store, everything=True)
        console.print(stages_table(plan, store))
        for axis, kinds in effects(plan).items():
            console.print(f"{axis}: changes {', '.join(kinds) or 'no stage'}", markup=False)
        if plan.stages:
            console.print(sizes_table(plan))
        return 2 if any(job.refused for job in plan.jobs) else 0


class RunVerb(Verb):
    """Build the missing stages, score, track, report."""

    takes_jobs = True

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        plan = checked_plan(jobs, store, everything=False)
        if not plan.stages:
            return 2 if any(job.refused for job in plan.jobs) else 0
        tracking: Tracking = make(config["tracking"])
        executor: Executor = make(config["executor"])
        return run(plan, store, config, command, executor, tracking, lambda sweep: write_report(store, sweep, tracking))


class ReportVerb(Verb):
    """Write the report of a sweep again, from the store alone."""

    reads = ("store",)

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        write_report(store, config["sweep"] or newest_sweep(store))
        return 0


class StatusVerb(Verb):
    """Print the contents of the store."""

    reads = ("store",)

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.sweep.status import print_status

        if config["sweep"] is not None:
            check_sweep(store, config["sweep"])
        print_status(store, config["sweep"])
        return 0


class VerifyVerb(Verb):
    """Hash every stored byte; damaged objects are named, and set aside."""

    reads = ("store",)

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        damaged, folders = 0, objects_of(store)
        for folder in folders:
            try:
                verify(folder, folder.name, everything=True)
            except Damaged as e:
                damaged += 1
                store.set_aside(Key(folder.name), f"[red]damaged[/] {escape(str(e))}")
            except DataError as e:  # whole, but of a shape that this version does not know: it stays where it is
                damaged += 1
                console.print(f"  [red]unknown[/] {escape(str(e))}")
        console.print(f"{len(folders) - damaged} of {len(folders)} objects are whole")
        return 1 if damaged else 0


class SampleVerb(Verb):
    """Write samples of a finished model as PNG files."""

    reads = ("sampler", "guidance", "samples", "task", "runtime", "store", "tracking", "seed")

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.inference.sampling import sample

        return sample(store, config)


class ImportVerb(Verb):
    """Import weights of other programs into the store."""

    reads = ("store",)

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.inference.import_weights import import_weights

        return import_weights(store, config)


class ExportVerb(Verb):
    """Export weights of the store for other programs."""

    reads = ("store",)

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.inference.export import export_weights

        return export_weights(store, config)


def execute(jobs: Sequence[Composed], command: str) -> int:
    """Run the verb that the jobs name by `do`; the exit code. Raises AblatentError where no job could be composed."""
    config = next((job.config for job in jobs if job.refused is None), None)
    if config is None:
        raise AblatentError("\n".join(dict.fromkeys(str(job.refused) for job in jobs)))
    store = Store(config["store"]["path"])
    store.check_writable()
    verb: Verb = make(config["verb"])
    return verb(jobs, store, config, command)


def checked_plan(jobs: Sequence[Composed], store: Store, everything: bool) -> Plan:
    """The plan of these jobs; each that cannot run is refused, with a printed reason.

    everything: check also where all stages are in the store already, which takes an import of torch.
    """
    resolver = Resolver(store)
    plan = make_plan([_resolved(job, resolver) for job in jobs])
    found = {stage.key for stage in plan.stages.values() if store.folder(stage.key).exists()}
    if everything or found != {stage.key for stage in plan.stages.values()}:
        from ablatent.sweep.check import check_plan

        check_plan(plan, lambda stage: stage.key in found)
    for job in plan.jobs:
        if job.refused is not None:
            named = f"job {job.index} {job.name}: " if len(plan.jobs) > 1 else ""
            console.print(f"[red]refused[/] {escape(named + job.refused)}")
    return plan


def _resolved(job: Composed, resolver: Resolver) -> Composed:
    """The job with its references to the store resolved; refused where the store has no such artifact."""
    if job.refused is not None:
        return job
    try:
        return replace(job, config=resolver(job.config))
    except AblatentError as e:
        return replace(job, refused=str(e))


def check_sweep(store: Store, sweep: str) -> None:
    """Raise ConfigError, which names `sweep`, unless the store has a sweep of that id."""
    if not (store.root / "sweeps" / sweep / "plan.json").exists():
        found = [p.parent.name for p in (store.root / "sweeps").glob("*/plan.json")]
        raise ConfigError("sweep", f"a sweep of {store.root}", sweep, did_you_mean(sweep, found))


def write_report(store: Store, sweep: str, tracking: Tracking | None = None) -> None:
    """Write the report of a sweep from the store alone, and print its table. Raises ConfigError for other ids."""
    from ablatent.report.finish import finish

    check_sweep(store, sweep)
    finish(store.root, sweep, tracking)
