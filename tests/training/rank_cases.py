"""Small trainings whose result must not depend on how many processes, or micro-batches, share a batch.

As a program, started by torchrun, it trains each case on all ranks: rank_cases.py FOLDER CASE[:STRATEGY] …
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ablatent.conditioning.class_label import ClassLabel
from ablatent.core.ranks import several_ranks
from ablatent.data.latents import ChannelMoments, LatentNormalizer, Latents
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.loss import DiffusionLoss
from ablatent.diffusion.parameterization import V
from ablatent.diffusion.timesteps import Importance
from ablatent.diffusion.weighting import VelocityMSE
from ablatent.first_stage.discriminator import PatchGAN
from ablatent.first_stage.fsq import FSQAutoencoder
from ablatent.first_stage.kl import KLAutoencoder
from ablatent.first_stage.losses import AutoencoderLoss
from ablatent.first_stage.perceptual import Perceptual
from ablatent.first_stage.vq import VQAutoencoder
from ablatent.networks.unet import UNet
from ablatent.schedules.linear import Linear
from ablatent.training import overlap
from ablatent.training.diffusion import DiffusionTrainee, DiffusionTraining, LatentBatches
from ablatent.training.first_stage import FirstStageTrainee, FirstStageTraining, ImageBatches
from ablatent.training.loop import fit
from ablatent.training.record import Recorder
from ablatent.training.settings import Runtime
from ablatent.training.sharded import is_spread, whole

STEPS, BATCH = 10, 8
COMMON = {
    "steps": STEPS, "batch_size": BATCH, "warmup_steps": 0, "decay": "none", "clip": None, "validate_every": STEPS,
    "precision": "32-true",
}  # fmt: skip
SIZES = {
    "ch": 16, "ch_mult": [1], "num_res_blocks": 1, "z_channels": 4, "attn_factors": [], "mid_blocks": 0,
    "mid_attention": False, "dropout": 0.0, "stem": 4,
}  # fmt: skip
FIRST_STAGES = {
    "kl": lambda: KLAutoencoder(**SIZES),
    "vq": lambda: VQAutoencoder(**SIZES, n_embed=24, beta=0.25, restart_every=3, init="data"),
    "fsq": lambda: FSQAutoencoder(**{k: v for k, v in SIZES.items() if k != "z_channels"}, levels=[8, 5, 5, 5]),
}


@dataclass
class Folder:
    """A scratch folder and a tracker in one; keeps the rows, and of the first step its gradients."""

    path: Path
    rows: dict[str, list[float]] = field(default_factory=dict)
    gradients: list[Tensor] = field(default_factory=list)
    spread: list[bool] = field(default_factory=list)

    @property
    def checkpoint(self) -> Path:
        return self.path / "last.ckpt"

    def check(self) -> None:
        pass

    def log(self, step, values):
        for name, value in values.items():
            self.rows.setdefault(name, []).append(value)

    def images(self, step, name, image):
        pass


class Distance(Perceptual):
    """In place of LPIPS: one number an image."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.features(x) - self.features(y)).square().mean((1, 2, 3))


class Watched:
    """Keeps the gradients with which the first step is taken: of the autoencoder and its critic, or the network."""

    def step_optimizer(self, optimizer, lr, clip):
        norm = super().step_optimizer(optimizer, lr, clip)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if self.step == 0:
            self.watcher.spread += [is_spread(p) for p in parameters]
            self.watcher.gradients += [whole(p.grad).detach().clone() for p in parameters if p.grad is not None]
        return norm


class WatchedFirstStage(Watched, FirstStageTrainee):
    optimizer = "adam"

    def make_optimizers(self):
        if self.optimizer == "adam":
            return super().make_optimizers()
        return [torch.optim.SGD(m.parameters(), lr=self.train_config.lr) for m in (self.model, self.loss.discriminator)]


class WatchedDiffusion(Watched, DiffusionTrainee):
    pass


