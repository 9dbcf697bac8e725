"""Training a judge: a network that learns from real pictures what is known of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from ablatent.core.errors import StageError
from ablatent.core.ranks import BatchShard, whole_batch
from ablatent.training.diffusion import OptimizerFactory
from ablatent.training.first_stage import to_tensor
from ablatent.training.loop import Batch, Trainee, epoch_rows
from ablatent.training.record import Recorder
from ablatent.training.settings import Training, learning_rate

Augment = Callable[..., tuple[np.ndarray, ...]]
"""(seed, samples, arrays …) → the arrays, changed; a function of seed and sample."""


@runtime_checkable
class Question(Protocol):
    """What a trainee needs of a verdict."""

    def loss(self, logits: Tensor, target: Tensor) -> Tensor: ...
    def right(self, logits: Tensor, target: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class JudgeTraining(Training):
    """The fields of `judge.training`."""

    key: ClassVar[str] = "judge.training"


class PictureBatches:
    """The batch of step n, as the micro-batches of one rank: augmented pictures in [-1, 1], and what is to be said of
    them.

    targets: a row a picture; with `maps` they are maps of pixels, which move with their picture.
    """

    def __init__(
        self, pixels: np.ndarray, targets: np.ndarray, rows: np.ndarray, augment: Augment, batch_size: int, seed: int
    ):
        self.pixels, self.targets, self.rows = pixels, targets, rows
        self.augment, self.batch_size, self.seed = augment, batch_size, seed
        self.maps = targets.ndim == 3

    def __call__(self, step: int, shard: BatchShard) -> list[Batch]:
        size = self.batch_size
        rows = epoch_rows(self.rows, self.seed, step, size)
        return [self._part(rows[places], [step * size + int(i) for i in places]) for places in shard.places(size)]

    def _part(self, rows: np.ndarray, samples: Sequence[int]) -> Batch:
        moving = (self.pixels[rows], self.targets[rows]) if self.maps else (self.pixels[rows],)
        images, *maps = self.augment(self.seed, samples, *moving)
        return _batch(images, maps[0] if self.maps else self.targets[rows])

    def validation(self, rows: np.ndarray) -> list[Batch]:
        """The pictures of the given rows as they are."""
        parts = [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        return [_batch(self.pixels[part], self.targets[part]) for part in parts]


def _batch(images: np.ndarray, targets: np.ndarray) -> Batch:
    return {"image": to_tensor(images), "target": torch.from_numpy(np.ascontiguousarray(targets))}


class JudgeTrainee(Trainee):
    """A network, and the question that it learns to answer. Batches: image, target. validation: always the same."""

    def __init__(
        self,
        network: nn.Module,
        question: Question,
        how: JudgeTraining,
        seed: int,
        optimizer: OptimizerFactory,
        validation: list[Batch],
    ):
        super().__init__()
        self.network, self.question, self.how, self.seed, self.steps = network, question, how, seed, how.steps
        self.make_optimizer, self.validation = optimizer, validation

    def to_compile(self) -> list[nn.Module]:
        return [self.network]

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        optimizer = self.make_optimizer(self.network.parameters())
        self.base_lr = optimizer.defaults["lr"]
        return [optimizer]

    def take_step(self, batches: list[Batch], step: int) -> dict[str, Tensor | float]:
        optimizer: Any = self.optimizers()
        parts = []
        optimizer.zero_grad()
        for micro, batch in enumerate(batches):
            self.draw(micro)
            logits = self.network(batch["image"])
            loss = self.question.loss(logits, batch["target"])
            self.manual_backward(loss / len(batches))
            right = self.question.right(logits.detach(), batch["target"])
            parts.append((rearrange(loss.detach(), "-> 1"), rearrange(right, "-> 1")))
        loss, right = (whole_batch(part).mean() for part in zip(*parts, strict=True))
        lr = learning_rate(step, self.base_lr, self.steps, self.how.warmup_steps, self.how.decay)
        norm = self.descend(optimizer, self.network.parameters(), lr, self.how.clip)
        return {"loss": loss, "right": right, "grad_norm": norm, "lr": lr}

    def after_step(self, step: int, recorder: Recorder) -> None:
        if step % self.how.validate_every == 0 or step == self.steps:
            self.eval()
            recorder.log(step, self._validate())
            self.train()

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """validation/loss and validation/right, over all pictures alike."""
        sums, count = {"loss": 0.0, "right": 0.0}, 0
        for batch in self.validation:
            batch = {name: value.to(self.device) for name, value in batch.items()}
            logits = self.network(batch["image"])
            for name, measure in (("loss", self.question.loss), ("right", self.question.right)):
                sums[name] += float(measure(logits, batch["target"])) * len(logits)
            count += len(logits)
        if not np.isfinite(sums["loss"]):
            raise StageError(f"judge: the validation loss is not finite at step {self.step}; lower judge.optimizer.lr.")
        return {f"validation/{name}": value / count for name, value in sums.items()}
