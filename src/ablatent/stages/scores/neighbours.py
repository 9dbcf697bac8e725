"""The samples that are nearest to a training image, with it: a figure for whoever looks for copies."""

import numpy as np

from ablatent.core.files import write_json
from ablatent.core.images import as_rgb, labelled, save_png
from ablatent.data.prepared import Images
from ablatent.evaluation.neighbours import across_sets
from ablatent.stages.context import Context
from ablatent.stages.scores.figure import NEIGHBOURS

SHOWN = 8


def write_neighbours(
    ctx: Context, samples: np.ndarray, features: np.ndarray, real: np.ndarray, rows: np.ndarray, images: Images
) -> None:
    """neighbours.png: above, the 8 samples that are nearest to a training image, below each that image, their distance
    as title; neighbours.json: of every sample the distance and the row of its nearest image.

    features, real: of samples and reference; rows: of the reference in the images.
    """
    nearest = across_sets(features, real)
    distances, found = nearest.distances[:, 0].numpy(), rows[nearest.indices[:, 0].numpy()]
    shown = np.argsort(distances, kind="stable")[:SHOWN]
    pairs = [as_rgb(samples[shown]), as_rgb(np.stack([images.pixels[row] for row in found[shown]]))]
    scale = max(1, 64 // samples.shape[1])
    columns = [f"{distances[i]:.3g}" for i in shown]
    picture = labelled(np.concatenate(pairs), columns, ["sample", "training"], scale)
    save_png(ctx.work.files / NEIGHBOURS, picture, {"stage": ctx.stage.key})
    about = {
        "reference": len(rows),
        "training_images": len(images.indices("train")),
        "shown": shown.tolist(),
        "distances": [float(distance) for distance in distances],
        "rows": found.tolist(),
    }
    write_json(ctx.work.files / "neighbours.json", about)
