"""What drawing samples cost, beside the scores of a job: from the summary of the stage that drew them."""

import math

from ablatent.report.model import Stored, StoredScore

NFE, SECONDS = "nfe", "seconds_per_image"
MEASURED = "Seconds an image: of drawing and decoding, on the machine where it was done; compare within one only."


def sampling_cost(stored: Stored) -> dict[str, StoredScore]:
    """NFE and seconds an image of a stage whose summary has them; empty for others. Raises what a damaged file does."""
    about = stored.summary
    count, spent, nfe = about.get("count"), about.get("seconds"), about.get("nfe")
    if nfe is None:
        return {}
    found = {NFE: StoredScore(value=float(nfe), label="NFE", shown_in="csv", stage=stored.key)}
    if count and spent is not None and math.isfinite(float(spent)):
        value = float(spent) / int(count)
        found[SECONDS] = StoredScore(value=value, label="s / image", better="lower", remark=MEASURED, stage=stored.key)
    return found
