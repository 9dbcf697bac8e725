"""Verdicts: whether the interval of an effect lies beyond the bound claimed, excludes it, or neither. float64.

lower: agree where d = of - against lies below -margin, disagree where it lies above; higher: mirrored; equal: agree
where it lies within ±margin, disagree where it lies outside. Everything else is inconclusive.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from ablatent.claims.claim import Claim, Contrast
from ablatent.claims.effect import IDENTICAL, Compared, compared, over_samples
from ablatent.claims.intervals import LEVEL, PAIRED, bonferroni, mean
from ablatent.claims.observations import FEWEST, Arms, Interval, counted_trainings, replicate_kind
from ablatent.claims.power import trainings_for

Word = Literal["agree", "disagree", "inconclusive", "not tested"]
LARGEST_LOG = 700.0
"""exp of more is no float, and of less than its negative near 0."""
NAMED = 4
"""So many jobs are named, and the others counted."""


@dataclass(frozen=True, kw_only=True)
class ContrastVerdict:
    """What a store says of one contrast.

    verdict; reason: why there is no other, empty where the interval tells. effect, interval: of - against in units of
    the score, or of / against with scale=ratio; None where there is none; bounds: the effects between which it does not
    matter, in the same units; over_samples: effect and interval over the samples of single trainings, where trainings
    are too few for one. means: of both arms (geometric with a ratio). replicates: trainings of both arms that
    were counted, of the kind `unit`; trainings: kind → distinct trainings, of both arms; spread: deviation of a
    difference of a pair, or of one training, of the logarithms with a ratio. test: its name, with the degrees of
    freedom. notes: what a reader must know beside it.
    """

    name: str
    contrast: Contrast
    confidence: float
    verdict: Word
    reason: str = ""
    effect: float | None = None
    interval: Interval | None = None
    bounds: Interval = (0.0, 0.0)
    over_samples: tuple[float, Interval] | None = None
    means: tuple[float, float] | None = None
    unit: str = ""
    replicates: tuple[int, int] = (0, 0)
    trainings: tuple[Mapping[str, int], Mapping[str, int]] = field(default_factory=lambda: ({}, {}))
    spread: float | None = None
    test: str = ""
    degrees: float | None = None
    notes: Sequence[str] = ()

    @cached_property
    def enough(self) -> int | None:
        """Trainings an arm that would settle it with 80 % power, were effect and spread as estimated; None where it is
        settled, or has no interval, or no number up to 1000 would do."""
        if self.verdict != "inconclusive" or self.interval is None or self.effect is None or self.spread is None:
            return None
        effect = self.effect if self.contrast.scale == "difference" else math.log(self.effect)
        return _enough(self.contrast, effect, self.spread, self.test == PAIRED, self.confidence)


@dataclass(frozen=True, kw_only=True)
class ClaimVerdict:
    """What a store says of a claim: agree where all contrasts do, disagree where one does, else inconclusive."""

    name: str
    claim: Claim
    verdict: Word
    contrasts: Sequence[ContrastVerdict]


def decided(contrast: Contrast, low: float, high: float) -> Word:
    """The verdict of an interval of the effect, on the scale of `bound_of`."""
    bound = bound_of(contrast)
    if contrast.expect == "equal":
        outside = low > bound or high < -bound
        return "agree" if -bound < low and high < bound else "disagree" if outside else "inconclusive"
    low, high = (low, high) if contrast.expect == "lower" else (-high, -low)
    return "agree" if high < -bound else "disagree" if low > -bound else "inconclusive"


def bound_of(contrast: Contrast) -> float:
    """The margin on the scale of effects: itself, or log(1 + margin)."""
    return contrast.margin if contrast.scale == "difference" else math.log1p(contrast.margin)


def contrast_verdict(
    name: str, contrast: Contrast, arms: Arms, confidence: float, untested: str = ""
) -> ContrastVerdict:
    """The verdict of one contrast. arms: its jobs, those without a score too; untested: why the scores of this metric
    tell nothing, empty where they do."""
    plain = ContrastVerdict(
        name=name, contrast=contrast, confidence=confidence, verdict="inconclusive", bounds=_shown_bounds(contrast)
    )
    if reason := arms.nobody or untested:
        return replace(plain, verdict="not tested", reason=reason)
    replicate = replicate_kind(arms)
    plain = replace(
        plain,
        unit=replicate,
        trainings=(counted_trainings(arms.of), counted_trainings(arms.against)),
        notes=_notes(arms, replicate),
    )
    try:
        found = compared(contrast, arms)
    except ValueError as error:
        return replace(plain, reason=str(error))
    return _tested(plain, arms, found)


def _tested(plain: ContrastVerdict, arms: Arms, found: Compared) -> ContrastVerdict:
    """With what the replicates tell."""
    contrast = plain.contrast
    plain = replace(plain, replicates=(len(found.of), len(found.against)))
    if found.fewest:
        centres = mean(found.of), mean(found.against)
        plain = replace(
            plain,
            effect=_shown(centres[0] - centres[1], contrast),
            means=centres if contrast.scale == "difference" else _shown_interval(centres, contrast),
        )
    if found.fewest < 2:
        reason = _too_few(plain, found)
        samples = over_samples(arms, contrast)
        shown = None if samples is None else (_shown(samples[0], contrast), _shown_interval(samples[1], contrast))
        return replace(plain, reason=reason, over_samples=shown)
    estimate = found.estimate(plain.confidence)
    few = [f"fewer than {FEWEST} trainings an arm"] if found.fewest < FEWEST else []
    plain = replace(
        plain, spread=estimate.spread, test=estimate.test, degrees=estimate.degrees, notes=[*plain.notes, *few]
    )
    if estimate.constant:
        return replace(plain, reason=IDENTICAL)
    verdict = decided(contrast, estimate.low, estimate.high)
    return replace(
        plain,
        verdict=verdict,
        interval=_shown_interval((estimate.low, estimate.high), contrast),
    )


def _too_few(plain: ContrastVerdict, found: Compared) -> str:
    unit = f"{plain.unit} " if plain.unit else ""
    of, against = plain.replicates
    if found.lost and not found.fewest:
        return "no training of both arms has a score"
    many = f"{of} {unit}training{'s' * (of != 1)} an arm" if of == against else f"{of} and {against} {unit}trainings"
    return f"{many}: an interval wants two or more, and {FEWEST} should be there"


def _enough(contrast: Contrast, effect: float, spread: float, is_paired: bool, confidence: float) -> int | None:
    """Trainings an arm that settle a contrast, of an effect and a spread on the scale of `bound_of`."""
    bound = bound_of(contrast)
    effect = -effect if contrast.expect == "higher" else effect
    regions = [(-math.inf, -bound), (-bound, math.inf)]
    if contrast.expect == "equal":
        regions = [(-bound, bound), (-math.inf, -bound), (bound, math.inf)]
    low, high = next((r for r in regions if r[0] < effect < r[1]), (0.0, 0.0))
    return trainings_for(effect, spread, confidence, low=low, high=high, paired=is_paired)


def _notes(arms: Arms, replicate: str) -> list[str]:
    """Jobs without a score; trainings that are no replicates; of what an arm has one training, so that others are not
    covered."""
    notes = []
    missing = list(dict.fromkeys(f"{job.name} ({job.missing})" for job in arms.both if job.value is None))
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        notes.append(f"without a score: {', '.join(missing[:NAMED])}{more}")
    of, against = counted_trainings(arms.of), counted_trainings(arms.against)
    if replicate != arms.unit:
        notes.append(f"the {arms.unit} trainings of one {replicate} are not independent: their mean is a replicate")
    several = min(of.get(replicate, 0), against.get(replicate, 0)) > 1
    if single := [f"1 {kind}" for kind in of if several and kind != replicate and 1 in (of[kind], against.get(kind))]:
        base = f"the {replicate} trainings of an arm stand on {' and '.join(single)}"
        notes.append(f"{base}: the interval does not cover what others would give")
    return notes


def _shown(effect: float, contrast: Contrast) -> float:
    """In units of the score, or as a ratio: an interval of few trainings may reach further than floats do."""
    return effect if contrast.scale == "difference" else math.exp(max(-LARGEST_LOG, min(effect, LARGEST_LOG)))


def _shown_interval(interval: Interval, contrast: Contrast) -> Interval:
    return _shown(interval[0], contrast), _shown(interval[1], contrast)


def _shown_bounds(contrast: Contrast) -> Interval:
    return _shown_interval((0.0 - bound_of(contrast), bound_of(contrast)), contrast)


def claim_verdict(name: str, claim: Claim, contrasts: Sequence[ContrastVerdict]) -> ClaimVerdict:
    """The verdict of a claim, from those of its contrasts."""
    words = [contrast.verdict for contrast in contrasts]
    verdict: Word = "inconclusive"
    if "disagree" in words:
        verdict = "disagree"
    elif "not tested" in words:
        verdict = "not tested"
    elif set(words) == {"agree"}:
        verdict = "agree"
    return ClaimVerdict(name=name, claim=claim, verdict=verdict, contrasts=contrasts)


def confidence_of(claims: Mapping[str, Claim]) -> float:
    """The confidence of each interval of an experiment: Bonferroni over all its contrasts, 95 % together."""
    return bonferroni(sum(len(claim.contrasts) for claim in claims.values()), LEVEL)
