"""What a report shows, gathered once for HTML and Markdown. A part that cannot be drawn becomes a problem."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ablatent.core.escape import file_name
from ablatent.core.files import write_atomic
from ablatent.core.progress import counted, seconds
from ablatent.core.targets import TARGET, class_of
from ablatent.report import cost, data_sets, figures, images, judges, tables
from ablatent.report.drawn import Drawn
from ablatent.report.forest import forest_figure
from ablatent.report.model import Sweep
from ablatent.report.spreads import KINDS, spreads_of
from ablatent.report.tables import TableData
from ablatent.report.verdicts import Verdicts, verdicts_of
from ablatent.stages.options import needs_of

T = TypeVar("T")
LATENTS = (
    "What diffusion is trained on: latents of the training images, with the encoder's noise. Noise schedules are meant "
    "for a deviation of 1, and sampling starts from N(0, 1), the dashed line."
)
JUDGES = (
    "Networks trained on real training images of the same data, and measured on real held-out ones: what they find "
    "there is what samples as good as real images would get."
)

SPREADS = {
    "trainings": "± trainings is the sample deviation over distinct trainings, sets of samples of each averaged first",
    "sets": "± samples is the deviation over sets of samples of one training",
    "samples": "± samples is half of the 95 % interval over the samples of one training",
    "metric": "± metric is that of the metric itself, over its subsets or splits of the same images",
}
"""What each spread is; "sets": over samples, where a training has several sets of them."""


@dataclass(frozen=True)
class Figure:
    """One image: also a file under figures/. name: of that file, any text; png: its bytes."""

    name: str
    caption: str
    png: bytes

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{file_name(self.name)}.png"


@dataclass(kw_only=True)
class Page:
    """The parts of a report, in the order in which they are read."""

    sweep: Sweep
    title: str
    question: str
    lead: str
    verdicts: Verdicts
    verdict_figures: list[Figure]
    main: TableData
    jobs: TableData | None  # one row a job, when `main` is grouped over seeds
    remarks: list[str]
    warnings: list[str]
    protocols: TableData | None
    data_sets: TableData | None
    judges: TableData | None
    failures: TableData | None
    tracebacks: list[tuple[str, str]]
    reconstructions: list[images.ReconstructionGroup]
    latents: TableData | None
    latent_figures: list[Figure]
    samples: images.SampleSets
    task_figures: list[Figure]
    axis_figures: list[Figure]
    curve_figures: list[Figure]
    sheets: list[Figure]
    by_kind: TableData
    by_stage: TableData
    cost_line: str
    provenance: TableData | None
    credits: list[str]
    problems: list[str] = field(default_factory=list)


def _lead(sweep: Sweep) -> str:
    states = [j.status for j in sweep.jobs]
    ends = ", ".join(f"{states.count(s)} {s}" for s in ("finished", "failed", "refused", "unfinished") if s in states)
    statuses = [cost.stage_status(sweep, k) for k in sweep.objects]
    jobs = f"{counted(len(states), 'job')}: {ends or 'none'}"
    return (
        f"{jobs} · {counted(len(statuses), 'stage')}: {statuses.count('built')} built, {statuses.count('found')} found"
    )


def _credits(sweep: Sweep) -> list[str]:
    """Whom the data sets ask to be named beside their images."""
    targets = {str(j.config["data"]["_target_"]) for j in sweep.jobs if "data" in j.config}
    kinds: list[Any] = [class_of({TARGET: t}) for t in sorted(targets)]
    return [f"Images: {kind.credit}" for kind in kinds if kind.credit]


def _task_figures(sweep: Sweep) -> list[Figure]:
    """figure.png of each stage that has one, which is its result."""
    found = []
    for n, stored in enumerate(sweep.with_file("figure.png")):
        name = str(stored.config.get("task", {}).get(TARGET, stored.kind)).rsplit(".", 1)[-1]
        label = sweep.label(stored.key)
        caption = f"{name}: {label}" if label != stored.kind else name
        found.append(Figure(f"task-{n}", caption, stored.file("figure.png").read_bytes()))
    return found


def _spread_remarks(sweep: Sweep, metrics: list[str], by_seed: bool) -> list[str]:
    """What each column of spreads is, and of which scores."""
    over: dict[str, dict[str, None]] = {}
    for row in tables.seed_rows(sweep) if by_seed else tables.job_rows(sweep):
        for metric in (m for m in metrics if sweep.metrics[m].beside is None):
            if (found := spreads_of(sweep, row.jobs, metric)) is not None:
                kinds = [kind for kind in KINDS if found.over(kind) is not None]
                for kind in ["sets" if kind == "samples" and found.of_sets else kind for kind in kinds]:
                    over.setdefault(kind, {})[sweep.metrics[metric].label] = None
    return [f"{SPREADS[kind]} ({', '.join(over[kind])})." for kind in SPREADS if kind in over]


def _remarks(sweep: Sweep, by_seed: bool) -> list[str]:
    shown = tables.shown_metrics(sweep)
    found = _spread_remarks(sweep, shown, by_seed)
    found += dict.fromkeys(sweep.metrics[m].remark for m in shown if sweep.metrics[m].remark)
    if len(shown) < len(sweep.metrics):
        found.append("The baselines of the other metrics are in report.csv.")
    if any(
        any(m.endswith("_baseline") for m in j.scores) and _shows_images(j.config.get("conditioner"))
        for j in sweep.jobs
    ):
        found.append("Samples that are conditioned on parts of validation images look like these: their FID flatters.")
    return found


def _shows_images(conditioner: Any) -> bool:
    """Whether a conditioner node, or a part of it, hands pixels of images over."""
    return isinstance(conditioner, Mapping) and "pixels" in needs_of(conditioner)


def _warnings(sweep: Sweep) -> list[str]:
    alike: dict[str, list[str]] = {}
    for metric, fields in tables.incomparable(sweep).items():
        alike.setdefault(", ".join(fields), []).append(sweep.metrics[metric].label)
    return [
        f"{', '.join(labels)}: jobs were measured by different protocols ({fields} differ). Compare only jobs that "
        "agree in that; none is marked as best."
        for fields, labels in alike.items()
    ]


def gather(sweep: Sweep, drawn: Drawn) -> Page:
    """All parts of the report. Never raises for what the store lacks: the part is left out and named in `problems`.

    drawn: figures of earlier reports, which are not drawn again.
    """

    def guard(what: str, make: Callable[[], T], otherwise: T) -> T:
        try:
            return make()
        except Exception as error:  # whatever one part meets, the rest of the report must be written
            sweep.problems.append(f"{what} cannot be shown ({type(error).__name__}: {error}).")
            return otherwise

    by_seed = bool(sweep.seed_axes)
    empty = TableData([], [])
    title = sweep.title or (f"Ablation over {', '.join(sweep.axes)}" if sweep.axes else "Single run")
    no_rows: list[images.ReconstructionGroup] = []
    no_axes: list[str] = []
    rows = guard("Reconstructions", lambda: images.reconstructions(sweep), no_rows)
    cards = guard("Samples", lambda: images.samples(sweep), images.SampleSets())
    axis_figures = []
    for axis in guard("Numeric axes", lambda: figures.numeric_axes(sweep), no_axes):
        png = guard(f"The figure over {axis}", lambda axis=axis: figures.over_axis(sweep, axis, drawn), None)  # type: ignore[misc]
        if png:
            axis_figures.append(Figure(f"over-{axis}", f"Metrics over {axis}", png))
    curve_figures = []
    for kind in dict.fromkeys(o.kind for o in sweep.objects.values()):
        png = guard(f"Curves of {kind}", lambda kind=kind: figures.curves(sweep, kind, drawn), None)  # type: ignore[misc]
        if png:
            curve_figures.append(Figure(f"curves-{kind}", f"Training curves: {kind} (raw faint, smoothed on top)", png))
    png = guard("Latents", lambda: figures.latents(sweep, drawn), None)
    latent_figures = [Figure("latents", "Normalised training latents, channel by channel", png)] if png else []
    png = guard("Noise schedules", lambda: figures.schedules(sweep, drawn), None)
    if png:
        curve_figures.append(Figure("schedules", "Noise schedules", png))
    no_figures: list[Figure] = []
    task_figures = guard("Tasks", lambda: _task_figures(sweep), no_figures)
    sheets = [
        Figure(f"reconstructions-{n}" if len(rows) > 1 else "reconstructions", "Reconstructions", images.sheet(g.rows))
        for n, g in enumerate(rows)
    ]
    if cards.cards:
        pairs = [s for c in cards.cards for s in (c.samples, c.prior) if s]
        sheets.append(Figure("samples", "Samples, beside decoded N(0, I) latents", images.sheet(pairs, 2)))
    verdicts = guard("What is claimed", lambda: verdicts_of(sweep), Verdicts())
    labels = {name: score.label for name, score in sweep.metrics.items()}
    png = guard("The figure of verdicts", lambda: forest_figure(verdicts, labels, drawn), None)
    verdict_figures = (
        [Figure("verdicts", "Effects with their intervals, beside the margins claimed", png)] if png else []
    )
    spent = guard("Cost", lambda: cost.totals(sweep), {"now": 0.0, "once": 0.0, "alone": 0.0})
    page = Page(
        sweep=sweep,
        title=title,
        question=sweep.question,
        lead=guard("The summary", lambda: _lead(sweep), ""),
        verdicts=verdicts,
        verdict_figures=verdict_figures,
        main=guard("Results", lambda: tables.results(sweep, by_seed), empty),
        jobs=guard("Results by job", lambda: tables.results(sweep), empty) if by_seed else None,
        remarks=guard("Remarks", lambda: _remarks(sweep, by_seed), []),
        warnings=guard("Protocols", lambda: _warnings(sweep), []),
        protocols=guard("Protocols", lambda: tables.protocols(sweep), None),
        data_sets=guard("The table of images", lambda: data_sets.data_sets_table(sweep), None),
        judges=guard("Judges", lambda: judges.judges_table(sweep), None),
        failures=guard("Failures", lambda: tables.failures(sweep), None),
        tracebacks=[(j.name, j.error.traceback) for j in sweep.jobs if j.error and j.error.traceback],
        reconstructions=rows,
        latents=guard("The table of latents", lambda: tables.latents(sweep), None),
        latent_figures=latent_figures,
        samples=cards,
        task_figures=task_figures,
        axis_figures=axis_figures,
        curve_figures=curve_figures,
        sheets=sheets,
        by_kind=guard("Cost by kind", lambda: cost.by_kind(sweep), empty),
        by_stage=guard("Cost by stage", lambda: cost.by_stage(sweep), empty),
        cost_line=(
            f"This sweep built for {seconds(spent['now'])}. All its stages took {seconds(spent['once'])} to build; "
            f"with every job building its own they would have taken {seconds(spent['alone'])}."
        ),
        provenance=guard("Provenance", lambda: cost.provenance(sweep), None),
        credits=guard("Credits", lambda: _credits(sweep), []),
    )
    page.problems = list(dict.fromkeys(sweep.problems))
    return page


def write_figures(page: Page, folder: Path, drawn: Drawn) -> list[Path]:
    """Write every figure as NAME.png into `folder`, which is made, and what they were drawn from; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    drawings = [*page.verdict_figures, *page.axis_figures, *page.latent_figures, *page.curve_figures]
    for figure in [*drawings, *page.sheets, *page.task_figures]:
        path = folder / figure.file
        write_atomic(path, figure.png)
        written[path] = figure.png
    drawn.record(folder, {path.name: png for path, png in written.items()})
    return list(written)
