"""judge: real images and their annotations → a network that finds the same in generated images."""

from typing import Any

import numpy as np
import torch
from torch import nn

from ablatent.core.files import write_json
from ablatent.core.images import as_rgb
from ablatent.core.instantiate import make
from ablatent.core.progress import track
from ablatent.data.augment import ShiftMirror
from ablatent.evaluation.agreement import held_out, with_calibration
from ablatent.evaluation.judges import Verdict
from ablatent.evaluation.trained_judge import make_judge
from ablatent.stages.context import Context
from ablatent.stages.train import optimizer_factory, save_weights, seed_initial_weights, train
from ablatent.training.first_stage import to_tensor
from ablatent.training.judge import JudgeBatches, JudgeTrainee, JudgeTraining

CURVE_IMAGES = 512
"""Images that the curves are measured on; the summary is measured on all."""


def build(ctx: Context) -> None:
    """model.safetensors, curves.csv, summary.json: its scores on held-out real images, against their annotations.

    Where a knob is chosen on real images, every second held-out image chooses and the others measure.
    """
    config, seed = ctx.config, int(ctx.config["seed"])
    train_config = JudgeTraining(**config["training"])
    verdict: Verdict = make(config["verdict"], Verdict)
    images, annotations = ctx.images(), ctx.annotations()
    verdict.check(annotations)
    seed_initial_weights(seed)
    network = make_judge(config, len(verdict.names(annotations)))
    rows = images.indices("validation")
    train_rows = images.indices("train")
    batches = JudgeBatches(
        images.pixels,
        verdict.targets(annotations),
        train_rows,
        make(config["augment"], ShiftMirror),
        train_config.batch_size,
        seed,
    )
    optimizer = optimizer_factory(config["optimizer"])
    trainee = JudgeTrainee(network, verdict, train_config, seed, optimizer, batches.validation(rows[:CURVE_IMAGES]))
    train(ctx, trainee, batches)
    if ctx.rank:
        return
    ctx.work.check()
    save_weights(ctx, network.state_dict())
    network = network.to(ctx.device).eval()
    answers, truth = judge(ctx, verdict, network, images.pixels[rows]), annotations.rows(rows)
    calibrated: dict[str, Any] = {}
    if verdict.calibrates:
        calibrated = verdict.calibrated(answers[::2], truth.rows(range(0, len(rows), 2)))
        answers, truth = answers[1::2], truth.rows(range(1, len(rows), 2))
    scores, half_widths, by_name = held_out(with_calibration(verdict, calibrated), answers, truth)
    write_json(
        ctx.work.files / "summary.json",
        {
            "parameters": sum(p.numel() for p in network.parameters()),
            "steps": train_config.steps,
            "trained_on": len(train_rows),
            "names": list(verdict.names(annotations)),
            "class_names": list(annotations.classes),
            "segment_names": list(annotations.segments),
            "headline": verdict.headline,
            "labels": dict(verdict.labels),
            "calibrated": calibrated,
            "held_out": {"count": len(answers), **scores},
            "half_width": half_widths,
            "by_name": by_name,
        },
    )


@torch.no_grad()
def judge(ctx: Context, verdict: Verdict, network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """The network's answer for each image, a row an image. pixels: (n, H, W, C) uint8."""
    size, blocks = ctx.compute.batch_size, ctx.blocks("answers")
    with track(f"{ctx.title}: judging", len(pixels), "images", blocks.done) as bar:
        for i in range(blocks.done, len(pixels), size):
            batch = to_tensor(as_rgb(pixels[i : i + size])).to(ctx.device)
            blocks.add(len(batch), answers=verdict.answers(network(batch)))
            bar.advance(len(batch))
    return blocks["answers"]
