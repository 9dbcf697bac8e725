"""The training loop: Lightning computes, this module counts.

A training is a pure function of its configuration: the batch of optimiser step n comes from `batch_at(n)`, torch's
generator (dropout) is seeded by n, the learning rate is a function of n. So a checkpoint is only (n, tensors), and a
training that was killed and resumed ends with the same bits as one that was not.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ablatent.core.errors import StageError
from ablatent.core.files import write_atomic
from ablatent.core.progress import console, track
from ablatent.core.ranks import BatchShard, from_rank_zero, mean_over_ranks, rank_device, several_ranks, this_shard
from ablatent.core.rng import stream
from ablatent.training.checkpoint import Scratch, read_checkpoint, write_checkpoint
from ablatent.training.ranks import options_of
from ablatent.training.record import Recorder
from ablatent.training.sharded import (
    average_gradients,
    clip_gradients,
    gathered,
    load_optimizer_state,
    optimizer_state,
    shard,
)

Batch = dict[str, Tensor]
# The micro-batches of one rank, of the batch of step n: a pure function of n and the shard.
BatchAt = Callable[[int, BatchShard], list[Batch]]


@dataclass(frozen=True)
class Runtime:
    """Where and how a stage computes; precision apart, nothing here changes what it computes beyond rounding (and
    which units a dropout leaves out: each part of a batch draws its own)."""

    device: str = "cpu"
    devices: int = 1
    strategy: str = "ddp"
    grad_accum_steps: int = 1
    precision: str = "32-true"
    compile: bool = False
    batch_size: int = 64
    checkpoint_seconds: float = 10.0


class Trainee(pl.LightningModule):
    """A model that knows how to take one optimiser step. Subclasses hold every tensor that a resume needs."""

    seed: int
    steps: int
    validate_every: int

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.step = 0
        self.logs: dict[str, Tensor | float] = {}
        self.shard = BatchShard()
        self.pending_optimizers: list[dict[str, Any]] = []
        self.pending_scaler: dict[str, Any] = {}

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
        return optimizers

    def configure_model(self) -> None:
        """Lightning's hook, before the optimisers are made: spread the networks over the ranks where that is asked."""
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            shard(self.to_shard(), self.trainer.strategy.device_mesh["data_parallel"])

    def take_step(self, batches: list[Batch], step: int) -> dict[str, Tensor | float]:
        """One optimiser step (counted from 0) over this rank's micro-batches; returns what is logged, to be averaged
        over the ranks."""
        raise StageError(f"{type(self).__name__} takes no steps.")

    def draw(self, micro: int) -> None:
        """Seed torch's generator (dropout) for the pass over a micro-batch: a function of seed, step and part."""
        part = () if self.shard.parts == 1 else (self.shard.part(micro),)
        torch.manual_seed(int(stream(self.seed, "torch", self.step, *part).integers(2**31)))

    def descend(
        self, optimizer: Any, parameters: Iterable[torch.nn.Parameter], lr: float, clip: float | None
    ) -> Tensor:
        """A step along the gradients that the backward passes of all micro-batches on all ranks left together.

        They are averaged over the ranks, so each loss is a mean over its samples, divided by the number of
        micro-batches. Returns the norm before clipping.
        """
        trained = [p for p in parameters if p.requires_grad]
        average_gradients(trained)
        scaler = self.scaler()
        scale = 1.0 if scaler is None else float(scaler.get_scale())  # by which 16-mixed has enlarged the gradients
        norm = clip_gradients(trained, float("inf") if clip is None else clip * scale) / scale
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        return norm

    def scaler(self) -> Any:
        """What enlarges the gradients of 16-mixed, None in other precisions."""
        plugin = self.trainer.precision_plugin
        return plugin.scaler if isinstance(plugin, MixedPrecision) else None

    def after_step(self, step: int, recorder: Recorder) -> None:
        """Called with the number of steps taken: validation, panels, snapshots."""

    def to_compile(self) -> list[torch.nn.Module]:
        """The modules that runtime.compile hands to torch.compile, in place: names in state dicts stay."""
        return []

    def to_shard(self) -> list[torch.nn.Module]:
        """The networks that runtime.strategy=fsdp spreads over the ranks: each is called by its forward alone."""
        return []

    def resume_state(self) -> dict[str, Any]:
        """Tensors that are not in state_dict (EMA), if any."""
        return {}

    def load_resume_state(self, state: Mapping[str, Any]) -> None:
        """Takes what resume_state gave."""

    def training_step(self, batches: list[Batch], index: int) -> None:
        self.draw(0)
        logs = self.take_step(batches, self.step)
        if several_ranks():
            values = [torch.as_tensor(v, dtype=torch.float64, device=self.device) for v in logs.values()]
            logs = dict(zip(logs, mean_over_ranks(torch.stack(values)), strict=True))
        self.logs = logs
        self.step += 1


def epoch_rows(rows: np.ndarray, seed: int, step: int, batch_size: int) -> np.ndarray:
    """The data rows of step n: consecutive places in an endless sequence of shuffled epochs."""
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, within = np.divmod(places, len(rows))
    out = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        order = stream(seed, "epoch", int(epoch)).permutation(len(rows))
        chosen = epochs == epoch
        out[chosen] = rows[order[within[chosen]]]
    return out


