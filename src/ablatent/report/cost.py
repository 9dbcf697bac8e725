"""What a sweep cost, what sharing saved, and where everything came from."""

import math
from typing import Any

from ablatent.core.progress import seconds
from ablatent.report.model import Stored, Sweep
from ablatent.report.sampling_cost import gflop_an_image, seconds_an_image
from ablatent.report.tables import Cell, TableData, flatten, short


def users(sweep: Sweep) -> dict[str, int]:
    """key -> how many jobs stand on the stage."""
    count = dict.fromkeys(sweep.objects, 0)
    for job in sweep.jobs:
        for key in sweep.closure(job.stages.values()) & set(count):
            count[key] += 1
    return count


def stage_status(sweep: Sweep, key: str) -> str:
    """What this sweep did with a stage: built beats failed beats found; `not reached` when no job says."""
    outcomes = {j.built.get(key) for j in sweep.jobs}
    return next((s for s in ("built", "failed", "found", "skipped") if s in outcomes), "not reached")


def totals(sweep: Sweep) -> dict[str, float]:
    """Seconds: `now` spent by this sweep, `once` for each stage once, `alone` had every job built its own stages."""
    shared = users(sweep)
    timed = [o for o in sweep.objects.values() if o.seconds is not None]
    return {
        "now": math.fsum(o.seconds or 0 for o in timed if stage_status(sweep, o.key) == "built"),
        "once": math.fsum(o.seconds or 0 for o in timed),
        "alone": math.fsum((o.seconds or 0) * max(1, shared[o.key]) for o in timed),
    }


def by_kind(sweep: Sweep) -> TableData:
    """One row a stage kind: how many, built or found, time once and without sharing."""
    shared, rows = users(sweep), []
    kinds = list(dict.fromkeys(o.kind for o in sweep.objects.values()))
    for kind in kinds:
        mine = [o for o in sweep.objects.values() if o.kind == kind]
        statuses = [stage_status(sweep, o.key) for o in mine]
        once = math.fsum(o.seconds or 0 for o in mine)
        alone = math.fsum((o.seconds or 0) * max(1, shared[o.key]) for o in mine)
        wanted = sum(shared[o.key] for o in mine)
        counts = [
            Cell(str(len(mine))),
            Cell(str(statuses.count("built"))),
            Cell(str(statuses.count("found"))),
            Cell(str(wanted)),
        ]
        rows.append([Cell(kind), *counts, Cell(seconds(once)), Cell(seconds(alone))])
    all_ = totals(sweep)
    rows.append(
        [
            Cell("total", best=True),
            *[Cell("")] * 4,
            Cell(seconds(all_["once"]), True),
            Cell(seconds(all_["alone"]), True),
        ]
    )
    return TableData(["stage", "distinct", "built", "found", "uses by jobs", "time", "time without sharing"], rows)


def by_stage(sweep: Sweep) -> TableData:
    """Every stage: what it is, what happened to it, how many jobs share it, time and memory."""
    shared, rows = users(sweep), []
    for o in sweep.objects.values():
        peak = None if o.manifest is None else o.manifest.peak_memory_bytes
        status = stage_status(sweep, o.key)
        rows.append(
            [
                Cell(o.kind),
                Cell(sweep.label(o.key)),
                Cell(o.key),
                Cell(status, tone="bad" if status in ("failed", "not reached") else ""),
                Cell(str(shared[o.key])),
                Cell("–" if o.seconds is None else seconds(o.seconds)),
                Cell("–" if peak is None else f"{peak / 2**20:.0f} MiB"),
            ]
        )
    return TableData(["stage", "what it is", "key", "status", "jobs", "time", "peak memory"], rows, 4)


def sampling(sweep: Sweep) -> TableData | None:
    """How fast each sample set was drawn: network calls, rows of each, seconds and images; None without any."""
    rows = []
    for stored in sweep.readable:
        about = stored.summary if stored.has("images.npy") else {}
        spent = seconds_an_image(stored) if about.get("nfe") is not None else None
        if spent is not None:
            known = [about.get("network_rows"), gflop_an_image(stored), about.get("batch_size"), about.get("threads")]
            texts = ["–" if value is None else f"{value:.4g}" for value in known]
            rows.append([sweep.label(stored.key), str(about["nfe"]), *texts, f"{spent:.3g}", f"{1 / spent:.3g}"])
    columns = [
        "samples",
        "NFE",
        "rows of a call",
        "GFLOP per image",
        "batch",
        "threads",
        "seconds per image",
        "images per second",
    ]
    return TableData(columns, [[Cell(text) for text in row] for row in rows]) if rows else None


PINNED = ("digest", "sha256", "weights", "origin", "source", "revision")


def _facts(o: Stored) -> dict[str, Any]:
    if o.manifest is None:
        return {}
    manifest = o.manifest
    facts = {"git commit": manifest.git.get("commit"), "uncommitted changes": manifest.git.get("dirty")}
    facts |= {f"host: {k}": v for k, v in flatten(manifest.host).items()}
    facts |= {f"package: {k}": v for k, v in manifest.packages.items()}
    facts |= {f"code of {o.kind}": manifest.code} | {f"data: {k}": v for k, v in manifest.data.items()}
    pinned = {k: v for k, v in flatten(manifest.config).items() if any(w in k.rpartition(".")[2] for w in PINNED)}
    return facts | {f"{o.kind}.{k}": v for k, v in pinned.items()}


def provenance(sweep: Sweep) -> TableData | None:
    """Code, versions, host, data and weight digests of all stages; where stages differ, each value with its stages."""
    found: dict[str, dict[str, tuple[Any, list[str]]]] = {}
    for o in sweep.objects.values():
        for name, value in _facts(o).items():
            if value is not None:
                found.setdefault(name, {}).setdefault(repr(value), (value, []))[1].append(o.key)
    rows = []
    for name, values in sorted(found.items(), key=lambda item: item[0]):
        for value, keys in values.values():
            where = f"all {len(keys)}" if len(values) == 1 else f"{len(keys)}: {', '.join(keys)}"
            shown = where if len(where) <= 60 else where[:58] + "…"
            rows.append([Cell(name), short(value), Cell(shown, hint=where, tone="quiet")])
    return TableData(["fact", "value", "stages that say so"], rows, 3) if rows else None
