"""The forest of a sweep's claims: the effect of each contrast with its interval, beside the margin that matters."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ablatent.core.escape import for_figure
from ablatent.report.drawn import Drawing, Drawn
from ablatent.report.figures import CHARACTER, PANEL, grid_of, panel_title
from ablatent.report.verdict_text import percent, titled
from ablatent.report.verdicts import Verdicts
from ablatent.store.code import code_digest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOUR = {"agree": "#009E73", "disagree": "#D55E00", "inconclusive": "#6B7680"}
"""Verdict → colour, after Okabe & Ito 2008: green, vermilion, and grey."""
ROWS = 6
"""Contrasts in one panel at most."""


@dataclass(frozen=True)
class ForestRow:
    """A contrast: effect, low and high in units of its panel; bounds: effects between which it does not matter;
    verdict: its colour; expect: lower, higher or equal."""

    label: str
    effect: float
    low: float
    high: float
    bounds: tuple[float, float]
    verdict: str
    expect: str


@dataclass(frozen=True)
class ForestPanel:
    """Contrasts of one score on one scale. zero: the value of no effect, 0, or 1 of a ratio."""

    title: str
    zero: float
    rows: Sequence[ForestRow]


def forest(verdicts: Verdicts, labels: dict[str, str] | None = None) -> list[ForestPanel]:
    """The panels of all contrasts that have an interval. labels: name of a score → its label, where it has one."""
    found: dict[tuple[str, str], list[ForestRow]] = {}
    for claim, contrast in verdicts.contrasts:
        if contrast.effect is None or contrast.interval is None:
            continue
        about = contrast.contrast
        found.setdefault((about.metric, about.scale), []).append(
            ForestRow(
                label=f"{titled(claim)}: {contrast.name}",
                effect=contrast.effect,
                low=contrast.interval[0],
                high=contrast.interval[1],
                bounds=contrast.bounds,
                verdict=contrast.verdict,
                expect=about.expect,
            )
        )
    panels = []
    for (metric, scale), rows in found.items():
        title = f"{(labels or {}).get(metric, metric)}, {'ratio' if scale == 'ratio' else 'difference'}"
        zero = 1.0 if scale == "ratio" else 0.0
        panels += [ForestPanel(title, zero, rows[n : n + ROWS]) for n in range(0, len(rows), ROWS)]
    return panels


def forest_figure(verdicts: Verdicts, labels: dict[str, str], drawn: Drawn) -> Drawing | None:
    """The forest, as files by format; None where no contrast has an interval."""
    panels = forest(verdicts, labels)
    if not panels:
        return None
    what = ["forest", code_digest([__name__]), verdicts.confidence, [asdict(panel) for panel in panels]]
    return drawn.figure(what, lambda: _draw(panels, verdicts.confidence))


def _draw(panels: Sequence[ForestPanel], confidence: float) -> Drawing:
    with grid_of(len(panels)) as (places, out):
        for panel, axes in zip(panels, places, strict=True):
            for n, row in enumerate(panel.rows):
                _draw_row(axes, row, float(-n))
            axes.axvline(panel.zero, color="black", lw=0.8)
            axes.set(title=panel_title(panel.title), xlabel=f"effect, {percent(confidence)} interval")
            axes.set(ylim=(-len(panel.rows) + 0.4, 0.75), yticks=[])
            axes.margins(x=0.08)
            axes.grid(visible=False, axis="y")
    return out


def _draw_row(axes: "Axes", row: ForestRow, at: float) -> None:
    colour = COLOUR[row.verdict]
    ends = [[row.effect - row.low], [row.high - row.effect]]
    axes.errorbar([row.effect], [at], xerr=ends, color=colour, fmt="o", ms=5, lw=1.8, capsize=3, label=row.verdict)
    low, high = row.bounds
    for bound in {"lower": [low], "higher": [high], "equal": [low, high]}[row.expect]:
        axes.plot([bound, bound], [at - 0.3, at + 0.3], color="black", ls=":", lw=1.2, label="margin")
    fits = int(PANEL / CHARACTER) - 6
    text = row.label if len(row.label) <= fits else f"{row.label[: fits - 1]}…"
    axes.text(0.02, at + 0.32, for_figure(text), transform=axes.get_yaxis_transform(), fontsize=8, va="bottom")
