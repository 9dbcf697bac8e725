"""Training a KL autoencoder with our recommended settings against diffusers as its example trains one."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ablatent.core.ranks import BatchShard
from ablatent.first_stage.discriminator import PatchGAN
from ablatent.first_stage.losses import AutoencoderLoss
from ablatent.training.first_stage import FirstStageTrainee, FirstStageTraining, ImageBatches
from bench.autoencoder_sides import KL_WEIGHT, SIDE, SIZES
from bench.equal_networks import autoencoder_config, our_network, their_network
from bench.row import Bound, Case, Prepared, Row, compiled, in_bfloat16
from bench.training_loop import STEPS, TrainingInTurns, how

IMAGES, LATENT = 256, (4, SIDE // 2, SIDE // 2)


def _config(case: Case) -> dict[str, Any]:
    return autoencoder_config(ch=case.options["ch"], ch_mult=case.options["ch_mult"])


def _batches(case: Case) -> tuple[FirstStageTraining, ImageBatches, np.ndarray]:
    settings = FirstStageTraining(
        steps=STEPS, batch_size=case.options["batch"], lr=1e-4, betas=[0.9, 0.999], disc_lr=1e-4, warmup_steps=0,
        decay="none", clip=1.0, flip=False, validate_every=STEPS, precision=case.options.get("precision", "32-true"),
    )  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, size=(IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    return settings, ImageBatches(pixels, np.arange(IMAGES), LATENT, settings, 0), pixels


def ours(case: Case) -> Prepared:
    """The loop of a first-stage training, without perceptual network and critic: in bfloat16 as it comes, in float32 as
    `runtime.compile=true` runs it."""
    settings, batches, pixels = _batches(case)
    loss = AutoencoderLoss(
        perceptual=None, pixel="l1", pixel_weight=1.0, perceptual_weight=0.0, perceptual_batch=None,
        regularizer_weight=KL_WEIGHT, discriminator=PatchGAN(ch=8), disc_weight=0.0, disc_start=None, disc_warmup=0,
        disc_loss="hinge",
    )  # fmt: skip
    trainee = FirstStageTrainee(our_network(_config(case)), loss, settings, 0, pixels[:16])
    device = "gpu" if case.device == "cuda" else "cpu"
    training = TrainingInTurns(trainee, batches, case.scratch, device=device, **how(case))
    return Prepared(
        loop=training.run, value=lambda: {"loss": np.asarray(training.losses[:1])}, units=settings.batch_size
    )


def diffusers(case: Case) -> Prepared:
    """Eager, contiguous, torch's AdamW as it comes, gradients clipped to norm 1, batches in memory."""
    settings, batches, _ = _batches(case)
    first = batches(0, BatchShard())[0]
    x, noise = first["image"].to(case.device), first["noise"].to(case.device)
    network = their_network(_config(case), SIDE).to(case.device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.lr)
    losses: list[float] = []

    def call() -> None:
        posterior = network.encode(x).latent_dist
        drawn = noise if not losses else torch.randn_like(noise)
        x_hat = network.decode(posterior.mean + posterior.std * drawn).sample
        loss = F.l1_loss(x_hat, x) + KL_WEIGHT * posterior.kl().mean() / x[0].numel()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach().item())

    return Prepared(call, value=lambda: {"loss": np.asarray(losses[:1])}, units=settings.batch_size)


ROW = Row(
    title="Training a KL autoencoder: our recommended settings against diffusers as its example runs it",
    sides={"ours": ours, "diffusers": diffusers},
    cases={**compiled(in_bfloat16(SIZES)), **in_bfloat16(SIZES), **SIZES},
    unit="images",
    agree=1e-4,
    agree_in=dict.fromkeys([*compiled(in_bfloat16(SIZES)), *in_bfloat16(SIZES)], 1e-2),
    bounds=(Bound("diffusers", time=0.75),),
    seconds=8,
    warmup=4,
    note="No loss networks. Ours: the whole loop of a training, batches and logs included; compiled"
    " (runtime.compile=true, which is not counted), and where the processor has bfloat16 units with"
    " runtime.precision=bf16-mixed; bf16 alone: not compiled. diffusers: eager AdamW with clipped gradients, as in its"
    " train_autoencoderkl.py, which reads the loss at each step; its batch is in memory. The first losses must agree.",
)
