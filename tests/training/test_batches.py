"""Which rows a step sees, and batches that a thread makes ahead of their steps."""

import threading
from contextlib import closing

import numpy as np
import pytest
import torch
from plain_folder import Folder
from test_resume import Line, batch_at, train

from ablatent.core.ranks import BatchShard
from ablatent.core.rng import stream
from ablatent.data.latents import ChannelMoments, LatentNormalizer, Latents
from ablatent.training import loop
from ablatent.training.batches import Epochs, ahead
from ablatent.training.diffusion import LatentBatches
from ablatent.training.first_stage import FirstStageTraining, ImageBatches
from ablatent.training.loop import fit
from ablatent.training.settings import Runtime

CPU = torch.device("cpu")


def defined(rows, seed, step, size):
    """Place p of the endless sequence is place p % n of the permutation of epoch p // n."""
    places = range(step * size, (step + 1) * size)
    return [rows[stream(seed, "epoch", p // len(rows)).permutation(len(rows))[p % len(rows)]] for p in places]


@pytest.mark.parametrize("n", [1, 5, 200, 300])
def test_rows_are_those_of_the_definition(n):
    """Over the borders of epochs, in any order, after a resume, and whatever the integers that hold them."""
    rows, other = np.arange(n) * 300 + 7, np.arange(n + 3)
    whole, second = Epochs(rows, 3), Epochs(other, 4)
    for step in [0, 1, 2, 30, 29, 31, 2, 100]:
        assert whole(step, 7).tolist() == defined(rows, 3, step, 7)
        assert second(step, 4).tolist() == defined(other, 4, step, 4)
        assert Epochs(rows, 3)(step, 7).tolist() == defined(rows, 3, step, 7)
    assert whole(5, 7).dtype == np.int64


def test_an_epoch_is_drawn_once(monkeypatch):
    drawn = []
    monkeypatch.setattr("ablatent.training.batches.stream", lambda *a: drawn.append(a[2]) or stream(*a))
    epochs = Epochs(np.arange(10), 0)
    seen = np.concatenate([epochs(step, 4) for step in range(5)])
    assert drawn == [0, 1]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))


def test_images_are_mirrored_where_the_stream_says_so():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    config = FirstStageTraining(
        steps=1, batch_size=6, warmup_steps=0, decay="none", clip=None, validate_every=1, precision="32-true",
        lr=1.0, disc_lr=1.0, betas=[0.9, 0.99], flip=True,
    )  # fmt: skip
    (batch,) = ImageBatches(pixels, np.arange(6), (1, 2, 2), config, 0)(0, BatchShard())
    mirrored = stream(0, "flip", 0).random(6) < 0.5
    assert 0 < mirrored.sum() < 6
    images = [pixels[r, :, ::-1] if m else pixels[r] for r, m in zip(defined(range(6), 0, 0, 6), mirrored, strict=True)]
    expected = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - 1
    np.testing.assert_array_equal(batch["image"].numpy(), expected)


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("ahead")]


@pytest.mark.parametrize("depth", [0, 1, 3, 50])
def test_batches_come_in_the_order_of_the_steps(depth):
    with closing(
        ahead(lambda step, shard: [{"x": torch.tensor(step)}], BatchShard(), range(4, 20), depth, CPU)
    ) as made:
        assert [int(batches[0]["x"]) for batches in made] == list(range(4, 20))
    assert not threads()


@pytest.mark.parametrize("depth", [0, 2])
def test_an_error_is_raised_at_its_step(depth):
    def broken(step, shard):
        if step == 3:
            raise OSError(5, "Input/output error")
        return [{"x": torch.tensor(step)}]

    seen = []
    with (
        pytest.raises(OSError, match="Input/output"),
        closing(ahead(broken, BatchShard(), range(9), depth, CPU)) as made,
    ):
        for batches in made:
            seen.append(int(batches[0]["x"]))
    assert seen == [0, 1, 2]
    assert not threads()


def test_batches_are_made_ahead_up_to_the_depth():
    """And no further: they would fill the memory."""
    made, begun = [], threading.Semaphore(0)

    def at(step, shard):
        made.append(step)
        begun.release()
        return []

    with closing(ahead(at, BatchShard(), range(100), 2, CPU)) as batches:
        next(batches)
        for _ in range(3):
            assert begun.acquire(timeout=30)
        assert made == [0, 1, 2]
    assert not threads()


def test_a_training_with_a_thread_has_the_same_weights_and_leaves_none(tmp_path, monkeypatch):
    plain = train(tmp_path / "plain")
    monkeypatch.setitem(loop.AHEAD, "cpu", 2)
    assert train(tmp_path / "ahead") == plain
    assert not threads()


def test_a_training_that_fails_leaves_no_thread(tmp_path, monkeypatch):
    monkeypatch.setitem(loop.AHEAD, "cpu", 2)

    class Failing(Line):
        def take_step(self, batches, step):
            raise ValueError("of this step")

    folder = Folder(tmp_path)
    with pytest.raises(ValueError, match="of this step"):
        fit(Failing(), batch_at, folder, folder.recorder(), Runtime(), "a line")
    assert not threads()


def test_shuffled_conditions_are_those_of_other_images_in_training_alone():
    """The same image always has the condition of the same other one; nothing else of the batch changes."""
    n = 60
    mean = np.arange(n, dtype=np.float32).reshape(1, n, 1, 1, 1) * np.ones((1, 1, 2, 2, 2), np.float32)
    normalizer = LatentNormalizer.fit(ChannelMoments.of(lambda: [(mean[0], np.zeros_like(mean[0]))], n * 4), "none")
    latents = Latents(mean, np.zeros_like(mean), normalizer)
    train, fields = np.arange(10, n), {"label": np.arange(n)}
    plain, shuffled = (LatentBatches(latents, train, fields, 25, 3, shuffled=on) for on in (False, True))
    of = {}
    for step in range(4):  # two epochs
        (a,), (b,) = plain(step, BatchShard()), shuffled(step, BatchShard())
        assert all(torch.equal(a[name], b[name]) for name in a if name != "label")
        for image, label in zip(a["label"].tolist(), b["label"].tolist(), strict=True):
            assert of.setdefault(image, label) == label
    assert sorted(of) == sorted(of.values()) == train.tolist()
    assert sum(image == label for image, label in of.items()) < 6
    (seen,) = shuffled.validation(np.arange(10), 1)
    assert seen["label"].tolist() == list(range(10))
