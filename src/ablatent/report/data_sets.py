"""The images of a sweep: what was found, used and left out, as it was planned."""

import json
from collections.abc import Mapping
from typing import Any

from ablatent.core.targets import TARGET
from ablatent.report.model import Sweep
from ablatent.report.tables import Cell, TableData


def data_sets_table(sweep: Sweep) -> TableData | None:
    """A row for each distinct data set; None where no plan has counts (they are newer than the store)."""
    rows = {}
    for job in sweep.jobs:
        if job.images:
            node = job.config["data"]
            name = str(node[TARGET]).rsplit(".", 1)[-1]
            where = f"{name} {node['root']}" if node.get("root") else name
            rows[json.dumps([node, dict(job.images)], sort_keys=True, default=str)] = [
                Cell(where),
                *(Cell(str(job.images[key])) for key in ("found", "train", "validation")),
                Cell(_numbers(job.images["left_out"]) or "none"),
                Cell(_numbers(job.images["others"]) or "nothing"),
            ]
    columns = ["images of", "found", "for training", "for validation", "left out", "beside them, not read"]
    return TableData(columns, list(rows.values()), 1) if rows else None


def _numbers(value: Mapping[str, Any]) -> str:
    return ", ".join(f"{n} {what}" for what, n in value.items())
