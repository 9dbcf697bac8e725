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
from ablatent.evaluation.intervals import GROUPS, JACKKNIFE, groups, jackknife, within
from ablatent.evaluation.reconstruction import reconstruction_scores
from ablatent.evaluation.scores import Metric, Score, score_features
from ablatent.first_stage.base import FirstStage
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
    blocks, group = ctx.blocks("images"), groups(len(originals))
    with track(ctx.title, len(originals), "images", blocks.done) as bar:
        for i in range(blocks.done, len(originals), ctx.compute.batch_size):
            batch = originals[i : i + ctx.compute.batch_size]
            z = model.moments(to_tensor(batch).to(ctx.device)).mean
            used = _codes(model, z, None if group is None else group[i : i + len(batch)])
            blocks.add(len(batch), images=to_images(model.decode(z)), **used)
            bar.advance(len(batch))
    blocks.save("images", ctx.work.path / "restored.npy")
    restored = np.load(ctx.work.path / "restored.npy", mmap_mode="r")
    perceptual = make(config["perceptual"], Perceptual)
    scores = reconstruction_scores(originals, restored, perceptual, ctx.device, blocks=ctx.blocks("scores"))
    scores |= _codebook([part for part in blocks if "codes" in part], len(originals))
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


def _codes(model: FirstStage, z: torch.Tensor, group: np.ndarray | None) -> dict[str, np.ndarray]:
    """codes: how often these latents are nearest to each code, (1, codes); codes_of_group: the same of the images of
    each group of a jackknife, (1, groups, codes). To be summed over batches; empty without a codebook."""
    counts = model.code_counts(z)
    if counts is None:
        return {}
    found = {"codes": rearrange(counts, "k -> 1 k").cpu().numpy()}
    if group is not None:
        of_group = np.zeros((1, GROUPS, len(counts)), dtype=found["codes"].dtype)
        for g in np.unique(group):
            own = model.code_counts(z[torch.from_numpy(group == g).to(z.device)])
            of_group[0, g] = 0 if own is None else own.cpu().numpy()
        found["codes_of_group"] = of_group
    return found


def _codebook(counts: list[dict[str, np.ndarray]], images: int) -> dict[str, Score]:
    """How many of the codes these images use, and how evenly; nothing for a first stage without a codebook.

    counts: see `_codes`, of some batches each.
    """
    if not counts:
        return {}
    total = torch.from_numpy(np.concatenate([part["codes"] for part in counts])).sum(dim=0)
    values, left_out = code_use(total), list[tuple[float, float]]()
    if "codes_of_group" in counts[0]:
        of_group = torch.from_numpy(np.concatenate([part["codes_of_group"] for part in counts])).sum(dim=0)
        left_out = [code_use(of_group.sum(dim=0) - own) for own in of_group if own.sum()]
    protocol = {"count": images, "codes": len(total), "latents": int(total.sum())}
    shown = {
        "codebook_usage": ("codes in use", 0, 1),
        "codebook_perplexity": ("perplexity of the codes", 1, len(total)),
    }
    scores = {}
    for i, (name, (label, least, largest)) in enumerate(shown.items()):
        spread = within(jackknife(values[i], [one[i] for one in left_out]), least, largest) if left_out else None
        scores[name] = Score(
            values[i], None, protocol, interval=spread, interval_by=JACKKNIFE, label=label, better=None
        )
    return scores
