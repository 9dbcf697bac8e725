"""The training loop: Lightning computes, this module counts.

A training is a pure function of its configuration: the batch of optimiser step n comes from `batch_at(n)`, torch's
generator (dropout) is seeded by n, the learning rate is a function of n. So a checkpoint is only (n, tensors), and a
training that was killed and resumed ends with the same bits as one that was not.
"""

import os
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytorch_lightning as pl
import torch

from ablatent.core.errors import StageError
from ablatent.core.files import write_atomic
from ablatent.core.progress import console, track
from ablatent.core.ranks import from_rank_zero, rank_device, several_ranks, this_shard
from ablatent.core.signals import stop, stop_requested, stoppable
from ablatent.training.batches import BatchAt, ahead
from ablatent.training.checkpoint import Scratch, read_checkpoint, write_checkpoint
from ablatent.training.compiling import compile_in_training
from ablatent.training.divergence import FiniteSteps
from ablatent.training.ranks import options_of
from ablatent.training.record import Recorder
from ablatent.training.settings import Runtime
from ablatent.training.sharded import gathered, optimizer_state
from ablatent.training.step_logs import StepLogs
from ablatent.training.trainee import Trainee

AHEAD = {"cpu": 0, "cuda": 2}
"""Type of device → how many batches are made ahead of their steps. On a CPU the thread that makes them takes a core
from the step, which is slower: `python benchmarks/growth.py --only ahead`."""


class _Clock(pl.Callback):
    """Progress, logging and checkpoints, after every optimiser step."""

    def __init__(self, bar: Any, recorder: Recorder, save: Callable[[], None], every: float, finite: FiniteSteps):
        self.bar, self.recorder, self.save, self.every, self.finite = bar, recorder, save, every, finite
        self.logs, self.saved = StepLogs(), time.monotonic()
        self.shown: dict[str, float] = {}

    def on_train_batch_end(self, trainer: pl.Trainer, trainee: Trainee, *_: Any) -> None:  # type: ignore[override]
        step = trainee.step
        self.logs.add(step, trainee.logs)
        # Before anything is made of the weights: curves, validations, snapshots, the end.
        if step % self.recorder.every == 0 or trainee.looks_at(step):
            self._read(trainee)
        trainee.after_step(step, self.recorder)
        self.bar.advance(1, **self.shown)
        if step < trainee.steps and self._due(step, trainee.device):
            self._read(trainee)
            self.save()
            self.saved = time.monotonic()
            if stop_requested():
                stop(f"a checkpoint at step {step} of {trainee.steps}")

    def _read(self, trainee: Trainee) -> None:
        """Look at the values of the steps since the last time, and hand them on: here alone the device is waited for.
        Raises StageError where the training has diverged."""
        steps, scaler = self.logs.read(), trainee.scaler()
        self.finite.look(steps, None if scaler is None else float(scaler.get_scale()))
        for step, values in steps:
            means = self.recorder.train(step, values)
            if "train/loss" in means:
                self.shown = {"loss": means["train/loss"]}

    def _due(self, step: int, device: torch.device) -> bool:
        """Whether a checkpoint is due after this step: now and then, and where a signal asks for the end."""
        if not several_ranks() and stop_requested():
            return True
        if step % self.recorder.every:
            return False
        due = stop_requested() or time.monotonic() - self.saved >= self.every
        # one clock for all ranks, since all take part in a checkpoint
        return bool(from_rank_zero(torch.tensor(due, dtype=torch.uint8, device=device)))


def fit(
    trainee: Trainee,
    batch_at: BatchAt,
    scratch: Scratch,
    recorder: Recorder,
    runtime: Runtime,
    title: str,
) -> None:
    """Train to `trainee.steps`, from the scratch folder's checkpoint where there is one.

    trainee: takes the steps, and has the trained weights afterwards. batch_at: gives the micro-batches of this rank for
    each step; a resume asks for those after its checkpoint alone. scratch: where the checkpoint lies, with the right to
    write there. recorder: takes curves, panels and weights. runtime: devices, precision and time between checkpoints.
    title: of the progress bar and the messages.

    Where there are several ranks, each calls this with the same arguments. All validate and draw panels in step, so
    that none waits for another; the recorder of the first alone writes. Raises StageError where there are not as many
    processes as `runtime.devices`, for a checkpoint that cannot be read or is of another model, where a training ends
    early, and where it diverges (no checkpoint has such weights). A signal that asks for the end leaves a checkpoint,
    see `core.signals`.
    """
    shard = trainee.shard = this_shard(runtime.grad_accum_steps)
    trainee.title = title
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
            "pending": recorder.pending,
        }
        # Rows first: a resume drops those after its checkpoint, but could not bring back any that are missing.
        recorder.flush()
        if recorder.writes:
            write_checkpoint(scratch, {**state, "files": recorder.files})

    if runtime.compile:
        compile_in_training(trainee.to_compile(), runtime.compile_mode)
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
            callbacks=[_Clock(bar, recorder, save, runtime.checkpoint_seconds, FiniteSteps(title, trainee.lr_keys))],
        )
        # Lightning's own handlers would end the process with code 0, or requeue it in Slurm: see core/signals.py.
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        _know_that_there_is_no_gpu()
        device, steps = trainer.strategy.root_device, range(trainee.step, trainee.steps)
        with stoppable(), closing(ahead(batch_at, shard, steps, AHEAD.get(device.type, 0), device)) as batches:
            trainer.fit(trainee, batches)
    recorder.flush()
    if trainee.step != trainee.steps:
        raise StageError(f"{title}: expected {trainee.steps} steps, {trainee.step} were taken.")


def _know_that_there_is_no_gpu() -> None:
    """An optimiser asks torch at each step whether there is a GPU. Lightning has torch answer by NVML, lest CUDA is
    begun before a process forks; without a GPU that looks for a library in vain, for 0.3 ms a step, and there is
    nothing to begin."""
    if not torch.cuda.is_available():
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"


def _resume(trainee: Trainee, scratch: Scratch, recorder: Recorder, title: str) -> float:
    """Take up the checkpoint, if there is a sound one; returns the seconds spent before it."""
    state = read_checkpoint(scratch, title, recorder.changed) if recorder.writes else None
    found = torch.tensor(state is not None, dtype=torch.uint8, device=rank_device())
    spent = scratch.path / "resumed_seconds"
    if not bool(from_rank_zero(found)):  # the first rank judges for all
        recorder.resume({})
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
    trainee.step = step = state["step"]
    trainee.pending_optimizers, trainee.pending_scaler = state["optimizers"], state.get("scaler", {})
    recorder.resume(state["files"])
    recorder.take_up(state.get("pending", {}))
    if recorder.writes:
        write_atomic(spent, str(state["seconds"]).encode())
    console.print(f"  {title}: resumed at step {step} of {trainee.steps}")
    return float(state["seconds"])
