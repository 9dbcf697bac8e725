"""Whether samples show what their conditions demand: a judge's shares of them, beside its shares of real images."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ablatent.core.rng import stream
from ablatent.data.base import Annotations
from ablatent.evaluation.judge_verdict import Verdict
from ablatent.evaluation.scores import CHANCE, Score
from ablatent.evaluation.shares import BOOTSTRAP, Share

MIN_HEADLINE = 0.8
"""A judge whose headline on held-out images is below this gets a note beside each of its scores."""
SHUFFLES = 20
"""Orders of the conditions that the scores of chance are the mean of."""


def held_out(
    verdict: Verdict, answers: np.ndarray, annotations: Annotations
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """(scores by name, half widths of the shares among them, a score of each output by its name) of real images."""
    shares = verdict.shares(answers, annotations)
    scores, by_name = verdict.details(answers, annotations)
    scores = {name: share.value for name, share in shares.items()} | scores
    return scores, {name: share.half_width() for name, share in shares.items()}, by_name


def agreement(
    verdict: Verdict,
    answers: np.ndarray,
    conditions: Annotations,
    real: Mapping[str, float],
    protocol: Mapping[str, Any],
) -> dict[str, Score]:
    """The scores of samples by name, and as NAME_chance the same with the conditions shuffled among the samples.

    answers, conditions: a row a sample. real: the judge's scores of held-out real images; protocol: of the judge.
    Score.std: half of the 95 % interval.
    """
    headline, notes = real[verdict.headline], []
    if headline < MIN_HEADLINE:
        notes = [f"the judge is weak: {verdict.headline} {headline:.2f} on real held-out images"]
    n = len(answers)
    orders = [stream(0, "chance", k).permutation(n) for k in range(SHUFFLES)]
    shuffled = [verdict.shares(answers, conditions.rows(order)) for order in orders]
    scores = {}
    for name, share in verdict.shares(answers, conditions).items():
        common = {**protocol, "count": n, "on_real": real.get(name)}
        label, measured = verdict.labels.get(name, name), common | {"spread": share.spread}
        score = Score(
            share.value,
            share.half_width(),
            measured,
            notes,
            interval=share.interval,
            interval_by=share.method,
            label=label,
            better="higher",
            shown_in="terminal",
        )
        scores[name] = score
        by_order = [s[name] for s in shuffled]
        chance = float(np.mean([s.value for s in by_order]))
        # a row an image: in the mean over the orders
        mean = Share(np.mean([s.hits for s in by_order], axis=0), np.mean([s.asks for s in by_order], axis=0))
        common |= {"chance": f"conditions shuffled among the samples, mean of {SHUFFLES} orders"}
        shuffled_score = replace(
            score,
            value=chance,
            std=None,
            protocol=common,
            interval=mean.bootstrap,
            interval_by=BOOTSTRAP,
            shown_in="report",
        )
        scores[f"{name}_chance"] = shuffled_score.yardstick(name, "by chance", CHANCE)
    return scores


def with_calibration(verdict: Verdict, calibrated: Mapping[str, Any]) -> Verdict:
    """The verdict with the knobs that were chosen on real images, by name."""
    chosen: Verdict = replace(verdict, **calibrated)  # type: ignore[type-var]
    return chosen
