"""Training a first stage: autoencoder and critic, one step of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ablatent.core.fields import Betas, Positive
from ablatent.core.images import grid
from ablatent.core.ranks import BatchShard, mean_over_ranks
from ablatent.core.rng import normal, stream
from ablatent.data.tensors import to_images, to_tensor
from ablatent.first_stage.base import FirstStage, Reconstruction
from ablatent.first_stage.losses import AutoencoderLoss, CriticPass
from ablatent.training.batches import Batch, Epochs
from ablatent.training.record import Recorder
from ablatent.training.settings import Training
from ablatent.training.trainee import Trainee


@dataclass(frozen=True, kw_only=True)
class FirstStageTraining(Training):
    """The fields of `first_stage.training`.

    lr, betas: of Adam for the autoencoder; disc_lr: of the critic; flip: whether half of the images are mirrored.
    """

    lr: Annotated[Positive, "learning rate of the autoencoder"]
    disc_lr: Annotated[Positive, "learning rate of the critic"]
    betas: Annotated[Betas, "of Adam for the autoencoder"]
    flip: Annotated[bool, "mirror every other image"]

    key: ClassVar[str] = "first_stage.training"


class ImageBatches:
    """The batch of step n of a first-stage training, as the micro-batches of one rank: images in [-1, 1] and noise for
    their latents.

    pixels: (n, H, W, C) uint8; rows: those that are trained on; latent_shape: (c, h, w).
    """

    def __init__(
        self,
        pixels: np.ndarray,
        rows: np.ndarray,
        latent_shape: tuple[int, int, int],
        train_config: FirstStageTraining,
        seed: int,
    ):
        self.pixels, self.latent_shape = pixels, latent_shape
        self.train_config, self.seed, self.epochs = train_config, seed, Epochs(rows, seed)

    def __call__(self, step: int, shard: BatchShard) -> list[Batch]:
        """Those of step `step` (0 for the first) and of this rank's shard. Raises ConfigError where the batch does not
        divide by all parts."""
        size = self.train_config.batch_size
        rows = self.epochs(step, size)
        mirrored = stream(self.seed, "flip", step).random(size) < (0.5 if self.train_config.flip else 0.0)
        batches = []
        for places in shard.places(size):
            images = self.pixels[rows[places]]
            flipped = mirrored[places]
            images[flipped] = images[flipped, :, ::-1]
            noise = normal(self.seed, "latent", [step * size + int(i) for i in places], self.latent_shape)
            batches.append({"image": to_tensor(images), "noise": torch.from_numpy(noise)})
        return batches


class FirstStageTrainee(Trainee):
    """A first stage and its loss (with its critic), one step of each per batch. validation: images (n, H, W, C) uint8
    that are reconstructed at every validation."""

    lr_keys: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("loss", "grad_norm"), "first_stage.training.lr"),
        **dict.fromkeys(("critic", "disc_grad_norm"), "first_stage.training.disc_lr"),
    }

    def __init__(
        self,
        model: FirstStage,
        loss: AutoencoderLoss,
        train_config: FirstStageTraining,
        seed: int,
        validation: np.ndarray,
    ):
        super().__init__(seed, train_config.steps, train_config.validate_every)
        self.model, self.loss, self.train_config, self.validation = model, loss, train_config, validation

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        first, second = self.train_config.betas
        return [
            torch.optim.Adam(self.model.parameters(), lr=self.train_config.lr, betas=(first, second), fused=True),
            torch.optim.Adam(
                self.loss.discriminator.parameters(), lr=self.train_config.disc_lr, betas=(0.5, 0.9), fused=True
            ),
        ]

    def to_compile(self) -> list[torch.nn.Module]:
        # not the whole model: a codebook's restarts depend on its numbers, which would break the graph at each step
        return [m for name, m in self.model.named_children() if name in ("encoder", "decoder")]

    def take_step(self, batches: list[Batch], step: int) -> dict[str, Tensor | float]:
        optimizers: Any = self.optimizers()
        generator, critic = optimizers
        self.model.before_step([batch["image"] for batch in batches])
        weight_of = self._weight_of(batches, step)
        logs, fakes = [], []
        shared: CriticPass | None = None
        generator.zero_grad()
        for micro, batch in enumerate(batches):
            rec = self._pass(micro, batch)
            if len(batches) == 1 and self.loss.critic_trains(step):  # the graphs of several would be held at once
                shared = self.loss.critic_pass(batch["image"], rec.x_hat)
            loss, values = self.loss.generator_loss(
                batch["image"], rec, self.model.last_layer(), step, self._part(micro), weight_of, shared
            )
            self.add_gradients(loss / len(batches), generator, last=micro + 1 == len(batches))
            fakes.append(rec.x_hat.detach())
            logs.append({"loss": loss.detach(), **values, **rec.stats})
            del rec, loss  # one graph at a time
        rate = self.train_config.learning_rate(step, self.train_config.lr)
        norm = self.step_optimizer(generator, rate, self.train_config.clip)
        critic_logs = self._critic_step(critic, batches, fakes, step, shared)
        extra = self.model.after_step(step + 1, stream(self.seed, "codes", step))
        return {**_means(logs), **critic_logs, "grad_norm": norm, **extra}

    def _critic_step(
        self, critic: Any, batches: list[Batch], fakes: list[Tensor], step: int, shared: CriticPass | None
    ) -> dict[str, Tensor]:
        if not self.loss.critic_trains(step):
            return {}
        logs, trained = [], list(self.loss.discriminator.parameters())
        critic.zero_grad()
        for micro, (batch, fake) in enumerate(zip(batches, fakes, strict=True)):
            loss, values = self.loss.critic_loss(batch["image"], fake, step, shared)
            if loss is not None:
                last = micro + 1 == len(batches)
                self.add_gradients(loss / len(batches), critic, last, inputs=trained)  # not at the images
                logs.append(values)
        rate = self.train_config.learning_rate(step, self.train_config.disc_lr)
        norm = self.step_optimizer(critic, rate, self.train_config.clip)
        return {**_means(logs), "disc_grad_norm": norm}

    def _weight_of(self, batches: list[Batch], step: int) -> list[Tensor] | None:
        """The two gradients of the whole batch that decide the critic's weight, where it has several micro-batches.

        The weight must be known before the first backward pass, so these steps go forward twice.
        """
        if len(batches) == 1 or not self.loss.counts(step):
            return None
        sums: list[Tensor] = []
        for micro, batch in enumerate(batches):
            rec = self._pass(micro, batch)
            parts = self.loss.last_layer_gradients(batch["image"], rec, self.model.last_layer(), self._part(micro))
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else list(parts)
        self.model.forget_passes()
        return [mean_over_ranks(total / len(batches)) for total in sums]

    def _pass(self, micro: int, batch: Batch) -> Reconstruction:
        self.seed_dropout(micro)
        rec: Reconstruction = self.model(batch["image"], batch["noise"])
        return rec

    def _part(self, micro: int) -> tuple[int, int]:
        return self.shard.part(micro), self.shard.parts

    def after_step(self, step: int, recorder: Recorder) -> None:
        if not self.validates_at(step):
            return
        x_hat = reconstruct(self.model, self.validation, self.device)
        self.check_finite("largest reconstructed value", float(x_hat.abs().max()))
        error = (to_tensor(self.validation) - x_hat.clamp(-1, 1)).square().mean((1, 2, 3)).clamp_min(1e-10)
        psnr = float((10 * torch.log10(4 / error)).mean())
        codebook = {f"codebook/{name}": value for name, value in self.model.epoch_stats().items()}
        recorder.log(step, {"validation/psnr": psnr, **codebook})
        pairs = np.concatenate([self.validation[:8], to_images(x_hat[:8])])
        recorder.panel(step, "reconstruction", grid(pairs, columns=8, scale=2))


def _means(logs: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Of each name over the micro-batches."""
    if len(logs) == 1:
        return logs[0]
    return {name: torch.stack([values[name] for values in logs]).mean() for name in logs[0]}


@torch.no_grad()
def reconstruct(model: FirstStage, images: np.ndarray, device: torch.device | str, batch: int = 64) -> Tensor:
    """Images (uint8) through encoder mean and decoder, in evaluation mode and float32: (n, C, H, W), not clipped."""
    was = model.training
    model.eval()
    parts = []
    for i in range(0, len(images), batch):
        parts.append(model.decode(model.moments(to_tensor(images[i : i + batch]).to(device)).mean).cpu())
    model.train(was)
    return torch.cat(parts)
