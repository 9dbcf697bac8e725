"""The verbs of `do=`: one class and one YAML in conf/do each. The YAML has the keys that only this verb reads."""

from collections.abc import Sequence
from pathlib import Path

from ablatent.cli.checked_plan import checked_plan, missing_stages
from ablatent.cli.next_command import after_sweep, going_on
from ablatent.cli.verb import Config, Verb
from ablatent.cli.verb_keys import ExportKeys, ImportKeys, JobsKeys, PlanKeys, ReportKeys, SampleKeys, StatusKeys
from ablatent.core.collector import rare_collections
from ablatent.core.errors import ConfigError, DataError
from ablatent.core.escape import for_console
from ablatent.core.instantiate import make
from ablatent.core.progress import console, counted, track
from ablatent.report.place import RECORD, check_out
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key, SweepId
from ablatent.store.layout import object_folders
from ablatent.store.sweeps import newest_sweep, sweep_named
from ablatent.store.verify import Damaged, verify
from ablatent.sweep.executor import Executor, threads_of
from ablatent.sweep.plan import Composed, effects
from ablatent.sweep.plan_cost import PlanCost, missing_from
from ablatent.sweep.run_sweep import run, write_plan
from ablatent.tracking.base import NoTracking, Tracking


class PlanVerb(Verb):
    """Compose, plan and check every job; print the stages and networks; build nothing."""

    takes_jobs = True
    keys = PlanKeys

    @rare_collections()
    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.sweep.cost_rule import by_rule, rate_of, work_of
        from ablatent.sweep.network_sizes import sizes_of, sizes_table

        plan = checked_plan(jobs, store, everything=True)
        runtime, executor = config["runtime"], make(config["executor"], Executor)
        slots = executor.slots_on(runtime, missing_from(store, plan))
        sizes = sizes_of(plan)
        threads = threads_of(runtime, slots)
        otherwise = by_rule(work_of(plan, sizes), rate_of(runtime, threads))
        if config["estimate"]:
            from ablatent.sweep.timed_steps import TimedSteps

            otherwise = TimedSteps(plan, {**runtime, "threads": threads}, otherwise)
        cost = PlanCost(plan, store, otherwise)
        console.print(cost.table())
        for line in cost.summary(slots):
            console.print(line)
        for axis, kinds in effects(plan).items() if plan.stages else ():
            console.print(for_console(f"{axis}: changes {', '.join(kinds) or 'no stage'}"))
        if plan.stages or any(job.without_data for job in plan.jobs):
            console.print(sizes_table(sizes))
        return 2 if any(job.refused for job in plan.jobs) else 0

    def then(self, code: int) -> Sequence[str]:
        """The same command without do=plan, where every job can be built."""
        return () if code else [word for word in self.typed if word.partition("=")[0] not in ("do", "estimate")]


class RunVerb(Verb):
    """Build the missing stages, score, track, report."""

    takes_jobs = True
    keys = JobsKeys
    ran: tuple[Path, SweepId] | None = None
    """(root of the store, sweep) of what it ran, where the store has the record."""

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        out = _folder(config["out"])
        plan = checked_plan(jobs, store, everything=False)
        if not plan.stages:
            return 2 if any(job.refused for job in plan.jobs) else 0
        tracking: Tracking = make(config["tracking"], Tracking)
        executor: Executor = make(config["executor"], Executor)
        writable = store.is_writable()
        if not writable:
            if missing_stages(plan, store):
                store.check_writable()  # raises, with the reason
            tracking = NoTracking()
            console.print(
                f"[yellow]nothing can be written into {store.root}[/]: the sweep is recorded beside its report"
            )

        def record_elsewhere(sweep: SweepId) -> Path:
            folder = Path("reports") / sweep if out is None else out
            check_out(folder)
            return folder / RECORD

        def report(sweep: SweepId, record: Path) -> None:
            from ablatent.report.finish import finish

            finish(store.root, sweep, tracking, out if writable else record.parent, record)

        recorded = write_plan(plan, store.root, config, command, None if writable else record_elsewhere)
        if not writable:
            return run(plan, store, config, recorded, executor, tracking, report)
        self.ran = store.root, recorded.id
        with going_on(["do=resume", f"sweep={recorded.id}"], self.typed):
            return run(plan, store, config, recorded, executor, tracking, report)

    def then(self, code: int) -> Sequence[str]:
        return () if self.ran is None else after_sweep(*self.ran)


class ReportVerb(Verb):
    """Write the report of a sweep again, a comparison of two sweeps, or a list of reports, from the store alone."""

    reads = ("store",)
    keys = ReportKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        typed, two, index = (config[key] for key in ("sweep", "compare", "index"))
        given = [key for key in ("sweep", "compare", "index") if config[key] is not None]
        if len(given) > 1:
            raise ConfigError(given[1], "one of sweep, compare and index", " and ".join(given), "Give one of them.")
        if index is not None:
            from ablatent.report.index import write_index

            path, count = write_index(Path(str(index)).expanduser())
            console.print(for_console(f"index of {counted(count, 'report')}: {path}"))
        elif two is not None:
            from ablatent.report.finish import finish_comparison

            finish_comparison(store.root, [str(sweep) for sweep in two], _folder(config["out"]))
        else:
            from ablatent.report.finish import finish

            finish(store.root, newest_sweep(store.root) if typed is None else str(typed), out=_folder(config["out"]))
        return 0


class StatusVerb(Verb):
    """Print the contents of the store."""

    reads = ("store",)
    keys = StatusKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.sweep.status import print_status

        typed, watch = config["sweep"], bool(config["watch"])
        newest = newest_sweep(store.root) if watch and typed is None else None
        print_status(store, newest if typed is None else sweep_named(store.root, str(typed)), watch)
        return 0


class VerifyVerb(Verb):
    """Hash every stored byte; damaged objects are named, and set aside."""

    reads = ("store",)

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        damaged, total = 0, sum(1 for _ in object_folders(store.root))
        with track("verify", total, "objects") as bar:
            for folder in object_folders(store.root):
                damaged += not self._is_whole(store, folder)
                bar.advance()
        console.print(f"{total - damaged} of {counted(total, 'object')} whole")
        return 1 if damaged else 0

    @staticmethod
    def _is_whole(store: Store, folder: Path) -> bool:
        try:
            verify(folder, Key(folder.name), everything=True)
            return True
        except Damaged as e:
            text = f"[red]damaged[/] {for_console(e)}"
            if store.is_writable():
                store.set_aside(Key(folder.name), text)
            else:
                console.print(f"  {text} It stays where it is: the store can only be read.")
        except DataError as e:  # whole, but of a shape that this version does not know: it stays where it is
            console.print(f"  [red]unknown[/] {for_console(f'{folder}: {e}')}")
        return False


class SampleVerb(Verb):
    """Write samples of a finished model as PNG files."""

    reads = ("sampler", "guidance", "samples", "task", "runtime", "store", "tracking", "seed")

    keys = SampleKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.inference.sampling import sample

        return sample(store, config)


class ImportVerb(Verb):
    """Import weights of other programs into the store."""

    writes = True
    reads = ("store",)
    keys = ImportKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.inference.import_weights import import_weights

        return import_weights(store, config)


class ExportVerb(Verb):
    """Export weights of the store for other programs."""

    reads = ("store",)
    keys = ExportKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.inference.export import export_weights

        return export_weights(store, config)


def _folder(out: object) -> Path | None:
    """The folder that was typed under `out`, None without one. Raises ConfigError for one that cannot be written."""
    if out is None:
        return None
    folder = Path(str(out)).expanduser()
    check_out(folder)
    return folder
