"""Training step of a first stage with its full loss, as the demo trains it, against that of an older commit."""

from typing import Any

import numpy as np
import torch
import yaml
from hydra.utils import instantiate

from ablatent.first_stage.discriminator import PatchGAN
from ablatent.first_stage.kl import KLAutoencoder
from ablatent.first_stage.losses import AutoencoderLoss
from ablatent.training.first_stage import FirstStageTrainee, FirstStageTraining, ImageBatches
from bench.row import At, Bound, Case, Prepared, Row
from bench.training_loop import COMPARED, STEPS, TrainingInTurns

BEFORE = "f195bf7"
IMAGES = 256
# The demo's at that commit: whatever becomes of the preset, this is one step.
MODEL: dict[str, Any] = {
    "ch": 96, "ch_mult": [1], "num_res_blocks": 1, "z_channels": 8, "attn_factors": [], "mid_blocks": 0,
    "mid_attention": False, "dropout": 0.0, "stem": 4,
}  # fmt: skip
LOSS: dict[str, Any] = {
    "pixel": "l1", "pixel_weight": 1.0, "perceptual_weight": 0.05, "perceptual_batch": 1, "regularizer_weight": 1e-6,
    "disc_weight": 0.5, "disc_warmup": 0, "disc_loss": "hinge",
}  # fmt: skip
TRAINING: dict[str, Any] = {
    "steps": STEPS, "batch_size": 4, "lr": 2e-3, "betas": [0.9, 0.99], "disc_lr": 5e-4, "warmup_steps": 20,
    "decay": "cosine", "clip": 1.0, "flip": False, "validate_every": STEPS, "precision": "32-true",
}  # fmt: skip


def ours(case: Case) -> Prepared:
    """The loop of a first-stage training: the critic counts from the first step where the case says so."""
    torch.manual_seed(0)
    model = KLAutoencoder(**MODEL)
    perceptual = instantiate(yaml.safe_load((case.root / "conf" / "perceptual" / "alex.yaml").read_text()))
    start = 0 if case.options["critic"] else None
    critic = PatchGAN(ch=32, layers=3, norm="group")
    loss = AutoencoderLoss(perceptual=perceptual, discriminator=critic, disc_start=start, **LOSS)
    pixels = np.random.default_rng(0).integers(0, 256, size=(IMAGES, 32, 32, 3), dtype=np.uint8)
    settings = FirstStageTraining(**TRAINING)
    batches = ImageBatches(pixels, np.arange(IMAGES), model.latent_shape(32, 32), settings, 0)
    trainee = FirstStageTrainee(model, loss, settings, 0, pixels[:16])
    training = TrainingInTurns(trainee, batches, case.scratch, device="gpu" if case.device == "cuda" else "cpu")
    return Prepared(loop=training.run, value=training.first_losses)


ROW = Row(
    title=f"Step of a first stage with its full loss, as the demo trains it, against {BEFORE}",
    sides={"ours": ours, BEFORE: At(BEFORE, ours)},
    cases={"critic counts": {"critic": True}, "critic off": {"critic": False}},
    agree=1e-5,
    bounds=(Bound(BEFORE, time=0.6, cases=("critic counts",)),),
    seconds=12,
    warmup=COMPARED + 1,
    note="The whole loop of a training, from one step to the next: batch of 4 images of 32 px, KL autoencoder,"
    f" perceptual term and critic, logs. The losses of the first {COMPARED} steps must agree.",
)
