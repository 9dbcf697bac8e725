"""samples: a trained model and a sampler → images."""

import time

import numpy as np
import torch

from ablatent.app.context import Context
from ablatent.app.models import load_model
from ablatent.app.objects import make
from ablatent.core.files import write_json
from ablatent.core.images import grid, save_png
from ablatent.core.progress import track
from ablatent.samplers.base import Sampler
from ablatent.samplers.guidance import Guidance
from ablatent.tasks.generate import generate
from ablatent.training.first_stage import to_images


@torch.no_grad()
def build(ctx: Context) -> None:
    """images.npy and prior.npy (decoded x_T), (n, H, W, 3) uint8; grid.png; summary.json.

    Class labels are balanced: sample i has class i mod classes.
    """
    config = ctx.config
    model = load_model(ctx, config["weights"], config["snapshot"])
    sampler: Sampler = make(config["sampler"])
    guidance: Guidance = make(config["guidance"])
    count, seed = int(config["count"]), int(config["seed"])
    classes = ctx.input("diffusion").json("summary.json")["classes"]
    labels = np.arange(count) % classes if "label" in model.conditioner.fields else None
    fields = {} if labels is None else {"label": labels}
    images, priors = [], []
    start = time.monotonic()
    with track(ctx.title, count * sampler.steps, "image steps") as bar:
        for x_T, z in generate(model, sampler, guidance, seed, range(count), fields, ctx.compute.batch_size, bar):
            images.append(to_images(model.decode(z)))
            priors.append(to_images(model.decode(x_T)))
    spent = time.monotonic() - start
    drawn = np.concatenate(images)
    np.save(ctx.work.files / "images.npy", drawn)
    np.save(ctx.work.files / "prior.npy", np.concatenate(priors))
    save_png(ctx.work.files / "grid.png", grid(drawn[:64], columns=8, scale=2), {"stage": ctx.stage.key})
    write_json(
        ctx.work.files / "summary.json",
        {
            "count": count,
            "nfe": sampler.nfe(),
            "network_rows": guidance.network_rows(),
            "seconds": round(spent, 3),
            "images_per_second": round(count / spent, 3),
            "labels": None if labels is None else labels.tolist(),
            "seed": seed,
            "latent_shape": list(model.latent_shape),
            "batch_size": ctx.compute.batch_size,
            "threads": torch.get_num_threads(),
        },
    )
