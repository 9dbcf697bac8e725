"""Conditions by rows, and random numbers that depend on seed, purpose and index alone."""

import hashlib
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from ablatent.core.rng import normal, stream
from ablatent.core.types import Cond


def cond(n: int, start: int = 0) -> Cond:
    tokens = torch.arange(start, start + n * 6.0).reshape(n, 3, 2)
    return Cond(tokens=tokens, mask=torch.ones(n, 3, dtype=torch.bool))


def test_cat_and_rows_are_inverse() -> None:
    a, b = cond(2), cond(3, start=50)
    both = Cond.cat([a, b])
    assert both.tokens is not None and both.mask is not None
    assert both.tokens.shape == (5, 3, 2)
    assert both.vector is None and both.spatial is None
    for part, back in ((a, both.rows(slice(0, 2))), (b, both.rows(torch.tensor([2, 3, 4])))):
        assert torch.equal(back.tokens, part.tokens)  # type: ignore[arg-type]
        assert torch.equal(back.mask, part.mask)  # type: ignore[arg-type]
    assert Cond.cat([Cond(), Cond()]) == Cond()


def test_cat_refuses_different_parts() -> None:
    with pytest.raises(ValueError, match="mask"):
        Cond.cat([cond(1), Cond(tokens=torch.zeros(1, 3, 2))])


def test_to_moves_every_part() -> None:
    whole = replace(cond(2), vector=torch.zeros(2, 5), spatial=torch.zeros(2, 1, 4, 4))
    moved = whole.to("meta")
    for part in fields(Cond):
        tensor = getattr(moved, part.name)
        assert tensor.is_meta and tensor.shape == getattr(whole, part.name).shape, part.name


def test_noise_does_not_depend_on_the_batch() -> None:
    whole = normal(7, "x_T", range(10), (4, 8, 8))
    parts = [normal(7, "x_T", [i], (4, 8, 8)) for i in range(10)]
    assert whole.dtype == np.float32
    assert np.array_equal(whole, np.concatenate(parts))
    assert np.array_equal(normal(7, "x_T", [9, 3], (4, 8, 8)), whole[[9, 3]])


def test_noise_known_value() -> None:
    """Stored samples depend on these numbers: a change here changes every sample set."""
    np.testing.assert_array_equal(normal(0, "x_T", [0], (3,))[0], GOLDEN)


GOLDEN = np.array([0.64102304, 0.2376534, -0.18654136], dtype=np.float32)


def test_streams_are_philox_with_the_digest_as_key() -> None:
    """However they are made: numbers of every kind are those of numpy's own generator with this key."""
    key = int.from_bytes(hashlib.blake2b(b"12/p/3/4", digest_size=16).digest(), "little")
    ours, plain = stream(12, "p", 3, 4), np.random.Generator(np.random.Philox(key=key))
    for draw in ("random", "standard_normal", "permutation"):
        np.testing.assert_array_equal(getattr(ours, draw)(9), getattr(plain, draw)(9))
    np.testing.assert_array_equal(ours.integers(7, size=5), plain.integers(7, size=5))


def test_noise_is_what_the_stream_of_each_row_draws_first() -> None:
    """Also after a row that leaves half of a 64-bit word, and for the same index twice."""
    rows = normal(2**40, "p", [5, 1, 5], (3, 7), step=2)
    for row, index in zip(rows, [5, 1, 5], strict=True):
        plain = stream(2**40, "p", index, 2).standard_normal((3, 7), dtype=np.float32)
        np.testing.assert_array_equal(row, plain)


@pytest.mark.parametrize(
    "other", [(8, "x_T", 0, 0), (7, "step", 0, 0), (7, "x_T", 1, 0), (7, "x_T", 0, 1), (2**40, "x_T", 0, 0)]
)
def test_other_seed_purpose_index_or_step_is_independent(other: tuple[int, str, int, int]) -> None:
    seed, purpose, index, step = other
    a = normal(7, "x_T", [0], (20_000,))[0]
    b = normal(seed, purpose, [index], (20_000,), step)[0]
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.03  # four standard errors


def test_indices_are_not_glued_together() -> None:
    assert stream(0, "p", 1, 23).random() != stream(0, "p", 12, 3).random()


def test_moments() -> None:
    x = normal(3, "x_T", range(500), (200,)).astype(np.float64)
    assert abs(x.mean()) < 0.013  # four standard errors of 100,000 draws
    assert abs(x.var() - 1) < 0.018
    assert abs((x**4).mean() - 3) < 0.13
    assert abs(np.corrcoef(x[:-1].ravel(), x[1:].ravel())[0, 1]) < 0.013
