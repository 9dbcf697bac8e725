"""Exponential moving average of weights (Polyak & Juditsky 1992; warm-up as in the released LDM code)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ablatent.core.errors import ConfigError


class EMA:
    """Holds the averaged state of one module: parameters in float32 (float64 stays), buffers copied.

    decay: in [0, 1). warmup: use min(decay, (1 + step) / (10 + step)), so that the first weights are soon forgotten.
    The average begins at the module's state at `start`, or at the first `update`. Draws no random numbers.
    """

    def __init__(self, decay: float, warmup: bool) -> None:
        if not 0 <= decay < 1:
            raise ConfigError("training.ema.decay", "a number in [0, 1)", decay)
        self.decay, self.warmup = decay, warmup
        self.shadow: dict[str, Tensor] = {}

    @torch.no_grad()
    def start(self, module: nn.Module) -> None:
        """Begin the average at the module's present state."""
        averaged = _averaged(module)
        self.shadow = {
            name: v.detach().to(torch.promote_types(v.dtype, torch.float32), copy=True)
            if name in averaged
            else v.clone()
            for name, v in module.state_dict().items()
        }

    def decay_at(self, step: int) -> float:
        """The decay of optimiser step `step` (1 for the first)."""
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """shadow = d * shadow + (1 - d) * weights, after optimiser step number `step` (1 for the first)."""
        if not self.shadow:
            self.start(module)
            return
        live, averaged = self._matched(module), _averaged(module)
        weight = 1 - self.decay_at(step)
        for name, v in live.items():
            if self.shadow[name].device != v.device:  # a state that was loaded elsewhere
                self.shadow[name] = self.shadow[name].to(v.device)
            if name not in averaged:
                self.shadow[name].copy_(v)
        names = [name for name in live if name in averaged]
        if names:
            shadows = [self.shadow[name] for name in names]
            values = [live[name].to(shadow.dtype) for name, shadow in zip(names, shadows, strict=True)]
            torch._foreach_lerp_(shadows, values, weight)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Inside, the module has the averaged weights; afterwards its own again, bit for bit.

        What is written to its weights inside is lost.
        """
        live = self._matched(module)
        own = {name: v.clone() for name, v in live.items()}
        try:
            self._write(live, self.shadow)
            yield
        finally:
            self._write(live, own)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged state under the module's own names (not copied): `module.load_state_dict` takes it."""
        return dict(self.shadow)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copies `state`; it moves to the module's device at the next update."""
        self.shadow = {name: v.detach().clone() for name, v in state.items()}

    def _matched(self, module: nn.Module) -> dict[str, Tensor]:
        live = module.state_dict()
        if live.keys() != self.shadow.keys():
            odd = sorted(live.keys() ^ self.shadow.keys())
            raise ValueError(f"EMA: expected the module that was averaged; these names are in one only: {odd[:5]}")
        return live

    @staticmethod
    @torch.no_grad()
    def _write(live: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        for name, v in live.items():
            v.copy_(state[name])


def _averaged(module: nn.Module) -> set[str]:
    """Names of the floating parameters; tied ones under each of their names."""
    return {name for name, p in module.named_parameters(remove_duplicate=False) if p.is_floating_point()}
