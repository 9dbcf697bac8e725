"""What a judge's network finds in each of many images."""

import numpy as np
import torch
from torch import nn

from ablatent.core.images import as_rgb
from ablatent.core.progress import track
from ablatent.data.tensors import to_tensor
from ablatent.evaluation.judge_verdict import Verdict
from ablatent.stages.context import Context


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
