"""Whether samples show what they were asked for: a judge's shares of them, beside its shares of real pictures."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ablatent.core.rng import stream
from ablatent.data.base import Annotations
from ablatent.evaluation.judges import Verdict
from ablatent.evaluation.scores import CHANCE, Score

GOOD = 0.8
"""A judge whose headline on held-out pictures is below this gets a note beside each of its scores."""
SHUFFLES = 20


def held_out(
    verdict: Verdict, answers: np.ndarray, known: Annotations
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """(numbers, half widths of the shares among them, a number for each output by name) of real pictures."""
    shares = verdict.shares(answers, known)
    numbers, by_name = verdict.details(answers, known)
    numbers = {name: share.value for name, share in shares.items()} | numbers
    return numbers, {name: share.half_width() for name, share in shares.items()}, by_name


def agreement(
    verdict: Verdict, answers: np.ndarray, asked: Annotations, real: Mapping[str, float], protocol: Mapping[str, Any]
) -> dict[str, Score]:
    """The scores of samples, and as NAME_chance the same with what was asked shuffled among the samples.

    real: the judge's numbers on held-out real pictures. Score.std: half of the 95 % interval.
    """
    good = real[verdict.headline]
    notes = [] if good >= GOOD else [f"the judge is weak: {verdict.headline} {good:.2f} on real held-out pictures"]
    n = len(answers)
    orders = [stream(0, "chance", k).permutation(n) for k in range(SHUFFLES)]
    shuffled = [verdict.shares(answers, asked.rows(order)) for order in orders]
    scores = {}
    for name, share in verdict.shares(answers, asked).items():
        told = {**protocol, "count": n, "on_real": real.get(name)}
        label, measured = verdict.labels.get(name, name), told | {"spread": share.spread}
        score = Score(
            share.value, share.half_width(), measured, notes, label=label, better="higher", shown_in="terminal"
        )
        scores[name] = score
        chance = float(np.mean([s[name].value for s in shuffled]))
        told |= {"chance": f"what was asked for shuffled among the samples, mean of {SHUFFLES} orders"}
        shuffled_score = replace(score, value=chance, std=None, protocol=told, shown_in="report")
        scores[f"{name}_chance"] = shuffled_score.yardstick(name, "by chance", CHANCE)
    return scores


def with_settled(verdict: Verdict, settled: Mapping[str, Any]) -> Verdict:
    """The verdict with the knobs that were chosen on real pictures."""
    made: Verdict = replace(verdict, **settled)  # type: ignore[type-var]
    return made
