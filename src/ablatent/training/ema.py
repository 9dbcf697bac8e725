"""Exponential moving averages of weights (Polyak & Juditsky 1992; warm-up as in the released LDM code), and those of
power functions (Karras et al. 2024)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.training import power_ema
from ablatent.training.settings import EMAOptions
from ablatent.training.sharded import pieces, placed_like


class Places:
    """Where a module keeps what stands in its state dict, found once: a state dict at every step costs more than the
    average itself. name → (the dict of the submodule that holds it, its key there): of the floating parameters, and of
    what else there is."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.averaged: dict[str, tuple[dict[str, Any], str]] = {}
        self.copied: dict[str, tuple[dict[str, Any], str]] = {}
        floating = _averaged(module)
        owners = dict(module.named_modules(remove_duplicate=False))
        for name in module.state_dict():
            path, _, key = name.rpartition(".")
            owner = owners[path]
            held = owner._parameters if key in owner._parameters else owner._buffers
            (self.averaged if name in floating else self.copied)[name] = held, key


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
        self.places: Places | None = None

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
        self.places = None

    def decay_at(self, step: int) -> float:
        """The decay of optimiser step `step` (1 for the first)."""
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """shadow = d * shadow + (1 - d) * weights, after optimiser step number `step` (1 for the first)."""
        if not self.shadow:
            self.start(module)
            return
        if self.places is None or self.places.module is not module:
            self._follow(self._matched(module))
            self.places = Places(module)
        averaged, copied = self.places.averaged, self.places.copied
        if averaged:
            shadows = pieces(self.shadow[name] for name in averaged)
            values = pieces(owner[key] for owner, key in averaged.values())
            values = [v.to(shadow.dtype) for v, shadow in zip(values, shadows, strict=True)]
            torch._foreach_lerp_(shadows, values, 1 - self.decay_at(step))
        for name, (owner, key) in copied.items():
            self.shadow[name].copy_(owner[key])

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Inside, the module has the averaged weights; afterwards its own again, bit for bit.

        What is written to its weights inside is lost.
        """
        live = self._matched(module)
        self._follow(live)
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
        self.places = None

    def _matched(self, module: nn.Module) -> dict[str, Tensor]:
        live = module.state_dict()
        if live.keys() != self.shadow.keys():
            odd = sorted(live.keys() ^ self.shadow.keys())
            raise ValueError(f"EMA: expected the module that was averaged; these names are in one only: {odd[:5]}")
        return live

    def _follow(self, live: Mapping[str, Tensor]) -> None:
        """Averages that were loaded or begun elsewhere go where the weights are, and are spread over ranks as those."""
        self.shadow = {name: placed_like(self.shadow[name], v) for name, v in live.items()}

    @staticmethod
    @torch.no_grad()
    def _write(live: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        for name, v in live.items():
            v.copy_(state[name])


class PowerEMA(EMA):
    """The power-function average of a width: its decay rises with the step, and the first one forgets the initial
    weights. See `power_ema`."""

    def __init__(self, width: float) -> None:
        super().__init__(0.0, warmup=False)
        self.gamma = power_ema.gamma_of(width)

    def decay_at(self, step: int) -> float:
        return power_ema.decay_at(step, self.gamma)


class EMAs:
    """Averages of one module with several decays: `main`, and further ones beside it for comparison; and those of power
    functions, from which any other width is made after the training.

    decay: of the main average. warmup: as in EMA, for all of them. extra_decays: of the further averages. Each in
    [0, 1) and given once. The names by which weights are kept: "ema" for the main one, else "ema_" and the decay, as in
    "ema_0.9999". power_widths: of the power-function averages, each in (0, 0.2886) and given once.
    """

    @classmethod
    def of(cls, options: EMAOptions) -> "EMAs":
        """The averages of `training.ema`."""
        return cls(options.decay, options.warmup, options.extra_decays, options.power_widths)

    def __init__(
        self,
        decay: float,
        warmup: bool,
        extra_decays: Sequence[float] = (),
        power_widths: Sequence[float] = (),
    ) -> None:
        self.main = EMA(decay, warmup)
        for extra in extra_decays:
            if not 0 <= extra < 1:
                raise ConfigError("training.ema.extra_decays", "numbers in [0, 1)", list(extra_decays))
        if len({decay, *extra_decays}) <= len(extra_decays):
            raise ConfigError(
                "training.ema.extra_decays",
                f"decays that differ from each other and from training.ema.decay={decay}",
                list(extra_decays),
                "Leave out what is there twice.",
            )
        if len({*power_widths}) < len(power_widths):
            raise ConfigError("training.ema.power_widths", "widths that differ from each other", list(power_widths))
        self.averages = {"ema": self.main} | {f"ema_{float(extra)}": EMA(extra, warmup) for extra in extra_decays}
        self.power = {float(width): PowerEMA(width) for width in power_widths}

    def start(self, module: nn.Module) -> None:
        """Begin all averages at the module's present state."""
        for ema in self._all().values():
            ema.start(module)

    def update(self, module: nn.Module, step: int) -> None:
        """Update all averages after optimiser step number `step` (1 for the first)."""
        for ema in self._all().values():
            ema.update(module, step)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """(name, averaged state under the module's own names, not copied), of those with decays, the main one first."""
        return ((name, ema.state_dict()) for name, ema in self.averages.items())

    def power_states(self, module: nn.Module) -> Iterator[tuple[float, dict[str, Tensor]]]:
        """(width, what is averaged of the module, not copied), of the power-function averages."""
        names = _averaged(module)
        for width, ema in self.power.items():
            yield width, {name: v for name, v in ema.shadow.items() if name in names}

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """name → averaged state (not copied)."""
        return {name: ema.state_dict() for name, ema in self._all().items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Copies `state`. Raises ValueError where it is of other decays or widths."""
        averages = self._all()
        if state.keys() != averages.keys():
            raise ValueError(f"EMAs: expected the averages {list(averages)}; got {list(state)}")
        for name, ema in averages.items():
            ema.load_state_dict(state[name])

    def _all(self) -> dict[str, EMA]:
        return {**self.averages, **{f"power_{width}": ema for width, ema in self.power.items()}}


def _averaged(module: nn.Module) -> set[str]:
    """Names of the floating parameters; tied ones under each of their names."""
    return {name for name, p in module.named_parameters(remove_duplicate=False) if p.is_floating_point()}
