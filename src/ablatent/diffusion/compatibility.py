"""Combinations that cannot be trained, recognised from plain config values: no torch, so that planning stays quick."""

from ablatent.core.errors import ConfigError


def check_terminal_snr(name: str, defined_without_signal: bool, zero_terminal_snr: bool) -> None:
    """Raise ConfigError where the last time holds no signal and the parameterization says nothing about x_0 there.

    name: of the parameterization; defined_without_signal: what its class declares.
    """
    if zero_terminal_snr and not defined_without_signal:
        raise ConfigError(
            "parameterization",
            "v or x0 where the schedule has zero terminal SNR",
            name,
            "At t = T-1 such an x_t is pure noise: eps is x_t itself, nothing about x_0 can be learned, and"
            " x_0 = (x_t - sigma eps) / alpha divides by zero. Use parameterization=v (or x0), or"
            " schedule.zero_terminal_snr=false.",
        )
