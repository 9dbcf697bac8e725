"""A training that dies at the worst moment of a checkpoint resumes to the same weights and the same curves."""

import shutil
import signal

import pytest
import torch
from plain_folder import Folder

from ablatent.core.disk import DiskFull
from ablatent.core.errors import StageError
from ablatent.core.signals import ENDING
from ablatent.training import loop, record
from ablatent.training.checkpoint import read_checkpoint, write_checkpoint
from ablatent.training.loop import fit
from ablatent.training.settings import Runtime
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
        return {"loss": loss.detach(), "grad_norm": self.step_optimizer(optimizer, 1e-2, None)}

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


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """(weights and curves of an uninterrupted training, the folder of one that was killed after its checkpoint 20)."""
    folder, write = tmp_path_factory.mktemp("resume"), loop.write_checkpoint

    def dying(scratch, state):
        write(scratch, state)
        if state["step"] == 20:
            raise Died

    whole = train(folder / "whole")
    with pytest.MonkeyPatch.context() as patched, pytest.raises(Died):
        patched.setattr(loop, "write_checkpoint", dying)
        train(folder / "killed")
    return whole, folder / "killed"


def flip(path, at=0.5):
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1 << int(97 * at) % 8
    path.write_bytes(data)


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


# What is done to the folder → the step that the training goes on from.
DAMAGE = {
    "nothing": (lambda f: None, 20),
    **{f"flipped at {at}": (lambda f, at=at: flip(f / "last.ckpt", at / 100), 10) for at in range(0, 100, 7)},
    "flipped in the digest": (lambda f: flip(f / "last.ckpt", 0.9999), 10),
    **{f"cut to {size}": (lambda f, size=size: cut(f / "last.ckpt", size), 10) for size in (0, 1, 50, 1000, 2500)},
    "cut by one": (lambda f: cut(f / "last.ckpt", -1), 10),
    "cut below its digest": (lambda f: cut(f / "last.ckpt", -200), 10),
    "both flipped": (lambda f: [flip(f / name) for name in ("last.ckpt", "previous.ckpt")], 0),
    "killed between the renames": (lambda f: (f / "last.ckpt").unlink(), 10),
    "the one before flipped": (lambda f: flip(f / "previous.ckpt"), 20),
    "a row flipped": (lambda f: flip(f / "curves.csv", 0.05), 0),
    "the rows gone": (lambda f: (f / "curves.csv").unlink(), 0),
    "rubbish after the rows": (lambda f: (f / "curves.csv").open("ab").write(b"\xff,\n"), 20),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_dropped_for_the_one_before(killed, tmp_path, damage, capsys):
    """The end is the same to the bit, whatever was damaged."""
    change, step = DAMAGE[damage]
    whole, folder = killed
    copy = shutil.copytree(folder, tmp_path / folder.name)
    change(copy)
    assert train(copy) == whole
    out = capsys.readouterr().out
    assert (f"resumed at step {step}" in out) == (step > 0) and ("starts anew" in out) == (step == 0), out
    unsound = step < 20 and damage != "killed between the renames"
    assert ("last.ckpt was refused" in out) == unsound and (copy / "last.refused").exists() == unsound


def test_a_checkpoint_of_another_stage_is_refused(killed, tmp_path, capsys):
    whole, folder = killed
    assert train(shutil.copytree(folder, tmp_path / "other")) == whole
    assert "last.ckpt was refused (it is of another stage)" in capsys.readouterr().out.replace("\n", " ").replace(
        "[/]", ""
    )


def test_a_pickled_object_is_refused_and_not_run(tmp_path, capsys):
    class Payload:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",))

    write_checkpoint(Folder(tmp_path), {"step": 3, "extra": Payload()})
    assert read_checkpoint(Folder(tmp_path), "a line") is None and not (tmp_path / "owned").exists()
    assert "expected plain tensors" in capsys.readouterr().out


def test_a_damaged_snapshot_is_noticed(tmp_path, capsys):
    """It was written before the checkpoint, and would be published."""
    (recorder := Folder(tmp_path).recorder()).weights("raw-0000005", {"a": torch.ones(3)})
    write_checkpoint(Folder(tmp_path), {"step": 6, "files": recorder.files})
    assert read_checkpoint(Folder(tmp_path), "a line", recorder.changed)["step"] == 6
    flip(tmp_path / "raw-0000005.safetensors")
    assert read_checkpoint(Folder(tmp_path), "a line", recorder.changed) is None
    assert "raw-0000005.safetensors, which was written before it, is damaged" in capsys.readouterr().out


def test_a_full_disk_keeps_both_checkpoints(killed, tmp_path, small_disk):
    _, folder = killed
    copy = shutil.copytree(folder, small_disk / folder.name)
    before = {p.name: p.read_bytes() for p in copy.iterdir()}
    (small_disk / "ballast").write_bytes(b"0" * (shutil.disk_usage(small_disk).free - 4096))
    with pytest.raises(DiskFull, match=r"last.ckpt: expected room to write; the disk is full \(.* MiB are left\)"):
        write_checkpoint(Folder(copy), {"step": 3, "module": torch.zeros(100_000)})
    assert {p.name: p.read_bytes() for p in copy.iterdir()} == before, "and no .part"


def test_a_checkpoint_of_another_model_says_so(tmp_path):
    write_checkpoint(
        Folder(tmp_path), {"step": 3, "module": {}, "extra": {}, "optimizers": [], "seconds": 0.0, "files": {}}
    )
    with pytest.raises(StageError, match=r"of another model .*rebuild"):
        train(tmp_path)


@pytest.mark.parametrize("at", [7, 10, 23])
def test_a_signal_leaves_a_checkpoint_at_any_step(tmp_path, monkeypatch, at):
    """Also between two means of the curves, whose values are then in the checkpoint."""
    whole = train(tmp_path / "whole")
    kept, steps = [], []

    class Counting(Line):
        def after_step(self, step, recorder):
            super().after_step(step, recorder)
            steps.append(step)

    def stop(text):
        kept.append(text)
        raise Died

    with monkeypatch.context() as patched, pytest.raises(Died):
        patched.setattr(loop, "stop_requested", lambda: steps[-1] == at)
        patched.setattr(loop, "stop", stop)
        train(tmp_path / "killed", Counting)
    assert kept == [f"a checkpoint at step {at} of {STEPS}"]
    assert train(tmp_path / "killed") == whole


def test_signals_are_not_taken_over_in_a_training(tmp_path):
    """Lightning's handler of SIGTERM ends the process with code 0, and its handler of SIGUSR1 requeues Slurm's job."""
    before, seen = {number: signal.getsignal(number) for number in ENDING}, []

    class Looking(Line):
        def after_step(self, step, recorder):
            seen.append({number: signal.getsignal(number) for number in ENDING})

    train(tmp_path / "a", Looking)
    assert seen == [before] * STEPS
