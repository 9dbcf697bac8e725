"""reconstruction: validation images through the first stage and back, scored."""

import numpy as np

from ablatent.app.context import Context
from ablatent.app.models import load_first_stage
from ablatent.app.objects import make
from ablatent.app.stages.reference import chosen_rows
from ablatent.app.stages.scores import as_json, cached_features
from ablatent.core.files import write_json
from ablatent.core.progress import track
from ablatent.evaluation.reconstruction import reconstruction_scores
from ablatent.evaluation.scores import score_features
from ablatent.training.first_stage import reconstruct, to_images

SHOWN = 64


def build(ctx: Context) -> None:
    """scores.json (rfid…, psnr, ssim, perceptual); originals.npy and images.npy: the first 64, uint8."""
    config = ctx.config
    model = load_first_stage(ctx.input("first_stage"), ctx.device)
    images = ctx.images()
    originals = images.pixels[chosen_rows(images, "validation", config["count"])]
    parts = []
    with track(ctx.title, len(originals), "images") as bar:
        for i in range(0, len(originals), ctx.compute.batch_size):
            batch = originals[i : i + ctx.compute.batch_size]
            parts.append(to_images(reconstruct(model, batch, ctx.device)))
            bar.advance(len(batch))
    restored = np.concatenate(parts)
    scores = reconstruction_scores(originals, restored, make(config["perceptual"]), ctx.device)
    real = np.load(ctx.input("reference").path / "features.npy")
    metrics = {name: make(metric) for name, metric in config["metrics"].items()}
    extractor = make(config["extractor"])
    scored = score_features(
        metrics, extractor, lambda used: cached_features(ctx, used, restored, "reconstructions"), lambda used: real
    )
    write_json(
        ctx.work.files / "scores.json", {"metrics": as_json({**{f"r{k}": v for k, v in scored.items()}, **scores})}
    )
    np.save(ctx.work.files / "originals.npy", originals[:SHOWN])
    np.save(ctx.work.files / "images.npy", restored[:SHOWN])
