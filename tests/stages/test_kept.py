"""Extractors and metrics are made once for the stages of a command, and let go before a training."""

from collections.abc import Iterator

import pytest

from ablatent.evaluation.kid import KID
from ablatent.evaluation.scores import Metric
from ablatent.stages import kept

NODE = {"_target_": "ablatent.evaluation.kid.KID", "subset_size": 10, "subsets": 5}


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    kept.release()
    yield
    kept.release()


def test_the_same_node_gives_the_same_object_until_it_is_released() -> None:
    first = kept.make_kept(NODE, Metric)
    assert isinstance(first, KID)
    assert kept.make_kept(dict(reversed(NODE.items())), Metric) is first
    other = kept.make_kept({**NODE, "subsets": 6}, Metric)
    assert (other is first, other.subsets) == (False, 6)
    kept.release()
    assert kept.make_kept(NODE, Metric) is not first


def test_the_least_used_goes_first() -> None:
    made = [kept.make_kept({**NODE, "subsets": n}, Metric) for n in range(2, 2 + kept.LIMIT)]
    kept.make_kept({**NODE, "subsets": 2}, Metric)  # used again: the second one is the oldest now
    kept.make_kept({**NODE, "subsets": 99}, Metric)
    assert kept.make_kept({**NODE, "subsets": 2}, Metric) is made[0]
    assert kept.make_kept({**NODE, "subsets": 3}, Metric) is not made[1]
