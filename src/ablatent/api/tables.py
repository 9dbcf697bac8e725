"""`ablatent.results`: what the jobs of sweeps came to, as a table of pandas."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablatent.core.errors import AblatentError, ConfigError
from ablatent.report.job_columns import job_columns, plain_axis
from ablatent.report.load import load_sweep
from ablatent.report.model import Sweep
from ablatent.report.tables import differing
from ablatent.store.layout import sweep_ids
from ablatent.store.sweeps import newest_sweep

if TYPE_CHECKING:
    import pandas

EVERY = "all"


def results(store: str | Path = "store", sweep: str | Sequence[str] | None = None) -> "pandas.DataFrame":
    """One row a job, of one sweep or of several.

    store: the folder of the store, of which nothing is changed. sweep: the id of a sweep, a list of ids, `"all"` for
    all of the store, the oldest first, or None for the newest, as `do=report` takes it.

    Columns: sweep, index, name, status (finished | failed | refused | unfinished); each axis, by its key; each score by
    its name, as in report.csv, with NAME_std (spread of the measurement itself) and NAME_low, NAME_high (95 % interval
    over the samples of the one training), where some job has them; seconds: wall time of all stages that the job stands
    on, whoever built them; seconds_spent: wall time that its sweep spent on it; error: why it did not finish; ROLE_key:
    the key of each of its stages. What a job does not have is NaN, or None in a column of text.

    Scores whose protocols differ between rows must not be compared: a UserWarning names them. Raises ConfigError for a
    store or sweep that is not there, AblatentError where pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        do = (
            "Install it: pip install 'ablatent[pandas]', or pip install pandas. Each report has the same in report.csv."
        )
        raise AblatentError(
            f"ablatent.results: expected pandas, whose table it gives; it is not installed. {do}"
        ) from None
    root = Path(store)
    if not root.is_dir():
        raise ConfigError("store", "the folder of a store", str(store), "There is no such folder.")
    found = [load_sweep(root, name) for name in _named(root, sweep)]
    for line in _incomparable(found):
        warnings.warn(line, stacklevel=2)
    parts = [_columns(one) for one in found]
    return pandas.concat([pandas.DataFrame(part) for part in parts], ignore_index=True) if parts else pandas.DataFrame()


def _named(root: Path, sweep: object) -> list[str]:
    """The ids of the sweeps that were named. Raises ConfigError for what is no name."""
    if sweep is None:
        return [newest_sweep(root)]
    if isinstance(sweep, str):
        return list(reversed(sweep_ids(root))) if sweep == EVERY else [sweep]
    if not isinstance(sweep, Sequence) or not all(isinstance(name, str) for name in sweep):
        raise ConfigError("sweep", "the id of a sweep, a list of ids, 'all', or None for the newest", sweep)
    return list(dict.fromkeys(sweep))


def _columns(sweep: Sweep) -> dict[str, list[Any]]:
    """Name → a value a job, of one sweep."""
    roles = dict.fromkeys(role for job in sweep.jobs for role in job.stages)
    columns = job_columns(sweep)
    columns |= {axis: [plain_axis(value) for value in columns[axis]] for axis in sweep.axes}
    return {
        "sweep": [sweep.id] * len(sweep.jobs),
        **columns,
        "seconds_spent": [job.seconds for job in sweep.jobs],
        "error": [None if job.error is None else job.error.message for job in sweep.jobs],
        **{f"{role}_key": [job.stages.get(role) for job in sweep.jobs] for role in roles},
    }


def _incomparable(sweeps: Sequence[Sweep]) -> list[str]:
    """A line for each score whose protocols differ between jobs."""
    protocols: dict[str, list[Mapping[str, Any]]] = {}
    for job in (job for sweep in sweeps for job in sweep.jobs):
        for name, score in job.scores.items():
            protocols.setdefault(name, []).append(score.protocol)
    fields = {name: differing(found) for name, found in protocols.items()}
    return [
        f"{name}: jobs differ in {', '.join(names)} of its protocol, so that its numbers must not be compared"
        for name, names in fields.items()
        if names
    ]
