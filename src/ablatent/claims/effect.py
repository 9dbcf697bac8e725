"""The effect of a contrast over trainings: pairs or two arms of replicates, with what was left out. float64.

Effects are taken within equal values of the axes that the contrast does not name (a block), and averaged over blocks
within a replicate.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablatent.claims.claim import Contrast
from ablatent.claims.intervals import Estimate, mean, paired, unpaired
from ablatent.claims.observations import Arms, Cells, Interval, Replicate, block_of, cells_of, deciding_seeds

IDENTICAL = "the effect is identical in all trainings, as if their seeds decided nothing: there is no interval"
NOT_POSITIVE = "a ratio wants scores above 0"


@dataclass(frozen=True)
class Compared:
    """The replicates of a contrast, on its scale (logarithms of a ratio).

    of, against: a value each; in pairs of equal order where they are paired. lost: replicates that were planned and
    have no value in either arm, or no partner.
    """

    of: Sequence[float]
    against: Sequence[float]
    is_paired: bool
    lost: int

    def estimate(self, confidence: float) -> Estimate:
        """The effect with its interval. Raises DataError for fewer than two replicates an arm."""
        if self.is_paired:
            size = max(map(abs, [*self.of, *self.against]), default=0.0)
            return paired([a - b for a, b in zip(self.of, self.against, strict=True)], confidence, size)
        return unpaired(self.of, self.against, confidence)

    @property
    def fewest(self) -> int:
        """Replicates of the smaller arm."""
        return min(len(self.of), len(self.against))


def compared(contrast: Contrast, arms: Arms) -> Compared:
    """The replicates of both arms. Raises ValueError for a ratio of scores that are not above 0."""
    seeds = deciding_seeds(arms, contrast)
    of, against = (cells_of(arm, contrast, seeds) for arm in (arms.of, arms.against))
    of, against = (_scaled(cells, contrast) for cells in (of, against))
    planned = set(of.replicates), set(against.replicates)
    if planned[0] <= planned[1] or planned[1] <= planned[0]:
        return _pairs(of, against)
    first, second = _by_replicate(of, against), _by_replicate(against, of)
    lost = len(planned[0]) + len(planned[1]) - len(first) - len(second)
    return Compared(list(first.values()), list(second.values()), False, lost)


def _scaled(cells: Cells, contrast: Contrast) -> Cells:
    if contrast.scale == "difference":
        return cells
    if any(value <= 0 for value in cells.values.values()):
        raise ValueError(NOT_POSITIVE)
    return Cells({place: math.log(value) for place, value in cells.values.items()}, cells.replicates)


def _pairs(of: Cells, against: Cells) -> Compared:
    """Replicates that both arms have, each averaged over the blocks in which both have it."""
    common: dict[Replicate, list[str]] = {}
    for block, replicate in of.values:
        if (block, replicate) in against.values:
            common.setdefault(replicate, []).append(block)
    sides = [[mean([cells.values[b, r] for b in blocks]) for r, blocks in common.items()] for cells in (of, against)]
    lost = len(set(of.replicates) | set(against.replicates)) - len(common)
    return Compared(sides[0], sides[1], True, lost)


def _by_replicate(cells: Cells, other: Cells) -> Mapping[Replicate, float]:
    """Replicate → its mean over the blocks that both arms have; without those that lack one of these."""
    blocks = sorted(cells.blocks & other.blocks)
    return {
        r: mean([cells.values[b, r] for b in blocks])
        for r in cells.replicates
        if blocks and all((b, r) in cells.values for b in blocks)
    }


def over_samples(arms: Arms, contrast: Contrast) -> tuple[float, Interval] | None:
    """The effect over the samples of single trainings, with its interval of 95 %; None where no score has an interval.

    Also None where the arms were measured in different blocks. Of the intervals of both arms by the method of variance
    estimates recovery (Zou & Donner 2008), which takes them for independent. It says what other samples of the same
    training would give, and nothing of another training.
    """
    blocks = [{block_of(o, contrast) for o in arm if o.value is not None} for arm in (arms.of, arms.against)]
    if blocks[0] != blocks[1]:
        return None
    sides = []
    for arm in (arms.of, arms.against):
        known = [(o.value, o.interval) for o in arm if o.value is not None]
        if not known or any(interval is None for _, interval in known):
            return None
        triples = [(value, *interval) for value, interval in known if interval is not None]
        if not _can_scale(triples, contrast):
            return None
        sides.append(_averaged([_on_scale(t, contrast) for t in triples]))
    (a, low_a, high_a), (b, low_b, high_b) = sides
    low, high = math.hypot(a - low_a, high_b - b), math.hypot(high_a - a, b - low_b)
    return a - b, (a - b - low, a - b + high)


def _can_scale(triples: Sequence[tuple[float, float, float]], contrast: Contrast) -> bool:
    return contrast.scale == "difference" or all(v > 0 for triple in triples for v in triple)


def _on_scale(triple: tuple[float, float, float], contrast: Contrast) -> tuple[float, float, float]:
    if contrast.scale == "difference":
        return triple
    value, low, high = map(math.log, triple)
    return value, low, high


def _averaged(triples: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """The mean of independent estimates, with its bounds."""
    value = mean([v for v, _, _ in triples])
    low = math.sqrt(sum((v - a) ** 2 for v, a, _ in triples)) / len(triples)
    high = math.sqrt(sum((b - v) ** 2 for v, _, b in triples)) / len(triples)
    return value, value - low, value + high
