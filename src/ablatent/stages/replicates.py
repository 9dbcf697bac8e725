"""Which trainings of a job are replicates: what a claim on its scores counts. Free of torch."""

from collections.abc import Mapping

from ablatent.stages.diffusion.kind import DiffusionKind
from ablatent.stages.first_stage.kind import FirstStageKind

UNITS = (DiffusionKind.name, FirstStageKind.name)
"""Kinds whose trainings are replicates where a claim names none: the first of them that a score stands on."""


def unit_of(trainings: Mapping[str, str], unit: str | None) -> str:
    """The kind whose trainings are replicates; empty where there are none. trainings: kind → key; unit: the claim's."""
    if unit in trainings:
        return str(unit)
    return next((kind for kind in UNITS if kind in trainings), next(iter(trainings), ""))
