"""samples: a trained model and a sampler → images."""

import time

import numpy as np
import torch

from ablatent.conditioning.source import Source
from ablatent.core.files import write_json
from ablatent.core.images import grid, save_png
from ablatent.core.instantiate import make
from ablatent.core.progress import track
from ablatent.data.tensors import to_images
from ablatent.samplers.base import Sampler
from ablatent.stages.context import Context
from ablatent.stages.forward_flops import ForwardFlops
from ablatent.stages.generator import load_generator, validation_source
from ablatent.stages.kept_weights import fit_summary
from ablatent.tasks.generate import Draws, Model, advancing


@torch.no_grad()
def build(ctx: Context) -> None:
    """images.npy and prior.npy (decoded x_T), (n, H, W, C) uint8; grid.png; summary.json; conditions.json."""
    config, size = ctx.config, ctx.compute.batch_size
    sampler: Sampler = make(config["sampler"], Sampler)
    count, seed = int(config["count"]), int(config["seed"])
    generator = load_generator(ctx.inputs, config, lambda needs: validation_source(ctx, needs))
    model, guidance, source = generator.model, generator.guided.guidance, generator.source(range(count))
    blocks = ctx.blocks("images")
    draws = Draws(seed, range(count), size, done=blocks.done)
    flops, counted = ForwardFlops(), 0  # of one batch: each has as many for an image
    start = time.monotonic() - blocks.seconds
    with track(ctx.title, count * sampler.steps, "image steps", blocks.done * sampler.steps) as bar:
        for x_T, z in flops.of_first(generator(sampler, draws, source, advancing(bar))):
            counted = counted or len(z)
            blocks.add(len(z), images=to_images(model.decode(z)), priors=to_images(model.decode(x_T)))
    spent = time.monotonic() - start
    blocks.save("images", ctx.work.files / "images.npy")
    blocks.save("priors", ctx.work.files / "prior.npy")
    drawn = np.load(ctx.work.files / "images.npy", mmap_mode="r")
    save_png(ctx.work.files / "grid.png", grid(drawn[:64], columns=8, scale=2), {"stage": ctx.stage.key})
    _write_conditions(ctx, model, source)
    write_json(
        ctx.work.files / "summary.json",
        {
            "count": count,
            "nfe": sampler.nfe(),
            "network_rows": guidance.network_rows(),
            "classifier_gradients": sampler.nfe() if guidance.needs_classifier else 0,
            "flops_per_image": flops.total // counted if counted else None,
            "seconds": round(spent, 3),
            "images_per_second": round(count / spent, 3),
            "labels": None if source.annotations.labels is None else source.annotations.labels.tolist(),
            "captions": source.annotations.captions,
            "seed": seed,
            "latent_shape": list(model.latent_shape),
            "batch_size": size,
            "threads": torch.get_num_threads(),
            **fit_summary(ctx.input("diffusion").path, config),
        },
    )


def _write_conditions(ctx: Context, model: Model, source: Source) -> None:
    """conditions.json: boxes of objects and further annotations that the samples are conditioned on, a row a sample,
    null where there are none (labels and captions are in the summary); conditions_segmentation.npy where the condition
    is a map of pixels."""
    annotations = source.annotations
    extra = {name: np.asarray(values).tolist() for name, values in annotations.extra.items()}
    write_json(ctx.work.files / "conditions.json", {"boxes": annotations.boxes, "extra": extra})
    if "segmentation" in model.conditioner.needs:
        np.save(ctx.work.files / "conditions_segmentation.npy", np.asarray(source.part("segmentation")))
