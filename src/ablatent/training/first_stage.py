"""Training a first stage: autoencoder and critic, one step of each."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.images import grid
from ablatent.core.rng import normal, stream
from ablatent.data.pixels import to_uint8, to_unit
from ablatent.first_stage.base import FirstStage
from ablatent.first_stage.losses import AutoencoderLoss
from ablatent.training.loop import Batch, Trainee, epoch_rows, learning_rate
from ablatent.training.record import Recorder


@dataclass(frozen=True)
class FirstStageTraining:
    """The fields of first_stage.training."""

    steps: int
    batch_size: int
    lr: float
    disc_lr: float
    betas: Any
    warmup_steps: int
    decay: str
    clip: float | None
    flip: bool
    validate_every: int
    precision: str

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"first_stage.training.{name}", "an integer of at least 1", getattr(self, name))
        learning_rate(0, 1.0, self.steps, 0, self.decay)


class ImageBatches:
    """The batch of step n of a first-stage training: images in [-1, 1] and noise for their latents."""

    def __init__(
        self,
        pixels: np.ndarray,
        rows: np.ndarray,
        latent_shape: tuple[int, int, int],
        how: FirstStageTraining,
        seed: int,
    ):
        self.pixels, self.rows, self.latent_shape, self.how, self.seed = pixels, rows, latent_shape, how, seed

    def __call__(self, step: int) -> Batch:
        size = self.how.batch_size
        images = self.pixels[epoch_rows(self.rows, self.seed, step, size)]
        samples = range(step * size, (step + 1) * size)
        if self.how.flip:
            mirrored = stream(self.seed, "flip", step).random(size) < 0.5
            images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
        noise = normal(self.seed, "latent", samples, self.latent_shape)
        return {"image": to_tensor(images), "noise": torch.from_numpy(noise)}


def to_tensor(images: np.ndarray) -> Tensor:
    """(n, H, W, 3) uint8 -> (n, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(to_unit(np.asarray(images)))


def to_images(x: Tensor) -> np.ndarray:
    """(n, 3, H, W) in [-1, 1] -> (n, H, W, 3) uint8, clipped and rounded."""
    return to_uint8(x.float().cpu().numpy())


class FirstStageTrainee(Trainee):
    """model and loss (with its critic), and what validation looks at: some validation images, always the same."""

    def __init__(
        self, model: FirstStage, loss: AutoencoderLoss, how: FirstStageTraining, seed: int, validation: np.ndarray
    ):
        super().__init__()
        self.model, self.loss, self.how, self.seed, self.steps = model, loss, how, seed, how.steps
        self.validation = validation

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        return [
            torch.optim.Adam(self.model.parameters(), lr=self.how.lr, betas=tuple(self.how.betas)),
            torch.optim.Adam(self.loss.discriminator.parameters(), lr=self.how.disc_lr, betas=(0.5, 0.9)),
        ]

    def to_compile(self) -> list[torch.nn.Module]:
        # not the whole model: a codebook's restarts depend on its numbers, which would break the graph at each step
        return [m for name, m in self.model.named_children() if name in ("encoder", "decoder")]

    def take_step(self, batch: Batch, step: int) -> dict[str, Tensor | float]:
        optimizers: Any = self.optimizers()
        generator, critic = optimizers
        x = batch["image"]
        rec = self.model(x, batch["noise"])
        loss, logs = self.loss.generator_loss(x, rec, self.model.last_layer(), step)
        norm = self._update(generator, loss, self.model, self.how.lr, step)
        critic_loss, critic_logs = self.loss.critic_loss(x, rec.x_hat.detach(), step)
        if critic_loss is not None:
            critic_norm = self._update(critic, critic_loss, self.loss.discriminator, self.how.disc_lr, step)
            critic_logs["disc_grad_norm"] = critic_norm
        extra = self.model.after_step(step + 1, stream(self.seed, "codes", step))
        return {"loss": loss.detach(), "grad_norm": norm, **logs, **critic_logs, **rec.stats, **extra}

    def _update(self, optimizer: Any, loss: Tensor, module: torch.nn.Module, lr: float, step: int) -> Tensor:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, lr, self.steps, self.how.warmup_steps, self.how.decay)
        optimizer.zero_grad()
        self.manual_backward(loss)
        limit = float("inf") if self.how.clip is None else self.how.clip
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), limit)
        optimizer.step()
        return norm

    def after_step(self, step: int, recorder: Recorder) -> None:
        if step % self.how.validate_every and step != self.steps:
            return
        x_hat = reconstruct(self.model, self.validation, self.device)
        error = (to_tensor(self.validation) - x_hat.clamp(-1, 1)).square().mean((1, 2, 3)).clamp_min(1e-10)
        psnr = float((10 * torch.log10(4 / error)).mean())
        codebook = {f"codebook/{name}": value for name, value in self.model.epoch_stats().items()}
        recorder.log(step, {"validation/psnr": psnr, **codebook})
        pairs = np.concatenate([self.validation[:8], to_images(x_hat[:8])])
        recorder.panel(step, "reconstruction", grid(pairs, columns=8, scale=2))


@torch.no_grad()
def reconstruct(model: FirstStage, images: np.ndarray, device: torch.device | str, batch: int = 64) -> Tensor:
    """Images (uint8) through encoder mean and decoder, in evaluation mode and float32: (n, 3, H, W), not clipped."""
    was = model.training
    model.eval()
    parts = []
    for i in range(0, len(images), batch):
        parts.append(model.decode(model.moments(to_tensor(images[i : i + batch]).to(device)).mean).cpu())
    model.train(was)
    return torch.cat(parts)
