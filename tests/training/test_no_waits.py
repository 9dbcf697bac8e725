"""No step of a training waits for its device: between two logs the host reads no number of a tensor."""

import ctypes

import numpy as np
import pytest
import rank_cases
import torch
from plain_folder import Folder
from torch import nn
from waits import Waits

from ablatent.core.ranks import BatchShard
from ablatent.evaluation.judges import Classes
from ablatent.samplers.guidance_classifier import NoisyLogits
from ablatent.schedules.linear import Linear
from ablatent.stages.train import optimizer_factory
from ablatent.training.judge import JudgeTrainee, JudgeTraining
from ablatent.training.loop import fit
from ablatent.training.noisy_classifier import ClassifierTrainee, ClassifierTraining
from ablatent.training.record import Recorder
from ablatent.training.settings import Runtime
from ablatent.training.step_logs import StepLogs

EVERY, STEPS = 5, rank_cases.STEPS
QUIET = {1, 2, 3, 4, 6, 7, 8, 9}
"""Numbers of steps taken, but for those of the start, the logs and the validation at the end."""
ADAM = optimizer_factory({"_target_": "torch.optim.AdamW", "lr": 1e-3})


class Logits(nn.Module):
    """A network of one layer, which takes images, and times where it is told some."""

    def __init__(self, classes: int):
        super().__init__()
        self.layer = nn.LazyLinear(classes)

    def forward(self, x, t=None, cond=None):
        return self.layer(x.flatten(1))


def classifier(folder):
    options = {**rank_cases.COMMON, "clip": 1.0}
    logits = NoisyLogits(Logits(3), Linear(20, 1e-3, 0.2, False))
    rng = np.random.default_rng(0)
    batch = {
        "z": torch.from_numpy(rng.standard_normal((8, 4, 4, 4), dtype=np.float32)),
        "eps": torch.from_numpy(rng.standard_normal((8, 4, 4, 4), dtype=np.float32)),
        "u": torch.from_numpy(rng.random(8)),
        "label": torch.arange(8) % 3,
    }
    logits.network(batch["z"])
    return ClassifierTrainee(logits, ClassifierTraining(**options), 0, ADAM, [batch]), lambda *_: [batch]


def judge(folder):
    options = {**rank_cases.COMMON, "clip": 1.0}
    batch = {"image": torch.rand(8, 3, 8, 8), "target": torch.arange(8) % 3}
    network = Logits(3)
    network(batch["image"])
    return JudgeTrainee(network, Classes(), JudgeTraining(**options), 0, ADAM, [batch]), lambda *_: [batch]


CASES = {
    "kl": lambda folder: rank_cases.first_stage("kl", "adam", folder),
    "vq": lambda folder: rank_cases.first_stage("vq", "adam", folder),
    "fsq": lambda folder: rank_cases.first_stage("fsq", "adam", folder),
    "diffusion": lambda folder: rank_cases.diffusion("adam", folder),
    "classifier": classifier,
    "judge": judge,
}


def waits_of(case, folder, grad_accum_steps=1, each_step=lambda trainee: None):
    """(steps taken, what was called) of each call that waits, in a training of ten steps that logs every fifth."""
    torch.manual_seed(0)
    scratch = rank_cases.Folder(folder)
    trainee, batches = CASES[case](scratch)
    take = trainee.take_step

    def step(micro, number):
        logs = take(micro, number)
        each_step(trainee)
        return logs

    trainee.take_step = step
    shard = BatchShard(grad_accum_steps=grad_accum_steps)
    ready = [batches(n, shard) for n in range(STEPS)]  # made outside: batches come from the host
    with Waits(lambda: trainee.step) as waits:
        runtime = Runtime(grad_accum_steps=grad_accum_steps)
        fit(trainee, lambda n, _: ready[n], Folder(folder), Recorder(folder, scratch, every=EVERY), runtime, case)
    assert "train/loss" in scratch.rows and len(scratch.rows["train/loss"]) == STEPS // EVERY
    return waits.seen


@pytest.mark.parametrize(("case", "grad_accum_steps"), [*((case, 1) for case in CASES), ("kl", 2)])
def test_no_step_between_two_logs_waits(tmp_path, case, grad_accum_steps):
    seen = waits_of(case, tmp_path, grad_accum_steps)
    assert any(step == EVERY for step, _ in seen), "nothing was read even for a log"
    # A codebook restarts every third step: which codes nothing chose is decided there.
    # Power-function averages are written four times, at two steps that log nothing.
    apart = {"vq": {2, 5, 8}, "diffusion": {3, 8}}.get(case, set())
    assert [(step, name) for step, name in seen if step in QUIET - apart] == []


WAITING = {
    "item": lambda t: t.sum().item(),
    "bool": lambda t: bool(t.sum() > 0),
    "cpu": lambda t: t.cpu(),
    "numpy": lambda t: t.detach().numpy(),
    "list": lambda t: t.tolist(),
    "mask": lambda t: t[t > 0],
    "assigned by a mask": lambda t: t.detach().clone().__setitem__(t > 0, 0.0),
    "bincount": lambda t: torch.bincount((t > 0).long().flatten()),
    "from the host": lambda t: t.detach() * torch.tensor([2.0]),
}


@pytest.mark.parametrize("way", WAITING)
def test_a_step_that_waits_is_noticed(tmp_path, way):
    def wait(trainee):
        if trainee.step == 7:
            WAITING[way](next(trainee.parameters()))

    assert {step for step, _ in waits_of("judge", tmp_path, each_step=wait)} & QUIET == {7}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_no_step_looks_for_its_library(tmp_path, monkeypatch):
    """Torch asks at each step of an optimiser whether there is one, and Lightning has it ask NVML."""
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    opened, library, steps = [], ctypes.CDLL, []

    def open_library(name, *arguments, **options):
        opened.append((len(steps), name))
        return library(name, *arguments, **options)

    monkeypatch.setattr(ctypes, "CDLL", open_library)
    torch.cuda.is_available()
    assert opened, "torch looks for the library in another way"
    waits_of("judge", tmp_path, each_step=steps.append)
    assert [found for found in opened if found[0] > 0] == []


def test_values_of_many_types_are_read_at_once():
    logs = StepLogs()
    logs.add(1, {"a": torch.tensor(0.1), "b": torch.tensor([2.0], dtype=torch.float64), "lr": 1e-3})
    logs.add(2, {"a": torch.tensor(3.0, dtype=torch.bfloat16, requires_grad=True)})
    with Waits(lambda: None) as waits:
        read = logs.read()
    assert read == [(1, {"a": float(np.float32(0.1)), "b": 2.0, "lr": 1e-3}), (2, {"a": 3.0})]
    assert len(waits.seen) == 1 and logs.read() == []
