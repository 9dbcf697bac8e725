"""The rule on both sides of every bound, what is a pair and what a replicate, and what has no interval."""

import math
from dataclasses import replace

import numpy as np
import pytest
from arms import contrast, job, seeds, verdict
from scipy import stats

from ablatent.claims.claim import Claim
from ablatent.claims.observations import arms_of
from ablatent.claims.verdict import claim_verdict, confidence_of, decided

EPS = 1e-9


@pytest.mark.parametrize(
    "expect, low, high, word",
    [
        ("lower", -3.0, -1 - EPS, "agree"),
        ("lower", -3.0, -1 + EPS, "inconclusive"),
        ("lower", -1 - EPS, 0.5, "inconclusive"),
        ("lower", -1 + EPS, 0.5, "disagree"),
        ("higher", 1 + EPS, 3.0, "agree"),
        ("higher", 1 - EPS, 3.0, "inconclusive"),
        ("higher", -0.5, 1 + EPS, "inconclusive"),
        ("higher", -0.5, 1 - EPS, "disagree"),
        ("equal", -1 + EPS, 1 - EPS, "agree"),
        ("equal", -1 - EPS, 1 - EPS, "inconclusive"),
        ("equal", -1 + EPS, 1 + EPS, "inconclusive"),
        ("equal", -2.0, 2.0, "inconclusive"),
        ("equal", 1 + EPS, 2.0, "disagree"),
        ("equal", -2.0, -1 - EPS, "disagree"),
    ],
)
def test_the_rule(expect, low, high, word):
    assert decided(contrast(expect, 1.0), low, high) == word
    e = math.e - 1  # log(1 + e) is 1
    assert decided(contrast(expect, e, scale="ratio"), low, high) == word


def test_equal_seeds_are_pairs_and_others_are_not():
    of, against = [1.0, 2.1, 3.0, 4.2], [1.5, 2.5, 3.6, 4.6]
    paired = verdict(seeds(of, against))
    known = stats.ttest_rel(of, against).confidence_interval(0.95)
    assert paired.interval == pytest.approx((known.low, known.high))
    assert (paired.verdict, paired.test, paired.replicates) == ("agree", "paired t", (4, 4))
    apart = verdict(seeds(of, against, other=10))
    known = stats.ttest_ind(of, against, equal_var=False).confidence_interval(0.95)
    assert apart.interval == pytest.approx((known.low, known.high))
    assert (apart.verdict, apart.test) == ("inconclusive", "Welch's t")
    assert apart.enough is not None and apart.enough > 4 and paired.enough is None


def test_groups_of_seeds_are_arms_of_their_trainings():
    values = [1.0, 1.2, 1.1, 1.3, 1.15, 1.25]
    jobs = [job(value, str(seed), seed=seed) for seed, value in enumerate(values)]
    found = verdict(jobs, contrast("equal", 0.5, of={"seed": [0, 1, 2]}, against={"seed": [3, 4, 5]}))
    expected = stats.ttest_ind(values[:3], values[3:], equal_var=False).confidence_interval(0.95)
    assert found.replicates == (3, 3) and found.interval == pytest.approx((expected.low, expected.high))
    assert found.verdict == "agree" and found.test.startswith("Welch")


def test_a_failed_job_takes_its_pair_away_and_is_named():
    found = verdict(seeds([1.0, 2.1, None, 4.2], [1.5, 2.5, 3.6, 4.6]))
    assert found.test == "paired t" and found.replicates == (3, 3)
    assert found.trainings == ({"diffusion": 3}, {"diffusion": 4})
    assert "first_stage=vq seed=2 (failed)" in found.notes[0]
    nothing = verdict(seeds([None] * 3, [1.0, 2.0, 3.0]))
    assert nothing.verdict == "inconclusive" and "no training of both arms" in nothing.reason


def test_two_settings_of_the_same_trainings_are_pairs():
    """As with two scales of guidance: the network is the same."""
    values = {1: [5.0, 7.1, 9.0], 3: [4.0, 6.0, 8.1]}
    jobs = [
        job(value, f"diffusion-{n}", guidance__scale=scale, seed=n)
        for scale, of in values.items()
        for n, value in enumerate(of)
    ]
    found = verdict(jobs, contrast(of={"guidance.scale": 3}, against={"guidance.scale": 1}))
    assert (found.verdict, found.test, found.replicates) == ("agree", "paired t", (3, 3))


