"""The verdicts of a report, as lines for whoever publishes them: read from verdicts.json beside report.md."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ablatent.core.files import read_json
from ablatent.core.progress import warn_once
from ablatent.tracking.publication import PublishedClaim

VERDICTS = "verdicts.json"


def claims_in(report: Path) -> list[PublishedClaim]:
    """The claims of a report with their verdicts; none where the report has none. A damaged file is named, and counts
    as none."""
    path = report / VERDICTS
    if not path.exists():
        return []
    try:
        return [_claim(entry) for entry in read_json(path)["claims"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        warn_once(f"{path} is damaged: expected the verdicts of a report. do=report writes it again.")
        return []


def _claim(entry: Mapping[str, Any]) -> PublishedClaim:
    letter = f"{entry['id']}. " if entry.get("id") else ""
    return PublishedClaim(
        name=str(entry["name"]),
        statement=f"{letter}{entry['statement']}",
        verdict=str(entry["verdict"]),
        contrasts=[_contrast(name, about) for name, about in _contrasts(entry.get("contrasts") or [])],
    )


def _contrasts(listed: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(listed, Mapping):
        yield from listed.items()
    else:
        yield from ((str(about.get("name", "")), about) for about in listed)


def _contrast(name: str, about: Mapping[str, Any]) -> str:
    """'FID: agree; effect -0.41, interval -0.62 to -0.2; trainings 3 and 3', of what is there."""
    parts = [str(about["verdict"])] if about.get("verdict") else []
    if about.get("effect") is not None:
        interval = about.get("interval")
        between = f", interval {interval[0]:.4g} to {interval[1]:.4g}" if interval else ""
        parts.append(f"effect {about['effect']:.4g}{between}")
    if about.get("replicates"):
        parts.append(f"trainings {' and '.join(str(n) for n in about['replicates'])}")
    if about.get("reason"):
        parts.append(str(about["reason"]))
    label = ", ".join(str(text) for text in (name, about.get("metric")) if text)
    return f"{label}: {'; '.join(parts)}"
