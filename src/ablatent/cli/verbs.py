"""The verbs of `do=`: one class and one YAML in conf/do each. The YAML has the keys that only this verb reads."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Lt

from ablatent.cli.command_fields import check_command, check_preset
from ablatent.cli.verb import Config, Verb
from ablatent.core.declared import declared
from ablatent.core.disk import full_disk_named
from ablatent.core.errors import AblatentError, DataError
from ablatent.core.escape import for_console
from ablatent.core.fields import Count, Fields, Positive, StageKey, Text, WeightsName, Whole
from ablatent.core.instantiate import make
from ablatent.core.progress import console, counted
from ablatent.inference.pretrained import Resolver
from ablatent.report.place import RECORD, check_out
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key, SweepId
from ablatent.store.layout import object_folders
from ablatent.store.sweeps import newest_sweep, sweep_named
from ablatent.store.verify import Damaged, verify
from ablatent.sweep.executors import Executor
from ablatent.sweep.image_counts import image_lines
from ablatent.sweep.plan import Composed, Job, Plan, effects, make_plan, stages_table
from ablatent.sweep.run_sweep import run
from ablatent.tracking.base import NoTracking, Tracking


class JobsKeys(Fields):
    """The keys of verbs of jobs."""

    title: Annotated[Text | None, "at the head of the report"]
    question: Annotated[Text | None, "that the sweep answers, at the head of the report"]
    out: Annotated[Text | None, "folder of the report; null: the sweep's in the store"]


class PlanVerb(Verb):
    """Compose, plan and check every job; print the stages and networks; build nothing."""

    takes_jobs = True

    keys = JobsKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.sweep.network_sizes import sizes_table

        plan = checked_plan(jobs, store, everything=True)
        console.print(stages_table(plan, store))
        for axis, kinds in effects(plan).items() if plan.stages else ():
            console.print(for_console(f"{axis}: changes {', '.join(kinds) or 'no stage'}"))
        if plan.stages or any(job.without_data for job in plan.jobs):
            console.print(sizes_table(plan))
        return 2 if any(job.refused for job in plan.jobs) else 0


class RunVerb(Verb):
    """Build the missing stages, score, track, report."""

    takes_jobs = True

    keys = JobsKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        out = _folder(config["out"])
        plan = checked_plan(jobs, store, everything=False)
        if not plan.stages:
            return 2 if any(job.refused for job in plan.jobs) else 0
        tracking: Tracking = make(config["tracking"], Tracking)
        executor: Executor = make(config["executor"], Executor)
        writable = store.is_writable()
        if not writable:
            if _missing(plan, store):
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

        return run(plan, store, config, command, executor, tracking, report, None if writable else record_elsewhere)


class ReportKeys(Fields):
    """The keys of do=report."""

    sweep: Annotated[Text | None, "id of the sweep, below store/sweeps; null: the newest"]
    out: Annotated[Text | None, "folder of the report; null: the sweep's in the store"]


class ReportVerb(Verb):
    """Write the report of a sweep again, from the store alone."""

    reads = ("store",)

    keys = ReportKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.report.finish import finish

        typed = config["sweep"]
        finish(store.root, newest_sweep(store.root) if typed is None else str(typed), out=_folder(config["out"]))
        return 0


class StatusKeys(Fields):
    """The keys of do=status."""

    sweep: Annotated[Text | None, "id of a sweep whose jobs are listed; null: none"]


class StatusVerb(Verb):
    """Print the contents of the store."""

    reads = ("store",)

    keys = StatusKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.sweep.status import print_status

        typed = config["sweep"]
        print_status(store, None if typed is None else sweep_named(store.root, str(typed)))
        return 0


class VerifyVerb(Verb):
    """Hash every stored byte; damaged objects are named, and set aside."""

    reads = ("store",)

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        damaged, folders = 0, object_folders(store.root)
        for folder in folders:
            try:
                verify(folder, Key(folder.name), everything=True)
            except Damaged as e:
                damaged += 1
                text = f"[red]damaged[/] {for_console(e)}"
                if store.is_writable():
                    store.set_aside(Key(folder.name), text)
                else:
                    console.print(f"  {text} It stays where it is: the store can only be read.")
            except DataError as e:  # whole, but of a shape that this version does not know: it stays where it is
                damaged += 1
                console.print(f"  [red]unknown[/] {for_console(f'{folder}: {e}')}")
        console.print(f"{len(folders) - damaged} of {counted(len(folders), 'object')} whole")
        return 1 if damaged else 0


class SampleKeys(Fields):
    """The keys of do=sample."""

    model: Annotated[Text | None, "SWEEP:JOB, the key of a diffusion or imported stage, or a W&B run id"]
    prompt: Annotated[str | None, "one prompt, for models that read captions"]
    prompts: Annotated[Text | None, "a text file with one prompt a line"]
    class_: Annotated[Text | None, "a class by its name"]
    label: Annotated[Whole | None, "a class by its number"]
    image: Annotated[Text | None, "file of an image, for models and tasks that read one"]
    mask: Annotated[Text | None, "file of a mask of the size of the image, white = fill, grey = in part"]
    map: Annotated[Text | None, "file of a segmentation map"]
    boxes: Annotated[Text | None, "[[CLASS, x0, y0, x1, y1], …] in shares of the image from left and top"]
    annotations: Annotated[Mapping[str, Any] | None, "further annotations by name; a list gives values in turn"]
    n: Annotated[Count, "images, of each prompt"]
    out: Annotated[Text | None, "folder of the PNG files; null: a new one below samples/"]
    repeat: Annotated[Text | None, "a PNG file of do=sample, which is made again"]
    size: Annotated[Count | None, "side in pixels of the images of an imported model; null: 256"]


class SampleVerb(Verb):
    """Write samples of a finished model as PNG files."""

    reads = ("sampler", "guidance", "samples", "task", "runtime", "store", "tracking", "seed")

    keys = SampleKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.inference.sampling import sample

        return sample(store, config)


class ImportOptions(Fields):
    """The keys of `interop` with do=import."""

    heads: Annotated[Count | None, "attention heads of the UNet"]
    head_channels: Annotated[Count | None, "channels of an attention head of the UNet"]
    heads_first: Annotated[bool, "rows of fused query, key and value are ordered by head first"]
    T: Annotated[Count | None, "times of the schedule"]
    beta_start: Annotated[float, Gt(0), Lt(1), "variance of the first step"] | None
    beta_end: Annotated[float, Gt(0), Lt(1), "variance of the last step"] | None
    scale_factor: Annotated[Positive | None, "by which raw latents are multiplied"]
    null_label: Annotated[bool, "the last row of a class embedding is the null class"]


class ExportOptions(Fields):
    """The keys of `interop` with do=export."""

    weights: Annotated[WeightsName, "which weights, to diffusers"]
    snapshot: Annotated[Count | Literal["last"], "of the weights: after so many steps"]


class ImportKeys(Fields):
    """The keys of do=import."""

    path: Annotated[Text | None, "the file or folder to read"]
    format: Annotated[Text | None, "of the file: compvis or diffusers"]
    interop: Annotated[ImportOptions, "what does not follow from the file; null: as in the released model"]


class ImportVerb(Verb):
    """Import weights of other programs into the store."""

    writes = True
    reads = ("store",)

    keys = ImportKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.inference.import_weights import import_weights

        return import_weights(store, config)


class ExportKeys(Fields):
    """The keys of do=export."""

    path: Annotated[Text | None, "the folder to write"]
    format: Annotated[Text | None, "of the files: compvis or diffusers"]
    key: Annotated[StageKey | None, "of the first_stage, diffusion or imported stage"]
    interop: Annotated[ExportOptions, "which weights"]


class ExportVerb(Verb):
    """Export weights of the store for other programs."""

    reads = ("store",)

    keys = ExportKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        from ablatent.inference.export import export_weights

        return export_weights(store, config)


def execute(jobs: Sequence[Composed], command: str) -> int:
    """Run the verb that the jobs name by `do`; the exit code. Raises AblatentError where no job could be composed."""
    config = next((job.config for job in jobs if job.refused is None or job.without_data), None)
    if config is None:
        raise AblatentError("\n".join(dict.fromkeys(str(job.refused) for job in jobs)))
    check_preset(config.get("preset") or {})
    check_command(config, declared(config["verb"], "reads"))
    store = Store(config["store"]["path"])
    verb: Verb = make(config["verb"], Verb)
    if verb.writes:
        store.check_writable()
    with full_disk_named(store.root):
        return verb(jobs, store, config, command)


def checked_plan(composed: Sequence[Composed], store: Store, everything: bool) -> Plan:
    """The plan of these jobs; each that cannot run is refused, with a printed reason.

    everything: check also where all stages are in the store already, which takes an import of torch.
    """
    resolver = Resolver(store)
    plan = make_plan([_resolved(job, resolver) for job in composed])
    missing = _missing(plan, store)
    if everything or missing:
        from ablatent.sweep.check import check_plan

        check_plan(plan, lambda stage: stage.key not in missing)
    for line in image_lines(plan):
        console.print(for_console(line))
    for reason, jobs in refusals(plan).items():
        named = f"job {jobs[0].index} {jobs[0].name}: " if len(plan.jobs) > 1 else ""
        if len(jobs) > 1:
            named = "all jobs: " if len(jobs) == len(plan.jobs) else f"{len(jobs)} jobs, the first {named}"
        console.print(f"[red]refused[/] {for_console(named + reason)}")
    return plan


def refusals(plan: Plan) -> dict[str, list[Job]]:
    """Reason → the jobs that are refused for it, each reason once."""
    out: dict[str, list[Job]] = {}
    for job in plan.jobs:
        if job.refused is not None:
            out.setdefault(job.refused, []).append(job)
    return out


def _missing(plan: Plan, store: Store) -> set[Key]:
    """The keys of a plan's stages that the store does not have."""
    return {stage.key for stage in plan.stages.values() if not store.folder(stage.key).exists()}


def _resolved(job: Composed, resolver: Resolver) -> Composed:
    """The job with its references to the store resolved; refused where the store has no such artifact."""
    if job.refused is not None:
        return job
    try:
        return replace(job, config=resolver(job.config))
    except AblatentError as e:
        return replace(job, refused=str(e))


def _folder(out: object) -> Path | None:
    """The folder that was typed under `out`, None without one. Raises ConfigError for one that cannot be written."""
    if out is None:
        return None
    folder = Path(str(out)).expanduser()
    check_out(folder)
    return folder