def test_sets_of_samples_make_no_replicates():
    """Five sets of samples of one training are one; of three trainings they are averaged first."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.1, (2, 3, 5)) + rng.normal(0, 1, (2, 3, 1)) - np.array([4.0, 0.0])[:, None, None]
    jobs = [
        job(float(values[a, n, s]), f"{name}-{n}", first_stage=name, seed=n, samples__seed=s)
        for a, name in enumerate(("vq", "kl"))
        for n in range(3)
        for s in range(5)
    ]
    means = values.mean(2)
    known = stats.ttest_rel(means[0], means[1]).confidence_interval(0.95)
    found = verdict(jobs)
    assert found.interval == pytest.approx((known.low, known.high)) and found.replicates == (3, 3)
    alone = verdict([j for j in jobs if j.axes["seed"] == 0])
    assert alone.verdict == "inconclusive" and alone.interval is None and alone.replicates == (1, 1)
    assert "1 diffusion training an arm" in alone.reason
    assert alone.effect == pytest.approx(means[0, 0] - means[1, 0])
    imported = [replace(j, trainings={}, unit="") for j in jobs]
    assert verdict(imported).replicates == (1, 1), "samples of imported weights are no trainings"


def test_seeds_on_one_first_stage_are_one_training_of_it():
    jobs = [job(float(n), "", first=name, first_stage=name, seed=n) for name in ("vq", "kl") for n in range(3)]
    assert verdict(jobs).replicates == (1, 1)
    jobs = [
        job(n + (name == "kl") + 0.1 * n * (name == "vq"), f"{name}-{n}", first=name, first_stage=name, seed=n)
        for name in ("vq", "kl")
        for n in range(3)
    ]
    found = verdict(jobs)
    assert found.replicates == (3, 3) and found.trainings[0] == {"first_stage": 1, "diffusion": 3}
    assert any("stand on 1 first_stage" in note for note in found.notes)
    by_first_stage = verdict([replace(j, unit="first_stage") for j in jobs])
    assert by_first_stage.replicates == (1, 1)


def test_trainings_of_one_first_stage_are_one_replicate_where_there_are_several_first_stages():
    """Nine trainings of three first stages vary less than those of nine would."""
    values = np.random.default_rng(2).normal(0, 1, (2, 3, 1)) + np.random.default_rng(3).normal(0, 0.1, (2, 3, 3))
    jobs = [
        job(
            float(values[a, f, n]), f"{name}-{f}-{n}", first=f"{name}-{f}", first_stage=name,
            first_stage__seed=f, seed=n,
        )
        for a, name in enumerate(("vq", "kl"))
        for f in range(3)
        for n in range(3)
    ]  # fmt: skip
    means = values.mean(2)
    known = stats.ttest_rel(means[0], means[1]).confidence_interval(0.95)
    found = verdict(jobs)
    assert found.replicates == (3, 3) and found.unit == "first_stage" and found.degrees == 2
    assert found.interval == pytest.approx((known.low, known.high))
    assert "the diffusion trainings of one first_stage are not independent: their mean is a replicate" in found.notes
    paired = [j for j in jobs if j.axes["first_stage.seed"] == j.axes["seed"]]
    assert verdict(paired).replicates == (3, 3) and verdict(paired).unit == "diffusion"


def test_values_of_an_arm_and_arms_on_one_first_stage_keep_their_trainings():
    """A first stage for each value of a plain axis, or one for a whole arm, is none that a seed gives again."""
    jobs = [
        job(n + 0.1 * k * n, f"{name}-{n}", first=name, first_stage=name, seed=n)
        for k, name in enumerate(("f4", "f8", "f1"))
        for n in range(3)
    ]
    about = contrast(of={"first_stage": ["f4", "f8"]}, against={"first_stage": "f1"})
    assert verdict(jobs, about).replicates == (3, 3) and verdict(jobs, about).unit == "diffusion"
    jobs = [
        job(float(n + f + 0.1 * n * n), f"{name}-{f}-{n}", first=f"{name}-{f * (name == 'vq')}", first_stage=name,
            first_stage__seed=f, seed=n)
        for name in ("vq", "kl") for f in range(3) for n in range(3)
    ]  # fmt: skip
    assert verdict(jobs).unit == "diffusion"


def test_several_judges_of_the_same_trainings_are_no_replicates():
    jobs = [
        replace(job(n + 0.1 * k + (name == "vq") * 0.01 * n, f"{name}-{n}", first_stage=name, seed=n, judge__seed=k),
                trainings={"diffusion": f"{name}-{n}", "judge": f"judge-{k}"})
        for name in ("vq", "kl") for n in range(3) for k in range(2)
    ]  # fmt: skip
    assert verdict(jobs).replicates == (3, 3) and verdict(jobs).unit == "diffusion"


def test_a_group_that_nobody_typed_has_no_known_name():
    jobs = [job(0.0, f"{name}-0", first_stage=name) for name in ("kl", "vq")]
    known = [replace(j, config={"schedule": {"_target_": "x.Cosine"}, "sampler": {"eta": None}}) for j in jobs]
    about = contrast(at={"schedule": "cosine"})
    assert arms_of(about, known).nobody.endswith(" (schedule: neither an axis, nor typed)")
    assert not arms_of(about, [replace(j, typed={"schedule": "cosine"}) for j in known]).nobody
    assert not arms_of(contrast(at={"sampler.eta": None}), known).nobody
    assert arms_of(contrast(at={"sampler.etta": None}), known).nobody, "a key that is not there is not null"


def test_axes_that_are_not_named_are_blocks_and_no_replicates():
    """Effects are taken within equal values, and averaged within a training."""
    offset = {"linear": 0.0, "cosine": 100.0}
    noise = np.random.default_rng(1).normal(0, 0.1, (2, 2, 3))
    jobs = [
        job(offset[s] - (name == "vq") + noise[a, b, n], f"{name}{s}{n}", first_stage=name, schedule=s, seed=n)
        for a, name in enumerate(("vq", "kl"))
        for b, s in enumerate(offset)
        for n in range(3)
    ]
    found = verdict(jobs)
    d = -1 + (noise[0] - noise[1]).mean(0)
    known = stats.ttest_1samp(d, 0.0).confidence_interval(0.95)
    assert found.replicates == (3, 3) and found.interval == pytest.approx((known.low, known.high))
    assert verdict([j for j in jobs if j.axes["seed"] == 0]).replicates == (1, 1)
    other = [replace(j, axes={**j.axes, "schedule": "sigmoid"}) if j.axes["first_stage"] == "kl" else j for j in jobs]
    assert verdict(other).verdict == "inconclusive" and verdict(other).interval is None, "no block is common"
    at = verdict(jobs, contrast(at={"schedule": "cosine"}))
    known = stats.ttest_1samp(-1 + noise[0, 1] - noise[1, 1], 0.0).confidence_interval(0.95)
    assert at.interval == pytest.approx((known.low, known.high))


def test_a_failed_job_of_a_block_shifts_nothing_in_two_arms():
    """Without pairs, a replicate that lacks a block would compare blocks with each other."""
    jobs = [
        job(1000.0 * (s == "cosine") + n + 0.01 * a, f"{name}{s}{n}", first_stage=name, schedule=s, seed=n + 10 * a)
        for a, name in enumerate(("vq", "kl"))
        for s in ("linear", "cosine")
        for n in range(4)
    ]
    jobs = [replace(j, value=None, missing="failed") if j.training == "vqcosine0" else j for j in jobs]
    found = verdict(jobs)
    assert found.test == "Welch's t" and found.replicates == (3, 4)
    assert found.effect is not None and abs(found.effect) < 2


def test_ratios():
    of, against = [1.0, 2.2, 2.9, 4.1], [2.0, 4.0, 6.0, 8.0]
    found = verdict(seeds(of, against), contrast(scale="ratio", margin=0.2))
    logs = np.log(of) - np.log(against)
    known = stats.ttest_1samp(logs, 0.0).confidence_interval(0.95)
    assert found.interval == pytest.approx((math.exp(known.low), math.exp(known.high)))
    assert found.effect == pytest.approx(math.exp(logs.mean())) and found.verdict == "agree"
    assert found.bounds == pytest.approx((1 / 1.2, 1.2))
    wrong = verdict(seeds([1.0, 0.0, 2.0], [1.0, 2.0, 3.0]), contrast(scale="ratio"))
    assert wrong.verdict == "inconclusive" and "above 0" in wrong.reason
    wide = verdict(seeds([1e-300, 1e300], [1.0, 1.0]), contrast(scale="ratio"), confidence=0.999)
    assert wide.interval is not None and math.isfinite(wide.interval[1])


def test_identical_trainings_settle_nothing():
    for expect in ("lower", "equal"):
        found = verdict(seeds([1.0] * 3, [1.0] * 3), contrast(expect, 0.5))
        assert found.verdict == "inconclusive" and found.interval is None and "identical" in found.reason
    assert verdict(seeds([1.0] * 3, [2.0] * 3)).verdict == "inconclusive"


def test_what_no_job_has_is_not_tested():
    found = verdict([j for j in seeds([1.0] * 3, [2.0] * 3) if j.axes["first_stage"] == "kl"])
    assert found.verdict == "not tested" and "first_stage=vq" in found.reason
    typed = [replace(j, axes={"seed": j.axes["seed"]}, typed={"sampler.steps": "20"}) for j in seeds([1.0], [])]
    about = contrast(of={"sampler.steps": 20}, against={"sampler.steps": 5})
    assert verdict(typed, about).reason == "no job of the sweep has sampler.steps=5"


def test_values_are_compared_as_they_were_meant():
    jobs = [job(1.0, f"t{v}{n}", eta=v, seed=n) for v in (0.0, 1, True) for n in range(3)]
    about = contrast(of={"eta": "0"}, against={"eta": [1.0, 2]})
    found = verdict(jobs, about)
    assert found.trainings == ({"diffusion": 3}, {"diffusion": 3}), "true is not 1"


def test_one_training_gives_the_interval_over_its_samples_as_such():
    jobs = [job(4.0, "a", (3.0, 6.0), first_stage="vq"), job(2.0, "b", (1.0, 2.5), first_stage="kl")]
    found = verdict(jobs)
    assert found.verdict == "inconclusive" and found.interval is None
    assert found.over_samples is not None
    effect, (low, high) = found.over_samples
    assert effect == 2.0 and (low, high) == pytest.approx((2 - math.hypot(1, 0.5), 2 + math.hypot(2, 1)))
    assert verdict([jobs[0], replace(jobs[1], interval=None)]).over_samples is None


def test_another_score_of_the_same_jobs():
    from ablatent.claims.observations import arms_of
    from ablatent.claims.verdict import contrast_verdict

    about = contrast("lower", of={}, against={}, against_metric="fid_of_bicubic")
    mine = [job(1.0 + 0.1 * n, f"d{n}", seed=n) for n in range(3)]
    other = [replace(j, value=3.0 + 0.2 * n) for n, j in enumerate(mine)]
    found = contrast_verdict("x", about, arms_of(about, mine, other), 0.95)
    assert (found.verdict, found.test, found.replicates) == ("agree", "paired t", (3, 3))


def test_two_trainings_an_arm_have_an_interval_and_a_remark():
    found = verdict(seeds([1.0, 2.0], [5.0, 6.1]))
    assert found.interval is not None and any("fewer than 3" in note for note in found.notes)


def words(*found: str) -> str:
    claim = Claim(statement="s", source="s", refuted_by="r", contrasts={})
    plain = verdict(seeds([1.0] * 3, [2.0] * 3))
    return claim_verdict("x", claim, [replace(plain, verdict=word) for word in found]).verdict  # type: ignore[arg-type]


def test_a_claim_needs_all_its_contrasts():
    assert words("agree", "agree") == "agree"
    assert words("agree", "inconclusive") == "inconclusive"
    assert words("agree", "disagree", "not tested") == "disagree"
    assert words("agree", "not tested") == "not tested" == words("inconclusive", "not tested")


def test_the_confidence_is_shared_among_all_contrasts_of_an_experiment():
    claim = Claim(statement="s", source="s", refuted_by="r", contrasts={"a": contrast(), "b": contrast()})
    assert confidence_of({"x": claim, "y": claim}) == pytest.approx(1 - 0.05 / 4)
    narrow, wide = (verdict(seeds([1.0, 2.1, 3.0], [1.5, 2.5, 3.6]), confidence=c).interval for c in (0.95, 0.9875))
    assert narrow is not None and wide is not None and wide[1] - wide[0] > narrow[1] - narrow[0]
