"""Combinations that cannot be trained, recognised from plain config values: no torch, so that planning stays quick."""

from ablatent.core.errors import ConfigError


def check_terminal_snr(parameterization: str, zero_terminal_snr: bool) -> None:
    """Refuse eps where the last time holds no signal.

    parameterization: its name or the dotted path of its class (`eps`, `ablatent.diffusion.parameterization.Eps`).
    """
    if zero_terminal_snr and parameterization.rsplit(".", 1)[-1].lower() == "eps":
        raise ConfigError(
            "parameterization",
            "v or x0 where the schedule has zero terminal SNR",
            "eps",
            "At t = T-1 such an x_t is pure noise: eps is x_t itself, nothing about x_0 can be learned, and"
            " x_0 = (x_t - sigma eps) / alpha divides by zero. Use parameterization=v (or x0), or"
            " schedule.zero_terminal_snr=false.",
        )
