"""Intervals are those of scipy's own tests; what has none is refused."""

import numpy as np
import pytest
from scipy import stats

from ablatent.claims.intervals import bonferroni, paired, unpaired
from ablatent.core.errors import DataError


@pytest.mark.parametrize("n", [2, 3, 5, 20])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_pairs_are_as_ttest_rel(n, confidence):
    a, b = np.random.default_rng(n).normal(3, 2, (2, n))
    known = stats.ttest_rel(a, b).confidence_interval(confidence)
    mine = paired(list(a - b), confidence)
    assert (mine.low, mine.high) == pytest.approx((known.low, known.high), rel=1e-10)
    assert mine.effect == pytest.approx(a.mean() - b.mean()) and mine.degrees == n - 1
    assert mine.spread == pytest.approx((a - b).std(ddof=1))


@pytest.mark.parametrize("n, m", [(2, 2), (3, 3), (5, 4), (10, 20)])
def test_two_arms_are_as_welch(n, m):
    rng = np.random.default_rng(n)
    a, b = rng.normal(3, 2, n), rng.normal(2, 0.3, m)
    result = stats.ttest_ind(a, b, equal_var=False)
    known = result.confidence_interval(0.95)
    mine = unpaired(list(a), list(b), 0.95)
    assert (mine.low, mine.high) == pytest.approx((known.low, known.high), rel=1e-10)
    assert mine.degrees == pytest.approx(result.df)


def test_arms_of_very_unequal_numbers_have_the_degrees_of_the_smaller():
    a, b = np.random.default_rng(0).normal(0, 1, 3), np.random.default_rng(1).normal(0, 1, 10)
    mine, known = unpaired(list(a), list(b), 0.95), stats.ttest_ind(a, b, equal_var=False)
    assert mine.degrees == 2 < known.df
    assert mine.high - mine.low > np.diff(known.confidence_interval(0.95))[0]


def test_values_that_do_not_vary_have_no_interval():
    assert paired([0.0, 0.0, 0.0], 0.95).constant and paired([0.5, 0.5], 0.95).constant
    assert unpaired([1.0, 1.0], [2.0, 2.0], 0.95).constant
    assert paired([1e-15, -2e-15, 0.0], 0.95, size=24.0).constant, "rounding of values of 24"
    assert not paired([1e-15, -2e-15, 0.0], 0.95).constant
    assert not unpaired([1.0, 1.0], [2.0, 2.1], 0.95).constant


def test_one_training_has_no_interval():
    with pytest.raises(DataError, match="two pairs"):
        paired([1.0], 0.95)
    with pytest.raises(DataError, match="there are 1 and 2"):
        unpaired([1.0], [1.0, 2.0], 0.95)


def test_the_confidence_is_shared_among_questions():
    assert bonferroni(1) == pytest.approx(0.95) and bonferroni(5) == pytest.approx(0.99)
    assert bonferroni(0) == pytest.approx(0.95)
