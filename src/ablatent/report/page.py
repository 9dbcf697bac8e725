"""What a report shows, gathered once for HTML and Markdown. A part that cannot be drawn becomes a problem."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ablatent.core.escape import file_name
from ablatent.core.files import write_atomic
from ablatent.core.progress import counted, seconds
from ablatent.core.targets import TARGET, class_of
from ablatent.report import charts, cost, data_sets, figures, images, judges, remarks, tables
from ablatent.report.charts import Chart, numeric_axes
from ablatent.report.drawn import Drawing, Drawn
from ablatent.report.forest import forest_figure
from ablatent.report.model import Sweep
from ablatent.report.tables import TableData
from ablatent.report.verdicts import Verdicts, verdicts_of

T = TypeVar("T")
LATENTS = (
    "What diffusion is trained on: latents of the training images, with the encoder's noise. Noise schedules are meant "
    "for a deviation of 1, and sampling starts from N(0, 1), the dashed line."
)
JUDGES = (
    "Networks trained on real training images of the same data, and measured on real held-out ones: what they find "
    "there is what samples as good as real images would get."
)
NEIGHBOURS = "neighbours.png"


@dataclass(frozen=True)
class Figure:
    """One image: also files under figures/. name: of those files, any text; png: its bytes; vectors: the same as other
    files, by format; alt: what it shows, in words, the caption where it is empty."""

    name: str
    caption: str
    png: bytes
    vectors: Drawing = field(default_factory=dict)
    alt: str = ""

    @classmethod
    def drawn(cls, name: str, caption: str, drawing: Drawing, alt: str = "") -> "Figure":
        """A figure in all formats."""
        return cls(name, caption, drawing["png"], {k: v for k, v in drawing.items() if k != "png"}, alt)

    @property
    def stem(self) -> str:
        """The name of its files, without the suffix."""
        return file_name(self.name)

    @property
    def file(self) -> str:
        """The name of its PNG file."""
        return f"{self.stem}.png"

    @property
    def files(self) -> dict[str, bytes]:
        """Name → bytes of all its files."""
        return {f"{self.stem}.{name}": data for name, data in {"png": self.png, **self.vectors}.items()}


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
    chart: Chart | None
    axis_figures: list[Figure]
    curve_charts: list[Chart]
    curve_figures: list[Figure]
    sheets: list[Figure]
    by_kind: TableData
    by_stage: TableData
    sampling: TableData | None
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


def _stage_figures(sweep: Sweep) -> list[Figure]:
    """figure.png of each stage that has one, which is its result; then the nearest training images of samples."""
    found = []
    for n, stored in enumerate(sweep.with_file("figure.png")):
        target = stored.config.get("task", {}).get(TARGET)
        name = str(target or stored.kind).rsplit(".", 1)[-1]
        label = sweep.label(stored.key)
        caption = f"{name}: {label}" if label != stored.kind else name
        found.append(Figure(f"task-{n}", caption, stored.file("figure.png").read_bytes()))
    for n, stored in enumerate(sweep.with_file(NEIGHBOURS)):
        caption = f"Samples nearest to a training image, above that image: {sweep.label(stored.key)}"
        found.append(Figure(f"neighbours-{n}", caption, stored.file(NEIGHBOURS).read_bytes()))
    return found


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
    axes = guard("Numeric axes", lambda: numeric_axes(sweep), no_axes)
    axis_figures = [
        Figure.drawn(f"over-{axis}", f"Metrics over {axis}", drawing, figures.over_axis_alt(sweep, axis))
        for axis in axes
        if (drawing := guard(f"The figure over {axis}", partial(figures.over_axis, sweep, axis, drawn), None))
    ]
    curve_figures, curve_charts = [], []
    for kind in dict.fromkeys(o.kind for o in sweep.objects.values()):
        drawing = guard(f"Curves of {kind}", partial(figures.curves, sweep, kind, drawn), None)
        if drawing:
            caption = f"Training curves: {kind} (raw faint, smoothed on top)"
            curve_figures.append(Figure.drawn(f"curves-{kind}", caption, drawing))
        chart = guard(f"The chart of {kind}", partial(charts.curves_chart, sweep, kind), None)
        curve_charts += [chart] if chart else []
    drawing = guard("Latents", lambda: figures.latents(sweep, drawn), None)
    about = "Normalised training latents, channel by channel"
    latent_figures = [Figure.drawn("latents", about, drawing)] if drawing else []
    drawing = guard("Noise schedules", lambda: figures.schedules(sweep, drawn), None)
    schedule_figures = [Figure.drawn("schedules", "Noise schedules", drawing)] if drawing else []
    no_figures: list[Figure] = []
    task_figures = guard("Tasks", lambda: _stage_figures(sweep), no_figures)
    sheets = [
        Figure(f"reconstructions-{n}" if len(rows) > 1 else "reconstructions", "Reconstructions", images.sheet(g.rows))
        for n, g in enumerate(rows)
    ]
    rows_of_samples = [strip for group in cards.groups for strip in group.rows]
    if rows_of_samples:
        sheets.append(Figure("samples", "Samples, above decoded N(0, I) latents", images.sheet(rows_of_samples)))
    verdicts = guard("What is claimed", lambda: verdicts_of(sweep), Verdicts())
    labels = {name: score.label for name, score in sweep.metrics.items()}
    drawing = guard("The figure of verdicts", lambda: forest_figure(verdicts, labels, drawn), None)
    about = "Effects with their intervals, beside the margins claimed"
    verdict_figures = [Figure.drawn("verdicts", about, drawing)] if drawing else []
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
        remarks=guard("Remarks", lambda: remarks.remarks(sweep, by_seed), []),
        warnings=guard("Protocols", lambda: remarks.warnings(sweep), []),
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
        chart=guard("The chart of results", lambda: charts.results_chart(sweep), None),
        axis_figures=axis_figures,
        curve_charts=curve_charts,
        curve_figures=[*curve_figures, *schedule_figures],
        sheets=sheets,
        by_kind=guard("Cost by kind", lambda: cost.by_kind(sweep), empty),
        by_stage=guard("Cost by stage", lambda: cost.by_stage(sweep), empty),
        sampling=guard("Sampling speed", lambda: cost.sampling(sweep), None),
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
    """Write every figure, in each of its formats, into `folder`, which is made, and what they were drawn from; returns
    the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, bytes] = {}
    drawings = [*page.verdict_figures, *page.axis_figures, *page.latent_figures, *page.curve_figures]
    for figure in [*drawings, *page.sheets, *page.task_figures]:
        written |= figure.files
    for name, data in written.items():
        write_atomic(folder / name, data)
    drawn.record(folder, written)
    return [folder / name for name in written]
