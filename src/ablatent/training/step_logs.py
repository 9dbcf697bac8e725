"""The values that steps log, until somebody reads them: so that no step waits for its device or for another rank."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ablatent.core.ranks import mean_over_ranks


class StepLogs:
    """Values of steps that nobody has read, each rank's own, where they were computed."""

    def __init__(self) -> None:
        self.unread: list[tuple[int, Mapping[str, Tensor | float]]] = []

    def add(self, step: int, values: Mapping[str, Tensor | float]) -> None:
        """The values of step `step` (1 for the first): tensors of one number, and numbers, which are alike on all
        ranks."""
        self.unread.append((step, values))

    def read(self) -> list[tuple[int, dict[str, float]]]:
        """(step, name → mean over the ranks) of all steps that were added since the last call, of which every rank
        added the same; called by all ranks. One message and one copy to the host, however many values there are."""
        steps, self.unread = self.unread, []
        tensors = [v.detach().reshape(()) for _, values in steps for v in values.values() if isinstance(v, Tensor)]
        means = iter(mean_over_ranks(_joined(tensors)).tolist() if tensors else ())
        return [
            (step, {name: next(means) if isinstance(v, Tensor) else float(v) for name, v in values.items()})
            for step, values in steps
        ]


def _joined(tensors: list[Tensor]) -> Tensor:
    """Tensors of one number each, of whatever types, as (n,) float64."""
    if len({t.dtype for t in tensors}) > 1:
        tensors = [t.double() for t in tensors]
    return torch.stack(tensors).double()
