"""reconstruction: validation images through the first stage and back, scored."""

from dataclasses import replace

import numpy as np
import torch
from einops import rearrange

from ablatent.core.files import write_json
from ablatent.core.instantiate import make
from ablatent.core.progress import track
from ablatent.data.tensors import to_images, to_tensor
from ablatent.evaluation.features import ImageRows
from ablatent.evaluation.reconstruction import reconstruction_scores
from ablatent.evaluation.scores import Metric, Score, score_features
from ablatent.first_stage.codebook import code_use
from ablatent.first_stage.perceptual import Perceptual
from ablatent.stages.context import Context
from ablatent.stages.extractor import extractor_of
from ablatent.stages.kept import make_kept
from ablatent.stages.models import load_first_stage
from ablatent.stages.reference.build import chosen_rows
from ablatent.stages.scores.build import as_json, cached_features

SHOWN = 64


@torch.no_grad()
def build(ctx: Context) -> None:
    """scores.json (rfid…, psnr, ssim, perceptual, use of codes); originals.npy and images.npy: the first 64, uint8."""
    config = ctx.config
    model = load_first_stage(ctx.input("first_stage"), ctx.device)
    images = ctx.images()
    originals = ImageRows(images.pixels, chosen_rows(images, "validation", config["count"]))
    blocks = ctx.blocks("images")
    with track(ctx.title, len(originals), "images", blocks.done) as bar:
        for i in range(blocks.done, len(originals), ctx.compute.batch_size):
            batch = originals[i : i + ctx.compute.batch_size]
            z = model.moments(to_tensor(batch).to(ctx.device)).mean
            counts = model.code_counts(z)
            used = {} if counts is None else {"codes": rearrange(counts, "k -> 1 k").cpu().numpy()}
            blocks.add(len(batch), images=to_images(model.decode(z)), **used)
            bar.advance(len(batch))
    blocks.save("images", ctx.work.path / "restored.npy")
    restored = np.load(ctx.work.path / "restored.npy", mmap_mode="r")
    perceptual = make(config["perceptual"], Perceptual)
    scores = reconstruction_scores(originals, restored, perceptual, ctx.device, blocks=ctx.blocks("scores"))
    scores |= _codebook([part["codes"] for part in blocks if "codes" in part], len(originals))
    real = np.load(ctx.input("reference").path / "features.npy", mmap_mode="r")
    metrics = {name: make_kept(metric, Metric) for name, metric in config["metrics"].items()}
    extractor = extractor_of(ctx)
    scored = score_features(
        metrics, extractor, lambda used: cached_features(ctx, used, restored, "reconstructions"), lambda used: real
    )
    scores |= {f"r{name}": replace(score, label=f"r{score.label}") for name, score in scored.items()}
    write_json(ctx.work.files / "scores.json", {"metrics": as_json(scores)})
    np.save(ctx.work.files / "originals.npy", originals[:SHOWN])
    np.save(ctx.work.files / "images.npy", restored[:SHOWN])


def _codebook(counts: list[np.ndarray], images: int) -> dict[str, Score]:
    """How many of the codes these images use, and how evenly; nothing for a first stage without a codebook.

    counts: of each code, (rows, codes), to be summed.
    """
    if not counts:
        return {}
    total = torch.from_numpy(np.concatenate(counts)).sum(dim=0)
    usage, perplexity = code_use(total)
    protocol = {"count": images, "codes": len(total), "latents": int(total.sum())}
    return {
        "codebook_usage": Score(usage, None, protocol, label="codes in use", better=None),
        "codebook_perplexity": Score(perplexity, None, protocol, label="perplexity of the codes", better=None),
    }
