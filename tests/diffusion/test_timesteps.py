"""Timestep samplers: whichever is used, the weighted mean estimates the mean over all T."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ablatent.checks.gaussian import cosine
from ablatent.checks.timestep_sampler import T, loss_of, uniform
from ablatent.core.errors import ConfigError
from ablatent.diffusion.timesteps import Importance, Stratified, Uniform

CONF = Path(__file__).parents[2] / "conf" / "timestep_sampler"


def test_stratified_batches_see_every_part_and_vary_less() -> None:
    means = {}
    for sampler in (Uniform(cosine(T)), Stratified(cosine(T))):
        seen = [sampler(uniform(10, k))[0] for k in range(200)]
        means[type(sampler)] = np.var([float(loss_of(t).mean()) for t in seen])
        if isinstance(sampler, Stratified):
            assert all(torch.equal(t // 5, torch.arange(10)) for t in seen)
    assert means[Stratified] < 0.1 * means[Uniform]


def test_importance_follows_the_losses() -> None:
    sampler = Importance(cosine(T), history=3, uniform=0.001)
    for k in range(2):
        sampler.update(torch.arange(T), torch.full((T,), 99.0))
        assert torch.equal(sampler.probabilities(), torch.full((T,), 1 / T, dtype=torch.float64)), k
    for _ in range(3):  # older losses are forgotten
        sampler.update(torch.arange(T), loss_of(torch.arange(T)))
    root = loss_of(torch.arange(T))
    expected = 0.999 * root / root.sum() + 0.001 / T
    torch.testing.assert_close(sampler.probabilities(), expected)
    t, _ = sampler(uniform(100_000))
    torch.testing.assert_close(torch.bincount(t, minlength=T) / 100_000, expected.float(), rtol=0, atol=0.003)


def test_importance_halves_the_noise_of_an_uneven_loss() -> None:
    sampler, even = Importance(cosine(T), history=1, uniform=0.001), Uniform(cosine(T))
    sampler.update(torch.arange(T), loss_of(torch.arange(T)))
    spread = []
    for s in (sampler, even):
        t, weights = s(uniform(10_000))
        spread.append(float((weights * loss_of(t)).std()))
    assert spread[0] < 0.5 * spread[1], spread


def test_what_it_remembers_is_in_its_state() -> None:
    one, two = Importance(cosine(T), 2, 0.001), Importance(cosine(T), 2, 0.001)
    for _ in range(3):
        one.update(torch.arange(T), loss_of(torch.arange(T)))
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(uniform(100))[0], two(uniform(100))[0])


@pytest.mark.parametrize(
    ("build", "key"),
    [
        (lambda: Importance(cosine(T), 0, 0.1), "timestep_sampler.history"),
        (lambda: Importance(cosine(T), 3, 0.0), "timestep_sampler.uniform"),
    ],
)
def test_bad_options_name_their_key(build, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        build()
    assert error.value.key == key


@pytest.mark.parametrize("history", [1, 2, 10])
def test_a_batch_is_remembered_as_its_rows_one_after_the_other(history: int) -> None:
    """Also times that stand in it more often than are remembered."""
    sampler, rng = Importance(cosine(5), history, 0.1), np.random.default_rng(0)
    losses, counts = np.zeros((5, history)), np.zeros(5, dtype=int)
    for _ in range(6):
        t, loss = rng.integers(0, 3, 9), rng.random(9).astype(np.float32)
        sampler.update(torch.from_numpy(t), torch.from_numpy(loss))
        for time, value in zip(t, loss, strict=True):
            losses[time, counts[time] % history] = value
            counts[time] += 1
        assert sampler.losses.tolist() == losses.tolist() and sampler.counts.tolist() == counts.tolist()
