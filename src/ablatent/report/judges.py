"""The judges of a sweep: what they are, what they learned from, how good they are on real held-out images."""

from ablatent.core.progress import counted
from ablatent.report.model import Sweep
from ablatent.report.tables import Cell, TableData


def judges_table(sweep: Sweep) -> TableData | None:
    """One row a judge; None without any. Scores that are shares with half of their 95 % interval."""
    rows = []
    for stored in [o for o in sweep.readable if "held_out" in o.summary]:
        summary, config = stored.summary, stored.config
        values, half, labels = summary["held_out"], summary["half_width"], summary["labels"]
        found = [
            f"{labels.get(name, name)} {value:.3f}" + (f" ± {half[name]:.3f}" if name in half else "")
            for name, value in values.items()
            if name != "count"
        ]
        weakest = sorted(summary["by_name"].items(), key=lambda item: item[1])[:3]
        calibrated = ", ".join(f"{name} {value:g}" for name, value in summary["calibrated"].items())
        rows.append(
            [
                Cell(str(config["verdict"]["_target_"]).rsplit(".", 1)[-1], hint=stored.key),
                Cell(str(stored.data["source"]).rsplit(".", 1)[-1]),
                Cell(
                    f"{counted(summary['trained_on'], 'image')}, {counted(summary['steps'], 'step')}, "
                    f"{summary['parameters'] / 1e6:.2f}M"
                ),
                Cell(f"{values['count']:,}"),
                Cell("; ".join(found) + (f" ({calibrated})" if calibrated else "")),
                Cell(", ".join(f"{name} {value:.2f}" for name, value in weakest)),
            ]
        )
    columns = ["judge", "data", "training", "held-out images", "on held-out images", "its weakest classes"]
    return TableData(columns, rows, len(columns)) if rows else None
