"""Training a judge: a network that learns the annotations of real images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from ablatent.core.images import as_rgb
from ablatent.core.ranks import BatchShard
from ablatent.data.tensors import to_tensor
from ablatent.training.batches import Batch, Epochs
from ablatent.training.record import Recorder
from ablatent.training.settings import Training
from ablatent.training.trainee import NetworkTrainee, OptimizerFactory

Augment = Callable[..., tuple[np.ndarray, ...]]
"""(seed, samples, arrays …) → the arrays, changed; a function of seed and sample."""


@runtime_checkable
class Question(Protocol):
    """What a trainee needs of a verdict."""

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over the batch, ()."""

    def right(self, logits: Tensor, target: Tensor) -> Tensor:
        """The share of right answers, ()."""


@dataclass(frozen=True, kw_only=True)
class JudgeTraining(Training):
    """The fields of `judge.training`."""

    key: ClassVar[str] = "judge.training"


class JudgeBatches:
    """The batch of step n, as the micro-batches of one rank: augmented images in [-1, 1], and their
    targets.

    pixels: (n, H, W, C) uint8; targets: a row an image; maps of pixels (n, H, W) move with their image. rows: the
    trained ones.
    """

    def __init__(
        self, pixels: np.ndarray, targets: np.ndarray, rows: np.ndarray, augment: Augment, batch_size: int, seed: int
    ):
        self.pixels, self.targets, self.epochs = pixels, targets, Epochs(rows, seed)
        self.augment, self.batch_size, self.seed = augment, batch_size, seed
        self.maps = targets.ndim == 3

    def __call__(self, step: int, shard: BatchShard) -> list[Batch]:
        """Those of step `step` (0 for the first) and of this rank's shard. Raises ConfigError where the batch does not
        divide by all parts."""
        size = self.batch_size
        rows = self.epochs(step, size)
        return [self._part(rows[places], [step * size + int(i) for i in places]) for places in shard.places(size)]

    def _part(self, rows: np.ndarray, samples: Sequence[int]) -> Batch:
        moving = (self.pixels[rows], self.targets[rows]) if self.maps else (self.pixels[rows],)
        images, *maps = self.augment(self.seed, samples, *moving)
        return _batch(images, maps[0] if self.maps else self.targets[rows])

    def validation(self, rows: np.ndarray) -> list[Batch]:
        """Batches of the given rows, without augmentation."""
        parts = [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        return [_batch(self.pixels[part], self.targets[part]) for part in parts]


def _batch(images: np.ndarray, targets: np.ndarray) -> Batch:
    return {"image": to_tensor(as_rgb(images)), "target": torch.from_numpy(np.ascontiguousarray(targets))}


class JudgeTrainee(NetworkTrainee):
    """A network that learns to give the answers of a verdict. Batches: image, target."""

    lr_keys: ClassVar[Mapping[str, str]] = dict.fromkeys(("loss", "grad_norm"), "judge.optimizer.lr")

    def __init__(
        self,
        network: nn.Module,
        question: Question,
        train_config: JudgeTraining,
        seed: int,
        optimizer: OptimizerFactory,
        validation: list[Batch],
    ):
        super().__init__(train_config, seed, optimizer, validation)
        self.network, self.question = network, question

    def to_compile(self) -> list[nn.Module]:
        return [self.network]

    def trained(self) -> list[nn.Parameter]:
        return list(self.network.parameters())

    def forward_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.network(batch["image"])
        loss = self.question.loss(logits, batch["target"])
        right = self.question.right(logits.detach(), batch["target"])
        return loss, {"loss": rearrange(loss.detach(), "-> 1"), "right": rearrange(right, "-> 1")}

    @torch.no_grad()
    def validate(self, step: int, recorder: Recorder) -> None:
        """validation/loss and validation/right, over all images alike. Raises StageError where the loss is not
        finite."""
        sums, count = {"loss": 0.0, "right": 0.0}, 0
        for batch in map(self.on_device, self.validation):
            logits = self.network(batch["image"])
            for name, measure in (("loss", self.question.loss), ("right", self.question.right)):
                sums[name] += float(measure(logits, batch["target"])) * len(logits)
            count += len(logits)
        self.check_finite("validation loss", sums["loss"])
        recorder.log(step, {f"validation/{name}": value / count for name, value in sums.items()})
