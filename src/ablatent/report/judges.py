"""The judges of a sweep: what they are, what they learned from, how good they are on real held-out images."""

from ablatent.report.metrics import describe
from ablatent.report.model import Sweep
from ablatent.report.tables import Cell, Table


def table(sweep: Sweep) -> Table | None:
    """One row a judge; None without any. Numbers of shares with half of their 95 % interval."""
    rows = []
    for stored in sweep.of_kind("judge"):
        told, config = stored.summary, stored.manifest["config"]
        numbers, half = told["held_out"], told["half_width"]
        found = [
            f"{describe(name).label} {value:.3f}" + (f" ± {half[name]:.3f}" if name in half else "")
            for name, value in numbers.items()
            if name != "count"
        ]
        weakest = sorted(told["by_name"].items(), key=lambda item: item[1])[:3]
        calibrated = ", ".join(f"{name} {value:g}" for name, value in told["calibrated"].items())
        rows.append(
            [
                Cell(str(config["verdict"]["_target_"]).rsplit(".", 1)[-1], hint=stored.key),
                Cell(str(stored.manifest["data"]["source"]).rsplit(".", 1)[-1]),
                Cell(f"{told['trained_on']:,} images, {told['steps']:,} steps, {told['parameters'] / 1e6:.2f}M"),
                Cell(f"{numbers['count']:,}"),
                Cell("; ".join(found) + (f" ({calibrated})" if calibrated else "")),
                Cell(", ".join(f"{name} {value:.2f}" for name, value in weakest)),
            ]
        )
    columns = ["judge", "data", "training", "held-out images", "on held-out images", "its weakest classes"]
    return Table(columns, rows, len(columns)) if rows else None
