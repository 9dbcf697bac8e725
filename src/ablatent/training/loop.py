"""The training loop: Lightning computes, this module counts.

A training is a pure function of its configuration: the batch of optimiser step n comes from `batch_at(n)`, torch's
generator (dropout) is seeded by n, the learning rate is a function of n. So a checkpoint is only (n, tensors), and a
training that was killed and resumed ends with the same bits as one that was not.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ablatent.core.errors import ConfigError, StageError
from ablatent.core.progress import console, track
from ablatent.core.rng import stream
from ablatent.training.record import Recorder

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Runtime:
    """Where and how a stage computes; precision apart, nothing here changes what it computes."""

    device: str = "cpu"
    devices: int = 1
    precision: str = "32-true"
    compile: bool = False
    batch_size: int = 64
    checkpoint_seconds: float = 10.0


@runtime_checkable
class Scratch(Protocol):
    """What the loop needs of a build's folder (store.Work has it)."""

    @property
    def checkpoint(self) -> Path: ...
    @property
    def path(self) -> Path: ...
    def check(self) -> None: ...


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
        self.pending_optimizers: list[dict[str, Any]] = []

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimisers, in a fixed order."""
        raise StageError(f"{type(self).__name__} has no optimisers.")

    def configure_optimizers(self) -> Any:
        """Lightning's hook: the optimisers, with the state of the checkpoint that is being resumed."""
        optimizers = self.make_optimizers()
        for optimizer, state in zip(optimizers, self.pending_optimizers, strict=False):
            optimizer.load_state_dict(state)
        return optimizers

    def take_step(self, batch: Batch, step: int) -> dict[str, Tensor | float]:
        """One optimiser step (counted from 0); returns what is logged."""
        raise StageError(f"{type(self).__name__} takes no steps.")

    def after_step(self, step: int, recorder: Recorder) -> None:
        """Called with the number of steps taken: validation, panels, snapshots."""

    def to_compile(self) -> list[torch.nn.Module]:
        """The modules that runtime.compile hands to torch.compile, in place: names in state dicts stay."""
        return []

    def resume_state(self) -> dict[str, Any]:
        """Tensors that are not in state_dict (EMA), if any."""
        return {}

    def load_resume_state(self, state: Mapping[str, Any]) -> None:
        """Takes what resume_state gave."""

    def training_step(self, batch: Batch, index: int) -> None:
        torch.manual_seed(int(stream(self.seed, "torch", self.step).integers(2**31)))
        self.logs = self.take_step(batch, self.step)
        self.step += 1


def learning_rate(step: int, base: float, steps: int, warmup: int, decay: str) -> float:
    """Linear warm-up over `warmup` steps, then constant (none), or to zero at `steps` (cosine, linear)."""
    if step < warmup:
        return base * (step + 1) / warmup
    left = 1 - (step - warmup) / max(steps - warmup, 1)
    factors = {"none": 1.0, "linear": left, "cosine": 0.5 - 0.5 * cos(pi * left)}
    if decay not in factors:
        raise ConfigError("decay", "none, cosine or linear", decay)
    return base * factors[decay]


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
    def __init__(self, batch_at: Callable[[int], Batch], start: int, steps: int):
        self.batch_at, self.start, self.steps = batch_at, start, steps

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.start, self.steps):
            yield self.batch_at(step)


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
        due = time.monotonic() - self.saved >= self.every and step % self.recorder.every == 0
        if due and step < trainee.steps:
            self.save()
            self.saved = time.monotonic()


def fit(
    trainee: Trainee,
    batch_at: Callable[[int], Batch],
    scratch: Scratch,
    recorder: Recorder,
    runtime: Runtime,
    title: str,
) -> None:
    """Train to `trainee.steps`, from the scratch folder's checkpoint where there is one."""
    began = time.monotonic()
    spent = _resume(trainee, scratch, recorder, title)

    def save() -> None:
        scratch.check()
        part = scratch.checkpoint.with_suffix(".part")
        torch.save(
            {
                "step": trainee.step,
                "seconds": spent + time.monotonic() - began,
                "module": trainee.state_dict(),
                "optimizers": [o.state_dict() for o in trainee.trainer.optimizers],
                "extra": trainee.resume_state(),
            },
            part,
        )
        part.replace(scratch.checkpoint)
        recorder.flush()

    if runtime.compile:
        compile_modules(trainee.to_compile())
    with track(title, trainee.steps, "steps", trainee.step) as bar:
        trainer = pl.Trainer(
            accelerator=runtime.device,
            devices=runtime.devices,
            precision=runtime.precision,  # type: ignore[arg-type]
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            callbacks=[_Clock(bar, recorder, save, runtime.checkpoint_seconds)],
        )
        loader = DataLoader(_Batches(batch_at, trainee.step, trainee.steps), batch_size=None)
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
    if not scratch.checkpoint.exists():
        recorder.truncate(0)
        return 0.0
    try:
        state = torch.load(scratch.checkpoint, map_location="cpu", weights_only=True)
        step = int(state["step"])
    except Exception as e:
        aside = scratch.checkpoint.with_suffix(".refused")
        scratch.checkpoint.replace(aside)
        console.print(
            f"  [yellow]{title}: the checkpoint was refused[/] (expected plain tensors, without pickled objects: "
            f"{type(e).__name__}). It was set aside as {aside.name}; the training starts anew."
        )
        recorder.truncate(0)
        return 0.0
    trainee.load_state_dict(state["module"])
    trainee.load_resume_state(state["extra"])
    trainee.step = step
    trainee.pending_optimizers = state["optimizers"]
    recorder.truncate(step)
    (scratch.path / "resumed_seconds").write_text(str(state["seconds"]))
    console.print(f"  {title}: resumed at step {step} of {trainee.steps}")
    return float(state["seconds"])
