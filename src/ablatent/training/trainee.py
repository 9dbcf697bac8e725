"""What is trained: a model that knows how to take one optimiser step, and the skeleton that most trainings share."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn

from ablatent.core.errors import StageError
from ablatent.core.ranks import BatchShard, several_ranks, whole_batch
from ablatent.core.rng import stream
from ablatent.training.batches import Batch
from ablatent.training.divergence import diverged
from ablatent.training.overlap import GradientAverage
from ablatent.training.record import Recorder
from ablatent.training.settings import Training
from ablatent.training.sharded import clip_gradients, groups_of, is_spread, load_optimizer_state, shard

OptimizerFactory = Callable[[Iterable[Any]], torch.optim.Optimizer]
"""(parameters, or groups of them) -> an optimiser over them."""


class Trainee(pl.LightningModule):
    """A model that knows how to take one optimiser step. Subclasses hold every tensor that a resume needs.

    seed: of batches, dropout and whatever else is drawn; steps: how many are taken; validate_every: steps from one
    validation to the next.
    """

    lr_keys: ClassVar[Mapping[str, str]] = dict.fromkeys(("loss", "grad_norm"), "the learning rate")
    """Name of a logged value → key of the learning rate to lower where it is not finite: the training has diverged."""

    def __init__(self, seed: int, steps: int, validate_every: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.seed, self.steps, self.validate_every = seed, steps, validate_every
        self.step = 0
        self.logs: dict[str, Tensor | float] = {}
        self.shard, self.title = BatchShard(), type(self).__name__
        self.pending_optimizers: list[dict[str, Any]] = []
        self.pending_scaler: dict[str, Any] = {}
        self.averages: dict[torch.optim.Optimizer, GradientAverage] = {}

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimisers, in a fixed order."""
        raise StageError(f"{type(self).__name__} has no optimisers.")

    def configure_optimizers(self) -> Any:
        """Lightning's hook: the optimisers, with the state of the checkpoint that is being resumed."""
        optimizers = self.make_optimizers()
        for optimizer, state in zip(optimizers, self.pending_optimizers, strict=False):
            load_optimizer_state(optimizer, state)
        if self.pending_scaler:
            self.scaler().load_state_dict(self.pending_scaler)
        if several_ranks():  # FSDP averages what is spread itself
            whole = {
                o: [p for group in o.param_groups for p in group["params"] if not is_spread(p)] for o in optimizers
            }
            self.averages = {o: GradientAverage(parameters) for o, parameters in whole.items()}
        return optimizers

    def configure_model(self) -> None:
        """Lightning's hook, before the optimisers are built: spread the networks over the ranks where that is set."""
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            shard(self.to_shard(), self.trainer.strategy.device_mesh["data_parallel"])

    def take_step(self, batches: list[Batch], step: int) -> dict[str, Tensor | float]:
        """One optimiser step (counted from 0) over this rank's micro-batches; returns what is logged: tensors of one
        number, which are averaged over the ranks later, and numbers that are alike on all ranks. No step waits for its
        device: it reads no number of a tensor."""
        raise StageError(f"{type(self).__name__} takes no steps.")

    def seed_dropout(self, micro: int) -> None:
        """Seed torch's generators (dropout) for the pass over a micro-batch: a function of seed, step and part."""
        part = () if self.shard.parts == 1 else (self.shard.part(micro),)
        seed = int(stream(self.seed, "torch", self.step, *part).integers(2**31))
        # torch.manual_seed seeds every device, and notes the call stack for those that are not there: 1 ms a step.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def step_optimizer(self, optimizer: Any, lr: float, clip: float | None) -> Tensor:
        """A step along the gradients that the backward passes of all micro-batches on all ranks left together.

        They are averages over the ranks, so each loss is a mean over its samples, divided by the number of
        micro-batches. clip: largest gradient norm, None for any. Returns the norm before clipping.
        """
        trained = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        average = self.averages.get(getattr(optimizer, "optimizer", optimizer))
        if average is not None:
            average.finish()
        scaler = self.scaler()
        scale = None if scaler is None else scaler.scale(torch.ones((), device=self.device))  # not read by the host
        norm = clip_gradients(trained, clip, scale)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        return norm

    def add_gradients(
        self, loss: Tensor, optimizer: Any, last: bool, inputs: Sequence[nn.Parameter] | None = None
    ) -> None:
        """The backward pass of a micro-batch's part of a loss, of which this optimiser's parameters get gradients.

        last: whether it is the last before `step_optimizer`; ranks then average gradients while others are computed.
        inputs: whose gradients are computed alone, None for all.
        """
        average = self.averages.get(getattr(optimizer, "optimizer", optimizer)) if last else None
        with nullcontext() if average is None else average.during():
            self.manual_backward(loss, inputs=inputs)

    def scaler(self) -> Any:
        """What enlarges the gradients of 16-mixed, None in other precisions."""
        plugin = self.trainer.precision_plugin
        return plugin.scaler if isinstance(plugin, MixedPrecision) else None

    def validates_at(self, step: int) -> bool:
        """Whether there is a validation after so many steps."""
        return step % self.validate_every == 0 or step == self.steps

    def looks_at(self, step: int) -> bool:
        """Whether the weights after so many steps are used: validated, or kept."""
        return self.validates_at(step)

    def check_finite(self, what: str, value: float) -> None:
        """Raise StageError where a value that a validation found, named by `what`, is not finite."""
        if not math.isfinite(value):
            raise diverged(self.title, self.step, {what: value}, self.lr_keys["loss"])

    def on_device(self, batch: Batch) -> Batch:
        """The batch on the device of the model."""
        return {name: value.to(self.device) for name, value in batch.items()}

    def after_step(self, step: int, recorder: Recorder) -> None:
        """Called with the number of steps taken: validation, panels, snapshots."""

    def to_compile(self) -> list[nn.Module]:
        """The modules that runtime.compile hands to torch.compile, in place: names in state dicts stay."""
        return []

    def to_shard(self) -> list[nn.Module]:
        """The networks that runtime.strategy=fsdp spreads over the ranks: each is called by its forward alone."""
        return []

    def resume_state(self) -> dict[str, Any]:
        """Tensors that are not in state_dict (EMA), if any."""
        return {}

    def load_resume_state(self, state: Mapping[str, Any]) -> None:
        """Takes what resume_state gave."""

    def training_step(self, batches: list[Batch], index: int) -> None:
        """Lightning's hook: one step, whose values are kept in `logs`."""
        self.seed_dropout(0)
        self.logs = self.take_step(batches, self.step)
        self.step += 1


