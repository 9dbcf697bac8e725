"""Weights of a trained diffusion stage: those that it kept, or a power-function average that is made of those."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.stages.context import weights_path
from ablatent.training.power_ema import Average, Combination, check_kept, combination, stored_averages


class WeightsChoice(NamedTuple):
    """Which weights of a diffusion stage.

    weights: raw, ema or ema_DECAY; snapshot: after so many steps, "last" or "first" for the last or first that are
    kept; ema_width: of a power-function average in their place, None for none. key: the node that chooses them, for
    messages.
    """

    weights: str
    snapshot: str | int
    ema_width: float | None = None
    key: str = "samples"

    @property
    def name(self) -> str:
        """For messages."""
        return self.weights if self.ema_width is None else f"the average of width {self.ema_width:g}"

    @staticmethod
    def of(samples: Mapping[str, Any]) -> "WeightsChoice":
        """That of a `samples` node; one that an earlier version recorded has no width."""
        return WeightsChoice(samples["weights"], samples["snapshot"], samples.get("ema_width"))


def fit_of(folder: Path, choice: WeightsChoice, width: float) -> tuple[list[Path], Combination, Path]:
    """(files of averages, how they are combined to that width at the snapshot, file of the weights of its step).

    Raises ConfigError for a width where none were kept, or that these do not give, and for a snapshot not kept.
    """
    if choice.weights != "ema":
        expected = f"ema with {choice.key}.ema_width, which takes their place"
        raise ConfigError(f"{choice.key}.weights", expected, choice.weights)
    raw = weights_path(folder, "raw", choice.snapshot, choice.key)
    step, stored = int(raw.stem.rpartition("-")[2]), stored_averages(folder)
    kept = [average for average in stored if average.step <= step]
    name = f"{choice.key}.ema_width"
    check_kept(kept, width, name)
    return [stored[a] for a in kept], combination(kept, Average(step, width), name), raw


def load_weights(folder: Path, choice: WeightsChoice) -> dict[str, Tensor]:
    """The state of network and conditioner, whose names begin with network. and conditioner., on the CPU.

    An average is put together in float64, tensor by tensor; what is not averaged, the conditioner among it, is that of
    the snapshot. Raises ConfigError for weights that were not kept.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    if choice.ema_width is None:
        return load_file(str(weights_path(folder, choice.weights, choice.snapshot, choice.key)))
    files, (factors, _), raw = fit_of(folder, choice, choice.ema_width)
    state = load_file(str(raw))
    with ExitStack() as stack:
        opened = [stack.enter_context(safe_open(str(file), framework="pt")) for file in files]
        for name in opened[0].keys():  # noqa: SIM118
            total = torch.zeros_like(state[name], dtype=torch.float64)
            for factor, file in zip(factors, opened, strict=True):
                total.add_(file.get_tensor(name).double(), alpha=float(factor))
            state[name] = total.to(state[name].dtype)
    return state


def fit_summary(folder: Path, samples: Mapping[str, Any]) -> dict[str, float]:
    """For the summary of what was drawn: the residual of the profile of its average; empty where it has none."""
    choice = WeightsChoice.of(samples)
    return {} if choice.ema_width is None else {"ema_residual": fit_of(folder, choice, choice.ema_width)[1].residual}
