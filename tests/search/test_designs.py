"""Designs: scipy's own Sobol points, seeded random ones, and all of them handed over at once."""

import numpy as np
import pytest
from scipy.stats import qmc
from search_cases import space

from ablatent.core.errors import ConfigError
from ablatent.search.base import Jobs
from ablatent.search.designs import RandomDesign, SobolDesign
from ablatent.sweep.plan import Composed

OVER = ["lr=tag(log,interval(1e-4,1e-2))", "first_stage=kl,vq", "sampler.steps=range(5,45,5)", "preset=tiny"]


def test_a_sobol_design_is_scipys():
    shares = SobolDesign(n_trials=16, seed=3).shares(3)
    assert np.array_equal(shares, qmc.Sobol(3, scramble=True, rng=3).random(16))
    assert not np.array_equal(shares, SobolDesign(n_trials=16, seed=4).shares(3))


def test_a_sobol_design_takes_each_of_eight_values_equally_often():
    points = SobolDesign(n_trials=16).points(space(*OVER))
    steps = [point["sampler.steps"] for point in points]
    assert len(points) == 16 and all(steps.count(str(n)) == 2 for n in range(5, 45, 5))
    assert [point["first_stage"] for point in points].count("kl") == 8


def test_a_random_design_is_a_function_of_its_seed():
    points = [RandomDesign(n_trials=8, seed=seed).points(space(*OVER)) for seed in (0, 0, 1)]
    assert points[0] == points[1] != points[2]
    assert all(1e-4 <= float(point["lr"]) <= 1e-2 for point in points[0])


@pytest.mark.parametrize("design", [SobolDesign, RandomDesign])
@pytest.mark.parametrize("verb", ["run", "plan"])
def test_all_distinct_points_are_handed_over_at_once(design, verb):
    launched = []

    def launch(jobs):
        launched.append(jobs)
        return 1

    over = space("a=1,2", "b=x,y", "c=5")
    jobs = Jobs(lambda overrides: Composed(overrides, {"do": verb}), launch, str)
    assert design(n_trials=32)(over, jobs) == 1  # what the launcher returns
    assert [sorted(batch) for batch in launched] == [
        [["c=5", f"a={a}", f"b={b}"] for a in (1, 2) for b in ("x", "y")],
    ]


def test_keys_that_do_not_fit_are_refused():
    over, jobs = space("a=1,2"), Jobs(lambda overrides: Composed(overrides, {"do": "status"}), lambda jobs: 0, str)
    with pytest.raises(ConfigError, match="directions"):
        SobolDesign(n_trials=2, objectives=["fid_192", "nfe"], directions=["lower"])(over, jobs)
    with pytest.raises(ConfigError, match="objectives"):
        SobolDesign(n_trials=2, objectives=["nfe", "nfe"])(over, jobs)
    with pytest.raises(ConfigError, match=r"^do: "):
        SobolDesign(n_trials=2)(over, jobs)