class NetworkTrainee(Trainee):
    """A training with one optimiser and one loss that is a mean over samples; all but the first stage's are.

    validation: batches that are the same at every validation.
    """

    def __init__(self, train_config: Training, seed: int, optimizer: OptimizerFactory, validation: list[Batch]) -> None:
        super().__init__(seed, train_config.steps, train_config.validate_every)
        self.train_config, self.make_optimizer, self.validation = train_config, optimizer, validation

    @abstractmethod
    def trained(self) -> Sequence[nn.Parameter]:
        """The parameters that the optimiser moves."""

    @abstractmethod
    def forward_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a micro-batch, a mean over its samples, and what is logged of it: name → (b,) or (1,) values
        without gradients."""

    @abstractmethod
    def validate(self, step: int, recorder: Recorder) -> None:
        """Record the validation after so many steps; called in evaluation mode."""

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        """The one optimiser."""
        optimizer = self.make_optimizer(groups_of(self.trained()))
        self.base_lr = optimizer.defaults["lr"]
        return [optimizer]

    def take_step(self, batches: list[Batch], step: int) -> dict[str, Tensor | float]:
        """The gradients of all micro-batches, and one step along them."""
        optimizer: Any = self.optimizers()
        parts = []
        optimizer.zero_grad()
        for micro, batch in enumerate(batches):
            self.seed_dropout(micro)
            loss, values = self.forward_loss(batch)
            self.add_gradients(loss / len(batches), optimizer, last=micro + 1 == len(batches))
            parts.append(values)
            del loss  # one graph at a time
        values = {name: whole_batch([part[name] for part in parts]) for name in parts[0]}
        lr = self.train_config.learning_rate(step, self.base_lr)
        norm = self.step_optimizer(optimizer, lr, self.train_config.clip)
        return {**self.step_logs(batches, values, step), "grad_norm": norm, "lr": lr}

    def step_logs(self, batches: list[Batch], values: dict[str, Tensor], step: int) -> dict[str, Tensor | float]:
        """What is logged of a step, called after it; values: those of `forward_loss`, of the whole batch."""
        return {name: value.mean() for name, value in values.items()}

    def after_step(self, step: int, recorder: Recorder) -> None:
        """Validation, where it is due."""
        if self.validates_at(step):
            self.eval()
            self.validate(step, recorder)
            self.train()
