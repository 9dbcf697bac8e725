"""judge: real pictures and what is known of them → a network that says of generated ones what they show."""

import numpy as np
import torch
from torch import nn

from ablatent.core.files import write_json
from ablatent.core.instantiate import make
from ablatent.core.progress import track
from ablatent.evaluation.agreement import held_out, with_settled
from ablatent.evaluation.judges import Verdict
from ablatent.stages.context import Context
from ablatent.stages.judge.load import make_judge
from ablatent.stages.train import optimizer_factory, save_weights, seed_initial_weights, train
from ablatent.training.first_stage import to_tensor
from ablatent.training.judge import JudgeTrainee, JudgeTraining, PictureBatches

CURVE_IMAGES = 512
"""Images that the curves are measured on; the summary is measured on all."""


def build(ctx: Context) -> None:
    """model.safetensors, curves.csv, summary.json: what it says of held-out real pictures, against what is known.

    Where a knob is chosen on real pictures, every second held-out picture chooses and the others measure.
    """
    config, seed = ctx.config, int(ctx.config["seed"])
    train_config = JudgeTraining(**config["training"])
    verdict: Verdict = make(config["verdict"])
    images, known = ctx.images(), ctx.annotations()
    verdict.check(known)
    seed_initial_weights(seed)
    network = make_judge(config, len(verdict.names(known)))
    rows = images.indices("validation")
    train_rows = images.indices("train")
    batches = PictureBatches(
        images.pixels, verdict.targets(known), train_rows, make(config["augment"]), train_config.batch_size, seed
    )
    optimizer = optimizer_factory(config["optimizer"])
    trainee = JudgeTrainee(network, verdict, train_config, seed, optimizer, batches.validation(rows[:CURVE_IMAGES]))
    train(ctx, trainee, batches)
    if ctx.rank:
        return
    ctx.work.check()
    save_weights(ctx, network.state_dict())
    network = network.to(ctx.device).eval()
    answers, facts, settled = judge(ctx, verdict, network, images.pixels[rows]), known.rows(rows), {}
    if verdict.settles:
        settled = verdict.settled(answers[::2], facts.rows(range(0, len(rows), 2)))
        answers, facts = answers[1::2], facts.rows(range(1, len(rows), 2))
    numbers, half_widths, by_name = held_out(with_settled(verdict, settled), answers, facts)
    write_json(
        ctx.work.files / "summary.json",
        {
            "parameters": sum(p.numel() for p in network.parameters()),
            "steps": train_config.steps,
            "trained_on": len(train_rows),
            "names": list(verdict.names(known)),
            "class_names": list(known.classes),
            "segment_names": list(known.segments),
            "headline": verdict.headline,
            "labels": dict(verdict.labels),
            "settled": settled,
            "held_out": {"count": len(answers), **numbers},
            "half_width": half_widths,
            "by_name": by_name,
        },
    )


@torch.no_grad()
def judge(ctx: Context, verdict: Verdict, network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """What the network answers, a row a picture. pixels: (n, H, W, 3) uint8."""
    size, parts = ctx.compute.batch_size, []
    with track(f"{ctx.title}: judging", len(pixels), "images") as bar:
        for i in range(0, len(pixels), size):
            batch = to_tensor(pixels[i : i + size]).to(ctx.device)
            parts.append(verdict.answers(network(batch)))
            bar.advance(len(batch))
    return np.concatenate(parts)
