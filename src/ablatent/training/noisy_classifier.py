"""Training the classifier of noisy latents that guides a sampler (Dhariwal & Nichol 2021, section 4 and appendix H)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ablatent.core.errors import StageError
from ablatent.core.ranks import whole_batch
from ablatent.diffusion.loss import by_timestep
from ablatent.samplers.guidance_classifier import NoisyLogits
from ablatent.training.diffusion import OptimizerFactory
from ablatent.training.loop import Batch, Trainee
from ablatent.training.record import Recorder
from ablatent.training.settings import Training, learning_rate

PARTS = 5
"""Accuracy is told for so many equal parts of the times: near 1 where little noise is, near chance at the end."""


@dataclass(frozen=True)
class ClassifierTraining(Training):
    """The fields of `classifier.training`."""

    key: ClassVar[str] = "classifier.training"


class ClassifierTrainee(Trainee):
    """Cross-entropy at uniform integer times.

    Batches: z (normalised latents), u (uniform numbers that become times), eps, label. scores: the newest validation.
    """

    def __init__(
        self,
        logits: NoisyLogits,
        how: ClassifierTraining,
        seed: int,
        optimizer: OptimizerFactory,
        validation: list[Batch],
    ):
        super().__init__()
        self.logits, self.how, self.seed, self.steps = logits, how, seed, how.steps
        self.make_optimizer, self.validation = optimizer, validation
        self.scores: dict[str, float] = {}

    def to_compile(self) -> list[nn.Module]:
        return [self.logits.network]

    def to_shard(self) -> list[nn.Module]:
        return [self.logits.network]

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        optimizer = self.make_optimizer(self.logits.network.parameters())
        self.base_lr = optimizer.defaults["lr"]
        return [optimizer]

    def take_step(self, batches: list[Batch], step: int) -> dict[str, Tensor | float]:
        optimizer: Any = self.optimizers()
        parts = []
        optimizer.zero_grad()
        for micro, batch in enumerate(batches):
            self.draw(micro)
            losses, correct, _ = self._judged(batch)
            self.manual_backward(losses.mean() / len(batches))
            parts.append((losses.detach(), correct))
        loss, right = (whole_batch(part).mean() for part in zip(*parts, strict=True))
        lr = learning_rate(step, self.base_lr, self.steps, self.how.warmup_steps, self.how.decay)
        norm = self.descend(optimizer, self.logits.network.parameters(), lr, self.how.clip)
        return {"loss": loss, "accuracy": right, "grad_norm": norm, "lr": lr}

    def _judged(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(loss, 1.0 where the likeliest class is the right one, t), one number a row."""
        schedule = self.logits.schedule
        t = (batch["u"] * schedule.T).long()
        logits = self.logits(schedule.q_sample(batch["z"], t, batch["eps"]), t)
        correct = (logits.argmax(dim=1) == batch["label"]).to(logits.dtype)
        return cross_entropy(logits, batch["label"], reduction="none"), correct, t

    def after_step(self, step: int, recorder: Recorder) -> None:
        if step % self.how.validate_every == 0 or step == self.steps:
            self.eval()
            self.scores = self._validate()
            recorder.log(step, {f"validation/{name}": value for name, value in self.scores.items()})
            self.train()

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """loss, accuracy, and accuracy_t/FIRST-LAST by noise level, on held-out latents with always the same noise."""
        judged = [self._judged({k: v.to(self.device) for k, v in batch.items()}) for batch in self.validation]
        losses, correct, t = (torch.cat(parts) for parts in zip(*judged, strict=True))
        if not bool(torch.isfinite(losses).all()):
            raise StageError(
                f"noisy_classifier: the validation loss is {float(losses.mean())} at step {self.step}; "
                "lower classifier.optimizer.lr."
            )
        by_noise = by_timestep(correct, t, self.logits.schedule.T, PARTS)
        return {
            "loss": float(losses.mean()),
            "accuracy": float(correct.mean()),
            **{name.replace("loss_t/", "accuracy_t/"): value for name, value in by_noise.items()},
        }
