"""The verdicts of a report, as lines for whoever publishes them: read from verdicts.json beside report.md."""

from collections.abc import Mapping
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
        return [_claim(name, about) for name, about in read_json(path)["claims"].items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        warn_once(f"{path} is damaged: expected the verdicts of a report. do=report writes it again.")
        return []


def _claim(name: str, about: Mapping[str, Any]) -> PublishedClaim:
    letter = f"{about['id']}. " if about["id"] else ""
    contrasts = [_contrast(inner, contrast) for inner, contrast in about["contrasts"].items()]
    return PublishedClaim(
        name=name, statement=f"{letter}{about['statement']}", verdict=str(about["verdict"]), contrasts=contrasts
    )


def _contrast(name: str, about: Mapping[str, Any]) -> str:
    """'samples, fd_judge: agree; effect -0.41, interval -0.62 to -0.2; trainings 3 and 3', of what is there."""
    parts = [str(about["verdict"])]
    if about["effect"] is not None:
        interval = about["interval"]
        between = f", interval {interval[0]:.4g} to {interval[1]:.4g}" if interval else ""
        parts.append(f"effect {about['effect']:.4g}{between}")
    parts.append(f"trainings {about['replicates']['of']} and {about['replicates']['against']}")
    if about["reason"]:
        parts.append(str(about["reason"]))
    return f"{name}, {about['metric']}: {'; '.join(parts)}"
