"""Time grids: exactly S times for every S, strictly descending, and the formula of each (compvis: test_released.py)."""

import numpy as np
import pytest
import torch

from ablatent.checks.gaussian import cosine, linear
from ablatent.checks.sampler import ANY_STEPS
from ablatent.core.errors import ConfigError
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.grids import RHO, time_grid
from ablatent.schedules.base import CLEAN
from ablatent.schedules.linear import Linear

WHOLE = ("trailing", "leading", "linspace")
DOWN_TO_0 = ("leading", "linspace", "log_snr", "karras")
NOT_AT_ZERO_SNR = ("log_snr", "karras")
every_grid = pytest.mark.parametrize("grid", ANY_STEPS)


@pytest.mark.parametrize("T", [1, 7, 100, pytest.param(1000, marks=pytest.mark.slow)])
@every_grid
def test_every_number_of_steps_is_exact(grid: str, T: int) -> None:
    for s in (linear(T), cosine(T)):
        for steps in range(1, T + 1):
            times = time_grid(grid, s, steps)
            assert times.dtype == np.float64 and len(times) == steps + 1
            assert times[-1] == CLEAN and (np.diff(times) < 0).all()
            assert times[-2] >= 0 and times[0] <= T - 1
            assert grid not in WHOLE or (times == np.round(times)).all()
            if grid != "leading":
                assert times[0] == T - 1
            if grid in DOWN_TO_0 and steps > 1:
                assert times[-2] == 0


@pytest.mark.parametrize("steps", [1, 2, 3, 999, 1000])
@every_grid
def test_with_a_thousand_times(grid: str, steps: int) -> None:
    for s in (linear(), cosine()):
        times = time_grid(grid, s, steps)
        assert len(times) == steps + 1 and times[-2] >= 0 and times[0] <= 999 and (np.diff(times) < 0).all()


def test_grids_by_hand() -> None:
    s = linear()
    assert time_grid("trailing", s, 4).tolist() == [999, 749, 499, 249, -1]
    assert time_grid("leading", s, 4).tolist() == [750, 500, 250, 0, -1]
    assert time_grid("linspace", s, 4).tolist() == [999, 666, 333, 0, -1]
    assert time_grid("trailing", s, 4, start=0.8).tolist() == [799, 599, 399, 199, -1]
    assert time_grid("quadratic", s, 4).tolist() == [999, 999 * 9 / 16, 999 / 4, 999 / 16, -1]


@pytest.mark.parametrize("start", [1.0, 0.6])
def test_distances_in_log_snr(start: float) -> None:
    s = cosine()
    log_snr = s.log_snr(torch.from_numpy(time_grid("log_snr", s, 20, start)[:-1])).numpy()
    np.testing.assert_allclose(np.diff(log_snr), np.diff(log_snr).mean(), rtol=1e-6)


def test_karras_is_equation_5() -> None:
    s, n = linear(), 18
    alpha, sigma = s.alpha_sigma(torch.from_numpy(time_grid("karras", s, n)[:-1]))
    k = (sigma / alpha).numpy()
    ramp = np.arange(n) / (n - 1)
    np.testing.assert_allclose(
        k, (k[0] ** (1 / RHO) + ramp * (k[-1] ** (1 / RHO) - k[0] ** (1 / RHO))) ** RHO, rtol=1e-6
    )
    first, last = (s.log_snr(torch.tensor([t])) for t in (999.0, 0.0))
    np.testing.assert_allclose([k[0], k[-1]], torch.exp(-0.5 * torch.cat([first, last])), rtol=1e-9)


@every_grid
def test_start_leaves_out_the_noisiest_times(grid: str) -> None:
    for steps in (1, 3, 599, 600):
        times = time_grid(grid, linear(), steps, start=0.6)
        assert len(times) == steps + 1 and times[0] <= 599 and (np.diff(times) < 0).all()
    with pytest.raises(ConfigError, match="1 to 600"):
        time_grid(grid, linear(), 601, start=0.6)
    few = Linear(20, 1e-4, 0.02, False)
    assert time_grid(grid, few, 5, start=0.99)[0] <= 18, "one at least, also where 0.99 T is T when rounded"


@every_grid
def test_at_zero_snr(grid: str) -> None:
    """A grid starts there, or says why it cannot; below, all do."""
    s = linear(zero=True)
    assert time_grid(grid, s, 10, start=0.99)[0] <= 989
    if grid not in NOT_AT_ZERO_SNR:
        DDIM(steps=10, grid=grid).check(s)
        return
    with pytest.raises(ConfigError, match="zero SNR") as error:
        DDIM(steps=10, grid=grid).check(s)
    assert error.value.key == "sampler.grid" and error.value.got == grid
