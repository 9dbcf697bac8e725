"""The figures of a report: training curves and metrics over numeric axes. Alone loads matplotlib.

Each gathers what it shows as plain values, by which `Drawn` finds it where it was drawn before, and draws them else: as
PNG for pages, as SVG and PDF for papers.
"""

import io
import json
import logging
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ablatent.core.escape import for_figure
from ablatent.core.targets import TARGET
from ablatent.report.charts import curve_order, line_label
from ablatent.report.drawn import FORMATS, Drawing, Drawn
from ablatent.report.model import UNREADABLE, Sweep, show_value
from ablatent.report.tables import JobRow, row_score, seed_rows
from ablatent.store.code import code_digest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito 2008: distinguishable with any colour vision
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31"]
PANEL, CHARACTER = 3.9, 0.085  # inches: the width of a panel, and of a character of labels at most, on average
RC: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.hashsalt": "ablatent",  # else the names of its parts are random
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
}
UNDATED: Mapping[str, Mapping[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""What is left out of the files, so that the same figure has the same bytes."""


@contextmanager
def grid_of(
    count: int, wide: int = 3, formats: Sequence[str] = FORMATS
) -> Iterator[tuple[list["Axes"], dict[str, bytes]]]:
    """`count` axes in a grid; on leaving, the figure is in `out`, by format. No pyplot: no state outlives the call."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(wide, count)
    rows = math.ceil(count / columns)
    out: dict[str, bytes] = {}
    with rc_context(RC):  # type: ignore[arg-type]  # the stubs list every key
        width = PANEL * max(columns, 2)
        figure = Figure(dpi=110, facecolor="white")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        for empty in grid[count:]:
            empty.set_axis_off()
        yield grid[:count], out
        legend = _legend(figure, grid[:count], width)
        # inches by hand: constrained layout takes longer than all the drawing
        top, body, bottom = 0.3, 2.55 * rows - 0.7, 0.55 + legend
        height = top + body + bottom
        figure.set_size_inches(width, height)
        figure.subplots_adjust(
            left=0.74 / width,
            right=1 - 0.15 / width,
            top=1 - top / height,
            bottom=bottom / height,
            wspace=0.24,
            hspace=0.42,
        )
        logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells each table of a font that PDF leaves out
        for name in formats:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=name, metadata=UNDATED[name])
            out[name] = buffer.getvalue()


def _legend(figure: "Figure", panels: Sequence["Axes"], width: float) -> float:
    """Draw one legend for all panels, in as many columns as fit; its height. width: of the figure, in inches."""
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    labels = [textwrap.fill(for_figure(label), int((width - 0.6) / CHARACTER)) for label in entries]
    for columns in range(min(4, len(entries)), 0, -1):
        legend = figure.legend(entries.values(), labels, loc="lower center", ncols=columns)
        extent = legend.get_window_extent()
        if extent.width <= width * figure.dpi or columns == 1:
            return float(extent.height / figure.dpi)
        legend.remove()
    return 0.0


def panel_title(text: str) -> str:
    """The title of a panel: one line of its width, without its middle where it is longer."""
    fits = int(PANEL / CHARACTER)
    return for_figure(text if len(text) <= fits else f"{text[: fits // 2]}…{text[-(fits // 2 - 1) :]}")


def smooth(values: np.ndarray, span: float) -> np.ndarray:
    """Exponential moving average over about `span` points, debiased at the start (as Adam's moments are)."""
    keep, total, weight = 1 - 1 / max(span, 1.0), 0.0, 0.0
    out = np.empty_like(values, dtype=np.float64)
    for n, value in enumerate(values):
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        out[n] = total / weight
    return out


def _colour(n: int) -> str:
    return COLOURS[n % len(COLOURS)]


def _dashes(n: int) -> str:
    """Distinguishes lines of one colour."""
    return ("-", "--", ":", "-.")[n // len(COLOURS) % 4]


def curves(sweep: Sweep, kind: str, drawn: Drawn) -> Drawing | None:
    """Training curves of all stages of one kind, one panel a quantity, one line a stage: raw faint, smoothed on top."""
    found: list[tuple[str, dict[str, np.ndarray]]] = []
    for stored in sweep.of_kind(kind):
        try:
            found.append((sweep.label(stored.key), stored.curves()))
        except UNREADABLE as error:
            sweep.problems.append(f"{stored.key}: curves.csv: {error}.")
    names = curve_order(found)
    return drawn.figure(["curves", names, found], lambda: _draw_curves(names, found)) if names else None


def _draw_curves(names: Sequence[str], found: Sequence[tuple[str, Mapping[str, np.ndarray]]]) -> Drawing:
    with grid_of(len(names)) as (panels, out):
        for name, axes in zip(names, panels, strict=True):
            for n, (label, values) in enumerate(found):
                if name in values:
                    _draw_curve(axes, values[name], n, label)
            axes.set(title=panel_title(name), xlabel="step")
    return out


def _draw_curve(axes: "Axes", points: np.ndarray, n: int, label: str) -> None:
    colour, ls = _colour(n), _dashes(n)
    points = points[np.isfinite(points[:, 1])]
    step, value = points[:, 0], points[:, 1]
    if len(points) < 30:
        axes.plot(step, value, color=colour, ls=ls, label=label, lw=1.4, marker="o", ms=3)
        return
    axes.plot(step, value, color=colour, alpha=0.22, lw=0.7)
    axes.plot(step, smooth(value, len(value) / 25), color=colour, ls=ls, label=label, lw=1.5)


def latents(sweep: Sweep, drawn: Drawn) -> Drawing | None:
    """How the normalised training latents are spread, one panel a first stage, one line a channel, beside N(0, 1)."""
    found = [(sweep.label(stored.key), stored.json("histograms.json")) for stored in sweep.with_file("histograms.json")]
    return drawn.figure(["latents", found], lambda: _draw_latents(found)) if found else None


def _draw_latents(found: Sequence[tuple[str, Mapping[str, Any]]]) -> Drawing:
    with grid_of(len(found)) as (panels, out):
        for (label, histograms), axes in zip(found, panels, strict=True):
            edges, counts = np.array(histograms["edges"]), np.array(histograms["counts"])
            total = counts.sum(axis=1) + np.array(histograms["outside"])
            few = len(counts) <= len(COLOURS)
            for n, density in enumerate(counts / total[:, None] / np.diff(edges)):
                channel = f"channel {n}" if few else None
                axes.stairs(density, edges, color=_colour(n), label=channel, lw=1.2, alpha=1.0 if few else 0.4)
            middle = (edges[:-1] + edges[1:]) / 2
            unit = np.exp(-(middle**2) / 2) / math.sqrt(2 * math.pi)
            axes.plot(middle, unit, color="black", ls="--", lw=1.1, label="N(0, 1)")
            axes.set(title=panel_title(label), xlabel="normalised latent")
    return out


def schedules(sweep: Sweep, drawn: Drawn) -> Drawing | None:
    """Signal left and log-SNR over time, one line a noise schedule of the sweep."""
    by_key = {key: job for job in sweep.jobs for key in job.stages.values()}
    noised = [by_key[o.key] for o in sweep.objects.values() if "schedule" in o.config and o.key in by_key]
    nodes = list({json.dumps(n, sort_keys=True): n for n in (j.config["schedule"] for j in noised)}.values())
    if not nodes:
        return None
    code = code_digest([str(node[TARGET]).rpartition(".")[0] for node in nodes])  # their tables follow from it
    return drawn.figure(["schedules", nodes, code], lambda: _draw_schedules(nodes))


def _draw_schedules(nodes: Sequence[Mapping[str, Any]]) -> Drawing:
    from ablatent.core.instantiate import make
    from ablatent.schedules.base import NoiseSchedule  # needs torch, which the other figures do without

    with grid_of(2) as ((signal, snr), out):
        for n, node in enumerate(nodes):
            schedule = make(node, NoiseSchedule)
            alpha2, sigma2 = (level.numpy() for level in schedule.squares())
            t, label = np.arange(schedule.T) / schedule.T, _schedule_label(node, len(nodes))
            signal.plot(t, np.sqrt(alpha2), color=_colour(n), label=label, lw=1.5)
            inside = alpha2 > 0  # log-SNR is -inf at zero terminal SNR
            log_snr = np.log(alpha2[inside] / sigma2[inside])
            snr.plot(t[inside], log_snr, color=_colour(n), label=label, lw=1.5)
        signal.set(title="signal left, alpha", xlabel="t / T")
        snr.set(title="log-SNR", xlabel="t / T")
    return out


def _schedule_label(node: Mapping[str, Any], count: int) -> str:
    """The class, and its options where there are several schedules."""
    name = str(node[TARGET]).rsplit(".", 1)[-1]
    options = " ".join(f"{k}={show_value(v)}" for k, v in node.items() if k != TARGET and not isinstance(v, list))
    return f"{name} {options}" if count > 1 else name


def _varies(sweep: Sweep, rows: Sequence[JobRow], metric: str, axis: str) -> bool:
    """Whether the metric depends on the axis in any line; a reconstruction does not care for the sampler's steps."""
    lines: dict[str, set[float]] = {}
    for row in rows:
        score = row_score(sweep, row, metric)
        if score is not None:
            lines.setdefault(line_label(sweep, row, axis), set()).add(score.value)
    return any(len(v) > 1 for v in lines.values())


Point = tuple[float | int, float, float | None]
"""Place on the axis, value of the metric, half of its bar; None without one."""


def over_axis(sweep: Sweep, axis: str, drawn: Drawn) -> Drawing | None:
    """Every metric that depends on a numeric axis, over that axis; one line a setting of the others. Baselines and
    chance stand in the table alone.

    Bars: the deviation over trainings where there are several, else that over samples.
    """
    rows = seed_rows(sweep)
    metrics = [m for m, s in sweep.metrics.items() if s.beside is None and _varies(sweep, rows, m, axis)]
    if not metrics:
        return None
    lines: dict[str, list[JobRow]] = {}
    for row in sorted(rows, key=lambda r: r.axes[axis]):
        lines.setdefault(line_label(sweep, row, axis), []).append(row)
    panels = [
        (sweep.metrics[metric].title, {label: _points(sweep, of, metric, axis) for label, of in lines.items()})
        for metric in metrics
    ]
    positions = sorted({r.axes[axis] for r in rows})
    what = ["over an axis", axis, positions, [(title, list(of.items())) for title, of in panels]]
    return drawn.figure(what, lambda: _draw_over_axis(axis, positions, panels))


def over_axis_alt(sweep: Sweep, axis: str) -> str:
    """What that figure shows, in words: of each line of its first metric the ends."""
    rows = sorted(seed_rows(sweep), key=lambda r: r.axes[axis])
    metrics = [m for m, s in sweep.metrics.items() if s.beside is None and _varies(sweep, rows, m, axis)]
    if not metrics:
        return ""
    lines: dict[str, list[Point]] = {}
    for row in rows:
        lines.setdefault(line_label(sweep, row, axis), []).extend(_points(sweep, [row], metrics[0], axis))
    ends = [f"{label}: {p[0][1]:.4g} at {p[0][0]:g}, {p[-1][1]:.4g} at {p[-1][0]:g}" for label, p in lines.items() if p]
    names = ", ".join(sweep.metrics[m].title for m in metrics)
    return f"{names} over {axis}. {sweep.metrics[metrics[0]].title} of {'; '.join(ends[:8])}"


def _points(sweep: Sweep, rows: Sequence[JobRow], metric: str, axis: str) -> list[Point]:
    found = [(r.axes[axis], s) for r in rows if (s := row_score(sweep, r, metric))]
    barred = any(s.std is not None for _, s in found)
    return [(at, s.value, (s.std or 0.0) if barred else None) for at, s in found]


def _draw_over_axis(
    axis: str, positions: Sequence[float | int], metrics: Sequence[tuple[str, Mapping[str, list[Point]]]]
) -> Drawing:
    with grid_of(len(metrics)) as (panels, out):
        for (title, lines), axes in zip(metrics, panels, strict=True):
            for n, (label, points) in enumerate(lines.items()):
                x, y, bars = [p[0] for p in points], [p[1] for p in points], [p[2] for p in points]
                spread: Any = None if None in bars else bars
                axes.errorbar(x, y, yerr=spread, color=_colour(n), label=label, marker="o", ms=4, lw=1.4, capsize=2)
            if positions[0] > 0 and positions[-1] / positions[0] >= 8:
                axes.set_xscale("log")
            axes.set_xticks(positions, [f"{p:g}" for p in positions])
            axes.minorticks_off()
            axes.set(title=panel_title(title), xlabel=for_figure(axis))
    return out
