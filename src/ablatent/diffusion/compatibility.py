"""Combinations that cannot be trained, recognised from plain config values: no torch, so that planning stays quick."""

from ablatent.core.errors import ConfigError


def check_terminal_snr(name: str, defined_without_signal: bool, zero_terminal_snr: bool, always: bool) -> None:
    """Raise ConfigError where the last time holds no signal and the parameterization says nothing about x_0 there.

    name: of the parameterization; defined_without_signal: what its class declares; always: whether the schedule has no
    option by which signal would be left.
    """
    if zero_terminal_snr and not defined_without_signal:
        raise ConfigError(
            "parameterization",
            "v, x0, flow or edm where the schedule has zero terminal SNR",
            name,
            "At t = T-1 such an x_t is pure noise: eps is x_t itself, nothing about x_0 can be learned, and"
            " x_0 = (x_t - sigma eps) / alpha divides by zero. Use parameterization=v (or x0, flow, edm)"
            + ("." if always else ", or schedule.zero_terminal_snr=false."),
        )


def check_whole_times(key: str, name: str, discrete_only: bool, continuous: bool) -> None:
    """Raise ConfigError where an option is defined over whole times alone, and the schedule is trained at real ones.

    key: of the option; name: what it is set to; discrete_only: what its class declares; continuous: what that of the
    schedule declares.
    """
    if continuous and discrete_only:
        raise ConfigError(
            key,
            "an option for real times where the schedule is continuous",
            name,
            "It sums over the whole times of a discrete schedule, such as schedule=cosine or linear.",
        )
