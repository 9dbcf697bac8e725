"""The figure of two objectives: all trials, and those that no other one surpasses. Alone loads matplotlib."""

from collections.abc import Collection, Sequence

from ablatent.core.escape import for_figure
from ablatent.report.figures import COLOURS, grid_of, panel_title


def front_figure(points: Sequence[tuple[int, float, float]], front: Collection[int], titles: Sequence[str]) -> bytes:
    """PNG bytes of the two objectives of each trial, a point with its number.

    points: (number, first, second objective); front: numbers of the trials that are joined; titles: of the objectives.
    """
    with grid_of(1, formats=("png",)) as ((axes,), out):
        others = [(x, y) for number, x, y in points if number not in front]
        best = sorted((x, y) for number, x, y in points if number in front)
        if others:
            x, y = zip(*others, strict=True)
            axes.plot(x, y, color=COLOURS[0], ls="", marker="o", ms=4, alpha=0.6, label="other trials")
        x, y = zip(*best, strict=True)
        axes.plot(x, y, color=COLOURS[1], marker="o", ms=5, lw=1.2, label="Pareto front")
        for number, *place in points:
            axes.annotate(str(number), (place[0], place[1]), textcoords="offset points", xytext=(4, 3), fontsize=7)
        axes.set(title=panel_title("Pareto front"), xlabel=for_figure(titles[0]), ylabel=for_figure(titles[1]))
    return out["png"]
