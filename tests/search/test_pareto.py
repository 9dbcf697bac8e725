"""The Pareto front of known sets, and of random ones by its definition."""

import numpy as np

from ablatent.search.pareto import front


def test_a_known_front():
    points = [(1.0, 9.0), (2.0, 5.0), (3.0, 6.0), (4.0, 2.0), (5.0, 2.0), (9.0, 1.0), (2.0, 5.0)]
    assert front(points, ["lower", "lower"]) == [0, 1, 3, 5, 6]
    assert front(points, ["lower", "higher"]) == [0]
    assert front(points, ["higher", "higher"]) == [0, 2, 4, 5]


def test_one_objective_has_its_best_values_and_no_points_no_front():
    assert front([[3.0], [1.0], [1.0]], ["lower"]) == [1, 2]
    assert front([[3.0], [1.0]], ["higher"]) == [0]
    assert front([], ["lower", "lower"]) == []


def test_a_front_is_what_its_definition_says():
    points = np.random.default_rng(0).integers(0, 6, (60, 3)).astype(float)

    def dominates(a, b):
        return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))

    wanted = [n for n, b in enumerate(points) if not any(dominates(a, b) for a in points)]
    assert front(points.tolist(), ["lower"] * 3) == wanted and 0 < len(wanted) < 60
