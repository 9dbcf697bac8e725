"""reference: features of real images, one artifact for each split, count and extractor."""

import numpy as np

from ablatent.core.files import write_json
from ablatent.core.rng import stream
from ablatent.data.prepared import Images
from ablatent.evaluation.features import ImageRows, extract
from ablatent.stages.context import Context
from ablatent.stages.extractor import extractor_of


def chosen_rows(images: Images, split: str, count: int | None) -> np.ndarray:
    """The first `count` rows of a fixed shuffle of a split, ascending; all for None or more than there are."""
    rows = images.indices(split)
    if count is None or count >= len(rows):
        return rows
    return np.sort(rows[stream(0, "reference rows").permutation(len(rows))[:count]])


def build(ctx: Context) -> None:
    """Write features.npy (n, dim) float32, rows.npy, summary.json. The images are those that trainings see."""
    config = ctx.config
    images = ctx.images()
    rows = chosen_rows(images, config["split"], config["count"])
    extractor = extractor_of(ctx)
    chosen, size, out = ImageRows(images.pixels, rows), ctx.compute.batch_size, ctx.work.files / "features.npy"
    extract(extractor, chosen, ctx.device, size, ctx.title, ctx.blocks("features"), out)
    np.save(ctx.work.files / "rows.npy", rows)
    write_json(ctx.work.files / "summary.json", {"count": len(rows), "split": config["split"], **extractor.protocol()})
