"""The page of a comparison of two sweeps, and its numbers as CSV."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from ablatent.core.disk import full_disk_named
from ablatent.core.errors import ConfigError
from ablatent.core.escape import for_csv
from ablatent.core.files import write_atomic
from ablatent.report.compare import Comparison, Pair, compare, differences_table, settings_table
from ablatent.report.html import fill
from ablatent.report.images import MAX_SAMPLE_SETS, Strip, noise_of, sample_card
from ablatent.report.model import UNREADABLE, Stored, Sweep
from ablatent.report.place import HTML, check_out
from ablatent.store.identity import SweepId
from ablatent.store.layout import comparison_folder

CSV = "comparison.csv"


@dataclass(frozen=True)
class SamplePair:
    """Samples of one setting in both sweeps. about: whether they start from the same x_T."""

    setting: str
    about: str
    rows: list[Strip]


def write_comparison(store: Path, ids: list[str], out: Path | None = None) -> tuple[Path, Comparison]:
    """Write report.html and comparison.csv into STORE/comparisons/A-B, or into the folder `out`; the page, and what it
    shows. Raises ConfigError: see `compare`; `out`: a folder with something else, or one that cannot be written."""
    found = compare(store, ids)
    a, b = found.sweeps
    folder = comparison_folder(store, SweepId(a.id), SweepId(b.id)) if out is None else out
    if out is not None:
        check_out(out)
    try:
        with full_disk_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / CSV, csv_text(found).encode())
            write_atomic(folder / HTML, render(found).encode())
    except OSError as error:
        do = f"{error.strerror}: {error.filename}. Choose another by out=FOLDER."
        raise ConfigError("out", "a folder for the report that can be written", str(folder), do) from None
    return folder / HTML, found


def render(found: Comparison) -> str:
    """The page; every text from the store is escaped."""
    pairs = [p for pair in found.pairs[: MAX_SAMPLE_SETS // 2] if (p := _samples(found.sweeps, pair))]
    labels = {m: found.sweeps[0].metrics[m] for m in [*found.metrics, *found.refused]}
    return fill(
        "compare.html.j2",
        found=found,
        labels=labels,
        settings=settings_table(found),
        tables={metric: differences_table(found, metric) for metric in found.metrics},
        samples=pairs,
        counts=[len(s.jobs) for s in found.sweeps],
        problems=list(dict.fromkeys(p for s in found.sweeps for p in s.problems)),
    )


def _samples(sweeps: tuple[Sweep, Sweep], pair: Pair) -> SamplePair | None:
    rows, noises, keys = [], [], []
    for name, sweep, row in zip("AB", sweeps, pair.rows, strict=True):
        stored = _drawn(sweep, list(row.jobs[0].stages.values()))
        if stored is None:
            return None
        try:
            card = sample_card(sweep, stored)
        except UNREADABLE as error:
            sweep.problems.append(f"{stored.key}: samples are not shown: {error}.")
            return None
        rows.append(Strip(name, card.samples.png, card.detail, alt=f"samples of {name}: {pair.setting}"))
        noises.append(noise_of(stored))
        keys.append(stored.key)
    if keys[0] == keys[1]:
        return SamplePair(pair.setting, "The same stage in both.", rows[:1])
    same = noises[0] == noises[1] != ""
    about = f"Image k of both rows starts from the same x_T ({noises[0]})." if same else "The x_T differ."
    return SamplePair(pair.setting, about, rows)


def _drawn(sweep: Sweep, keys: list[str]) -> Stored | None:
    stored = [sweep.objects[key] for key in keys if key in sweep.objects]
    return next((s for s in stored if s.problem is None and s.has("images.npy") and s.has("prior.npy")), None)


def csv_text(found: Comparison) -> str:
    """One row a setting and metric, numbers in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = ["setting", "metric", "A", "B", "difference", "half_of_95_percent_interval", "test", "degrees_of_freedom"]
    writer.writerow([*columns, "interval_from"])
    for metric, differences in found.metrics.items():
        for d in differences:
            half = "" if d.half is None else repr(d.half)
            degrees = "" if d.degrees is None else repr(d.degrees)
            values = [repr(d.scores[0].value), repr(d.scores[1].value), repr(d.value), half, d.test, degrees]
            writer.writerow([for_csv(d.pair.setting), for_csv(metric), *values, d.how])
    return out.getvalue()
