"""A training that dies at the worst moment of a checkpoint resumes to the same weights and the same curves."""

import pytest
import torch
from plain_folder import Folder

from ablatent.core.errors import StageError
from ablatent.training import loop, record
from ablatent.training.checkpoint import read_checkpoint, write_checkpoint
from ablatent.training.loop import Runtime, fit
from ablatent.training.trainee import Trainee

STEPS = 30


class Line(Trainee):
    """One weight and one bias, drawn towards the data; a value is logged beside the means, as validations are."""

    def __init__(self):
        super().__init__(seed=0, steps=STEPS, validate_every=10)
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(1, 1)

    def make_optimizers(self):
        return [torch.optim.Adam(self.parameters(), 1e-2)]

    def take_step(self, batches, step):
        x = batches[0]["x"]
        loss = (self.layer(x) - 2 * x).square().mean()
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        return {"loss": loss.detach(), "grad_norm": self.step_optimizer(optimizer, self.parameters(), 1e-2, None)}

    def after_step(self, step, recorder):
        if self.validates_at(step):
            recorder.log(step, {"validation/weight": self.layer.weight.item()})


class Scaled(Line):
    """With a gradient scale that grows at each step, as that of 16-mixed does now and then; it divides grad_norm."""

    def __init__(self):
        super().__init__()
        self.grows = torch.amp.GradScaler("cpu", init_scale=4.0)
        self.grows.scale(torch.zeros(1))  # makes its tensor

    def scaler(self):
        return self.grows

    def after_step(self, step, recorder):
        self.grows.update(new_scale=1.5 * self.grows.get_scale())


def batch_at(step, shard):
    return [{"x": torch.arange(4.0)[:, None] + step % 5}]


def train(folder, kind=Line):
    folder.mkdir(exist_ok=True)
    trainee = kind()
    fit(trainee, batch_at, Folder(folder), Folder(folder).recorder(), Runtime(checkpoint_seconds=0.0), "a line")
    return trainee.layer.weight.item(), (folder / "curves.csv").read_bytes()


class Died(BaseException):
    pass


@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("at", "kind"), [(10, Line), (20, Line), (20, Scaled)])
def test_a_death_beside_a_checkpoint_loses_and_repeats_no_row(tmp_path, monkeypatch, written, at, kind):
    whole = train(tmp_path / "whole", kind)
    write = loop.write_checkpoint

    def dying(scratch, state):
        if state["step"] < at:
            return write(scratch, state)
        if written:
            write(scratch, state)
        raise Died

    with monkeypatch.context() as patched, pytest.raises(Died):
        patched.setattr(loop, "write_checkpoint", dying)
        train(tmp_path / "killed", kind)
    assert train(tmp_path / "killed", kind) == whole
    assert whole[1].count(b"train/loss") == STEPS / 10


def test_a_death_in_a_resume_loses_no_row(tmp_path, monkeypatch):
    """The rows up to the checkpoint are kept whole while those after it are dropped."""
    whole = train(tmp_path / "whole")

    def dying(*_):
        raise Died

    write = loop.write_checkpoint
    with monkeypatch.context() as patched, pytest.raises(Died):
        patched.setattr(loop, "write_checkpoint", lambda *a: write(*a) if a[1]["step"] == 10 else dying())
        train(tmp_path / "killed")
    with monkeypatch.context() as patched, pytest.raises(Died):
        patched.setattr(record, "write_atomic", dying)
        train(tmp_path / "killed")
    assert train(tmp_path / "killed") == whole


def test_a_checkpoint_that_cannot_be_read_now_stays(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    write_checkpoint(folder, {"step": 3})

    def broken(*_, **__):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched, pytest.raises(StageError, match="cannot be read"):
        patched.setattr(torch, "load", broken)
        read_checkpoint(folder, "a line")
    assert read_checkpoint(folder, "a line") == {"step": 3}


def test_a_checkpoint_of_another_model_says_so(tmp_path):
    write_checkpoint(Folder(tmp_path), {"step": 3, "module": {}, "extra": {}, "optimizers": [], "seconds": 0.0})
    with pytest.raises(StageError, match=r"of another model .*rebuild"):
        train(tmp_path)
