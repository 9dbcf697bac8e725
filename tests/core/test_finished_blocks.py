"""Blocks: a computation that was stopped anywhere ends with the arrays of one that was not; damage is made again."""

import numpy as np
import pytest

from ablatent.core import blocks
from ablatent.core.blocks import Blocks

ITEMS, BATCH = 10, 3


@pytest.fixture(autouse=True)
def every_batch(monkeypatch):
    """Each batch is a block, as if it took a second."""
    monkeypatch.setattr(blocks, "SECONDS", 0.0)
    monkeypatch.setattr(blocks, "SHARE", 0.0)


def computed(kept: Blocks, batches: int = 99) -> list[int]:
    """Adds the squares of the items that are not done yet, at most so many batches; the first item of each."""
    firsts = []
    for first in range(kept.done, ITEMS, BATCH)[:batches]:
        items = np.arange(first, min(first + BATCH, ITEMS))
        kept.add(len(items), square=items**2, count=np.ones((1, 2), np.int64))
        firsts.append(first)
    return firsts


@pytest.mark.parametrize("batches", range(5))
def test_what_is_done_is_not_computed_again(tmp_path, batches, capsys):
    computed(Blocks(tmp_path / "a", "squares"), batches)
    kept = Blocks(tmp_path / "a", "squares")
    assert computed(kept) == list(range(BATCH * batches, ITEMS, BATCH))
    assert kept["square"].tolist() == [i**2 for i in range(ITEMS)] and kept["count"].sum(axis=0).tolist() == [4, 4]
    assert np.concatenate([part["square"] for part in kept]).tolist() == kept["square"].tolist()
    assert ("squares: goes on after the first" in capsys.readouterr().out) == bool(batches)


def test_rows_are_saved_as_one_array(tmp_path):
    kept = Blocks(tmp_path / "a", "squares")
    computed(kept)
    kept.save("square", tmp_path / "square.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "square.npy"), kept["square"])
    for name, wrong in (("count", kept), ("square", Blocks())):  # rows to be summed; none at all
        with pytest.raises(ValueError, match="expected a row for each"):
            wrong.save(name, tmp_path / "wrong.npy")


def cut(data: bytearray) -> bytes:
    return bytes(data[:-40])


def flipped(data: bytearray) -> bytes:
    data[len(data) // 2] ^= 1
    return bytes(data)


def empty(data: bytearray) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [cut, flipped, empty])
def test_a_damaged_block_and_what_follows_is_made_again(tmp_path, damage, capsys):
    computed(Blocks(tmp_path))
    second = sorted(tmp_path.iterdir())[1]
    second.write_bytes(damage(bytearray(second.read_bytes())))
    kept = Blocks(tmp_path, "squares")
    assert "squares: a block is damaged" in capsys.readouterr().out.replace("\n", " ")
    assert computed(kept) == [3, 6, 9]
    assert kept["square"].tolist() == [i**2 for i in range(ITEMS)]
    assert Blocks(tmp_path).done == ITEMS


def test_a_missing_block_is_made_again(tmp_path):
    computed(Blocks(tmp_path))
    sorted(tmp_path.iterdir())[0].unlink()
    kept = Blocks(tmp_path)
    assert kept.done == 0 and not list(tmp_path.iterdir())
    computed(kept)
    assert kept["square"].tolist() == [i**2 for i in range(ITEMS)]


def test_short_work_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "SECONDS", 60.0)
    kept = Blocks(tmp_path / "a")
    computed(kept)
    assert len(kept["square"]) == ITEMS and not (tmp_path / "a").exists()


def test_an_orphan_writes_nothing(tmp_path):
    def superseded():
        raise RuntimeError("taken over")

    with pytest.raises(RuntimeError, match="taken over"):
        computed(Blocks(tmp_path / "a", check=superseded))
    assert not (tmp_path / "a").exists()
