"""Training the classifier of noisy latents that guides a sampler (Dhariwal & Nichol 2021, section 4 and appendix H)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ablatent.diffusion.loss import by_timestep
from ablatent.samplers.guidance_classifier import NoisyLogits
from ablatent.training.batches import Batch
from ablatent.training.record import Recorder
from ablatent.training.settings import Training
from ablatent.training.trainee import NetworkTrainee, OptimizerFactory

PARTS = 5
"""Accuracy is measured in so many equal parts of the times: near 1 where little noise is, near chance at the end."""


@dataclass(frozen=True, kw_only=True)
class ClassifierTraining(Training):
    """The fields of `classifier.training`."""

    key: ClassVar[str] = "classifier.training"


class ClassifierTrainee(NetworkTrainee):
    """Cross-entropy at uniform times.

    Batches: z (normalised latents), u (uniform numbers that become times), eps, label. scores: the newest validation.
    """

    lr_keys: ClassVar[Mapping[str, str]] = dict.fromkeys(("loss", "grad_norm"), "classifier.optimizer.lr")

    def __init__(
        self,
        logits: NoisyLogits,
        train_config: ClassifierTraining,
        seed: int,
        optimizer: OptimizerFactory,
        validation: list[Batch],
    ):
        super().__init__(train_config, seed, optimizer, validation)
        self.logits = logits
        self.scores: dict[str, float] = {}

    def to_compile(self) -> list[nn.Module]:
        return [self.logits.network]

    def to_shard(self) -> list[nn.Module]:
        return [self.logits.network]

    def trained(self) -> list[nn.Parameter]:
        return list(self.logits.network.parameters())

    def forward_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        losses, correct, _ = self._losses(batch)
        return losses.mean(), {"loss": losses.detach(), "accuracy": correct}

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(loss, 1.0 where the likeliest class is the right one, t), one number a row."""
        schedule = self.logits.schedule
        t = schedule.time_at(batch["u"])
        logits = self.logits(schedule.q_sample(batch["z"], t, batch["eps"]), t)
        correct = (logits.argmax(dim=1) == batch["label"]).to(logits.dtype)
        return cross_entropy(logits, batch["label"], reduction="none"), correct, t

    @torch.no_grad()
    def validate(self, step: int, recorder: Recorder) -> None:
        """loss, accuracy, and accuracy_t/FIRST-LAST by noise level, on held-out latents with always the same noise.
        Raises StageError where the loss is not finite."""
        rows = [self._losses(self.on_device(batch)) for batch in self.validation]
        losses, correct, t = (torch.cat(parts) for parts in zip(*rows, strict=True))
        self.check_finite("validation loss", float(losses.mean()))
        by_noise = by_timestep(correct, t, self.logits.schedule.T, PARTS)
        self.scores = {
            "loss": float(losses.mean()),
            "accuracy": float(correct.mean()),
            **{name.replace("loss_t/", "accuracy_t/"): value for name, value in by_noise.items()},
        }
        recorder.log(step, {f"validation/{name}": value for name, value in self.scores.items()})
