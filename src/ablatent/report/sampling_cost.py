"""What drawing samples cost, beside the scores of a job: from the summary of the stage that drew them."""

from ablatent.report.model import Stored, StoredScore

NFE, SECONDS = "nfe", "seconds_per_image"
HOST = ("processor", "device", "devices", "threads")
"""What of a machine decides a time, as manifests name it: only times of equal ones are compared."""
MEASURED = "Seconds an image: of drawing and decoding, on the machine where it was done; compare within one only."


def seconds_an_image(stored: Stored) -> float | None:
    """Seconds of sampling and decoding for an image, in its batch; None where it was not measured."""
    seconds, count = stored.summary.get("seconds"), stored.summary.get("count")
    return float(seconds) / int(count) if seconds and count else None


def gflop_an_image(stored: Stored) -> float | None:
    """10⁹ operations of sampling an image, without decoding; None where they were not counted."""
    count = stored.summary.get("flops_per_image")
    return None if count is None else float(count) / 1e9


def sampling_cost(stored: Stored) -> dict[str, StoredScore]:
    """NFE and seconds an image of a stage whose summary has them; empty for others. Raises what a damaged file does."""
    nfe = stored.summary.get("nfe")
    if nfe is None:
        return {}
    found = {NFE: StoredScore(value=float(nfe), label="NFE", shown_in="csv", stage=stored.key)}
    if (value := seconds_an_image(stored)) is not None:
        host = {} if stored.manifest is None else stored.manifest.host
        protocol = {name: host[name] for name in HOST if name in host}
        found[SECONDS] = StoredScore(
            value=value, protocol=protocol, label="s / image", better="lower", remark=MEASURED, stage=stored.key
        )
    return found