class _Batches(IterableDataset):
    def __init__(self, batch_at: BatchAt, shard: BatchShard, start: int, steps: int):
        self.batch_at, self.shard, self.start, self.steps = batch_at, shard, start, steps

    def __iter__(self) -> Iterator[list[Batch]]:
        for step in range(self.start, self.steps):
            yield self.batch_at(step, self.shard)


class _Clock(pl.Callback):
    """Progress, logging and checkpoints, after every optimiser step."""

    def __init__(self, bar: Any, recorder: Recorder, save: Callable[[], None], every: float):
        self.bar, self.recorder, self.save, self.every = bar, recorder, save, every
        self.saved = time.monotonic()
        self.shown: dict[str, float] = {}

    def on_train_batch_end(self, trainer: pl.Trainer, trainee: Trainee, *_: Any) -> None:  # type: ignore[override]
        step = trainee.step
        logs = self.recorder.train(step, trainee.logs)
        trainee.after_step(step, self.recorder)
        if "train/loss" in logs:
            self.shown = {"loss": logs["train/loss"]}
        self.bar.advance(1, **self.shown)
        # Only where no mean is pending, so that the curves, too, are those of an uninterrupted training.
        if step % self.recorder.every == 0 and step < trainee.steps:
            due = torch.tensor(time.monotonic() - self.saved >= self.every, dtype=torch.uint8, device=trainee.device)
            if bool(from_rank_zero(due)):  # one clock for all ranks, since all take part in a checkpoint
                self.save()
                self.saved = time.monotonic()


def fit(
    trainee: Trainee,
    batch_at: BatchAt,
    scratch: Scratch,
    recorder: Recorder,
    runtime: Runtime,
    title: str,
) -> None:
    """Train to `trainee.steps`, from the scratch folder's checkpoint where there is one.

    Where there are several ranks, each calls this with the same arguments. All validate and draw panels in step, so
    that none waits for another; the recorder of the first alone writes.
    """
    shard = trainee.shard = this_shard(runtime.grad_accum_steps)
    if shard.ranks != runtime.devices:
        raise StageError(f"{title}: expected runtime.devices={runtime.devices} processes; there are {shard.ranks}.")
    began = time.monotonic()
    spent = _resume(trainee, scratch, recorder, title)

    def save() -> None:
        state = {
            "step": trainee.step,
            "seconds": spent + time.monotonic() - began,
            "module": gathered(trainee.state_dict()),
            "optimizers": [optimizer_state(o) for o in trainee.trainer.optimizers],
            "extra": gathered(trainee.resume_state()),
            "scaler": {} if trainee.scaler() is None else trainee.scaler().state_dict(),
        }
        # Rows first: a resume drops those after its checkpoint, but could not bring back any that are missing.
        recorder.flush()
        if recorder.writes:
            write_checkpoint(scratch, state)

    if runtime.compile:
        compile_modules(trainee.to_compile())
    with track(title, trainee.steps, "steps", trainee.step) as bar:
        trainer = pl.Trainer(
            accelerator=runtime.device,
            devices=runtime.devices,
            **options_of(runtime.strategy, shard.ranks, bool(trainee.to_shard())),
            precision=runtime.precision,  # type: ignore[arg-type]
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            callbacks=[_Clock(bar, recorder, save, runtime.checkpoint_seconds)],
        )
        loader = DataLoader(_Batches(batch_at, shard, trainee.step, trainee.steps), batch_size=None)
        trainer.fit(trainee, loader)
    if trainer.interrupted:
        raise KeyboardInterrupt
    recorder.flush()
    if trainee.step != trainee.steps:
        raise StageError(f"{title}: expected {trainee.steps} steps, {trainee.step} were taken.")


def compile_modules(modules: Iterable[torch.nn.Module]) -> None:
    """torch.compile in place. Graphs keep their buffers, since the critic's adaptive weight differentiates twice."""
    import torch._functorch.config as functorch

    functorch.donated_buffer = False
    for module in modules:
        module.compile()


def _resume(trainee: Trainee, scratch: Scratch, recorder: Recorder, title: str) -> float:
    """Take up the checkpoint, if there is a sound one; returns the seconds spent before it."""
    state = read_checkpoint(scratch, title) if recorder.writes else None
    found = torch.tensor(state is not None, dtype=torch.uint8, device=rank_device())
    spent = scratch.path / "resumed_seconds"
    if not bool(from_rank_zero(found)):  # the first rank judges for all
        recorder.truncate(0)
        if recorder.writes:
            spent.unlink(missing_ok=True)
        return 0.0
    state = state or read_checkpoint(scratch, title)
    if state is None:
        raise StageError(f"{title}: expected the checkpoint {scratch.checkpoint} on every rank; it is not there.")
    try:
        trainee.load_state_dict(state["module"])
        trainee.load_resume_state(state["extra"])
    except (RuntimeError, KeyError) as e:
        do = "Say store.on_code_change=rebuild to train from the start."
        raise StageError(f"{title}: its checkpoint is of another model ({str(e).splitlines()[0]}). {do}") from e
    trainee.step = step = int(state["step"])
    trainee.pending_optimizers, trainee.pending_scaler = state["optimizers"], state.get("scaler", {})
    recorder.truncate(step)
    if recorder.writes:
        write_atomic(spent, str(state["seconds"]).encode())
    console.print(f"  {title}: resumed at step {step} of {trainee.steps}")
    return float(state["seconds"])