def first_stage(kind: str, optimizer: str, folder: Folder):
    lr = {"sgd": 0.01, "adam": 1e-3}[optimizer]  # larger steps amplify rounding
    train_config = FirstStageTraining(**COMMON, lr=lr, disc_lr=lr, betas=[0.9, 0.99], flip=True)
    loss = AutoencoderLoss(
        perceptual=Distance(), pixel="l1", pixel_weight=1.0, perceptual_weight=0.5, perceptual_batch=3,
        regularizer_weight=1e-6, discriminator=PatchGAN(8, 2), disc_weight=0.5, disc_start=0, disc_warmup=0,
        disc_loss="hinge",
    )  # fmt: skip
    images = np.random.default_rng(0).integers(0, 255, (24, 32, 32, 3), dtype=np.uint8)
    model = FIRST_STAGES[kind]()
    trainee = WatchedFirstStage(model, loss, train_config, 0, images[:4])
    trainee.optimizer, trainee.watcher = optimizer, folder
    return trainee, ImageBatches(images, np.arange(24), model.latent_shape(32, 32), train_config, 0)


def diffusion(optimizer: str, folder: Folder):
    rng = np.random.default_rng(0)
    mean, std = (rng.standard_normal((1, 24, 4, 8, 8)).astype(np.float32) for _ in range(2))
    latents = Latents(
        mean, abs(std), LatentNormalizer.fit(ChannelMoments.of(lambda: [(mean[0], abs(std[0]))], 24 * 64), "channel")
    )
    network = UNet(
        in_channels=4, out_channels=4, ch=16, ch_mult=[1, 2], num_res_blocks=1, attn_factors=[2], heads=2, context_dim=8
    )
    for p in network.parameters():  # a fresh network says zero, and most of its gradients are zero
        nn.init.normal_(p, std=0.1)
    denoiser = Denoiser(network, Linear(20, 1e-3, 0.2, False), V())
    ema = {"decay": 0.9, "warmup": True, "extra_decays": [0.5], "power_widths": [0.05, 0.1], "power_snapshots": 4}
    train_config = DiffusionTraining(**COMMON, loss="mse", ema=ema, snapshots=[])
    batches = LatentBatches(latents, np.arange(24), {"label": np.arange(24) % 3}, BATCH, 0)
    kinds = {"sgd": lambda p: torch.optim.SGD(p, lr=1e-2), "adam": lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True)}
    loss, conditioner = DiffusionLoss(denoiser, VelocityMSE()), ClassLabel(3, 8, dropout=0.3)
    trainee = WatchedDiffusion(
        loss=loss, timesteps=Importance(denoiser.schedule, 1, 0.1), conditioner=conditioner,
        train_config=train_config, seed=0,
        optimizer=kinds[optimizer], validation=batches.validation(np.arange(4), 1),
        panel=lambda: np.zeros((8, 8, 3), np.uint8),
    )  # fmt: skip
    trainee.watcher = folder
    return trainee, batches


def train(case: str, folder: Path, **runtime):
    """What a case such as kl-sgd or diffusion-adam gave: rows (means over half the steps), gradients, state."""
    kind, optimizer = case.split("-")
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Folder(folder)
    torch.manual_seed(0)
    trainee, batches = diffusion(optimizer, scratch) if kind == "diffusion" else first_stage(kind, optimizer, scratch)
    writes = not several_ranks() or dist.get_rank() == 0
    recorder = Recorder(folder, scratch, every=STEPS // 2, writes=writes)  # and one checkpoint, half way
    fit(trainee, batches, scratch, recorder, Runtime(checkpoint_seconds=0.0, **runtime), case)
    state = {**trainee.state_dict(), **trainee.resume_state()}
    return {**{name: getattr(scratch, name) for name in ("rows", "gradients", "spread")}, "state": _flat(state)}


def _flat(state: dict, prefix: str = "") -> dict[str, Tensor]:
    flat = {}
    for name, value in state.items():
        flat |= _flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {f"{prefix}{name}": whole(value)}
    return flat


def main(folder: Path, cases: list[str]) -> None:
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    overlap.FIRST = overlap.BUCKET = 2**14  # these networks are small, and would be sent as a whole
    for case in cases:
        name, _, strategy = case.partition(":")
        out = folder / case
        result = train(name, out, devices=dist.get_world_size(), strategy=strategy or "ddp")
        torch.save(result, folder / f"{case}.{os.environ['RANK']}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
