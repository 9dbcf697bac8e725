"""How many trainings settle a claim: as the noncentral t says, and as simulations do."""

import math

import numpy as np
import pytest
from scipy import stats

from ablatent.claims.power import power_of, trainings_for


@pytest.mark.parametrize("n", [3, 5, 20])
@pytest.mark.parametrize("effect", [0.3, 1.0, 2.0])
def test_the_power_of_pairs_is_that_of_the_noncentral_t(n, effect):
    known = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, effect * math.sqrt(n))
    assert power_of(n, -math.inf, 0.0, -effect, 1.0) == pytest.approx(known, abs=2e-4)


@pytest.mark.parametrize("n", [3, 5, 20])
@pytest.mark.parametrize("effect", [1.0, 2.0])
def test_the_power_of_two_arms_is_that_of_welch(n, effect):
    """With few trainings it is below that of the pooled test, whose degrees of freedom are never fewer."""
    mine = power_of(n, -math.inf, 0.0, -effect, 1.0, paired=False)
    assert mine == pytest.approx(simulated(n, -effect, 1.0, -math.inf, 0.0, paired=False), abs=0.01)
    pooled = stats.nct.sf(stats.t.ppf(0.975, 2 * (n - 1)), 2 * (n - 1), effect * math.sqrt(n / 2))
    assert mine < pooled and (n == 20 or pooled - mine > 0.005)


def simulated(n: int, effect: float, spread: float, low: float, high: float, paired: bool) -> float:
    """The share of 40,000 experiments whose interval of 95 % lies between the bounds."""
    rng = np.random.default_rng(0)
    a = rng.normal(effect, spread, (40_000, n))
    if paired:
        interval = stats.ttest_1samp(a, 0.0, axis=1).confidence_interval(0.95)
    else:
        b = rng.normal(0.0, spread, a.shape)
        interval = stats.ttest_ind(a, b, axis=1, equal_var=False).confidence_interval(0.95)
    return float(((interval.high < high) & (interval.low > low)).mean())


@pytest.mark.parametrize(
    "effect, low, high, paired",
    [
        (-0.5, -math.inf, 0.0, True),
        (-0.5, -math.inf, 0.0, False),
        (-1.0, -math.inf, -0.3, True),
        (0.0, -0.5, 0.5, True),
        (0.1, -0.6, 0.6, False),
        (1.5, 0.0, math.inf, True),
    ],
)
def test_the_number_of_trainings_is_that_of_simulations(effect, low, high, paired):
    n = trainings_for(effect, 1.0, low=low, high=high, paired=paired)
    assert n is not None
    assert simulated(n, effect, 1.0, low, high, paired) > 0.79
    assert n == 3 or simulated(n - 1, effect, 1.0, low, high, paired) < 0.81
    assert n == 3 or power_of(n - 1, low, high, effect, 1.0, paired=paired) < 0.8


def test_the_ends_of_the_number():
    assert trainings_for(-50.0, 1.0) == 3, "never fewer than three"
    assert trainings_for(-0.01, 1.0) is None, "more than 1000"
    assert trainings_for(0.0, 1.0) is None and trainings_for(0.2, 1.0) is None, "not below the bound"
    assert trainings_for(-1.0, 0.0) == 3
    strict, loose = trainings_for(-0.5, 1.0, confidence=0.99), trainings_for(-0.5, 1.0)
    assert strict is not None and loose is not None and strict > loose
    more = trainings_for(-0.5, 1.0, power=0.95)
    assert more is not None and more > loose
