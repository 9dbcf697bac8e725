"""Which times a sampler visits: exactly S of them, strictly descending in [0, T-1], then the clean state.

A grid is (schedule, used, steps) -> times, where `used` is how many of the T times are left after `start`: the first
time is used - 1, except that leading and compvis start lower; compvis does not reach the clean state (`ENDS`).
trailing, leading, compvis and linspace give whole times, by arithmetic on whole numbers, so that no rounding of T / S
costs or adds a step; uniform, quadratic, log_snr and karras give real ones.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float64

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.schedules.base import CLEAN, NoiseSchedule

RHO = 7.0
"""Of the karras grid: Karras et al. 2022, table 1."""


def trailing(schedule: NoiseSchedule, used: int, steps: int) -> Float64[np.ndarray, " S"]:
    """round(T (S - i) / S) - 1: starts at T-1, where training's noisiest state is (Lin et al. 2023, table 2)."""
    return np.round(used * np.arange(steps, 0, -1) / steps) - 1.0


def leading(schedule: NoiseSchedule, used: int, steps: int) -> Float64[np.ndarray, " S"]:
    """floor(T i / S): ends at t = 0 and starts one stride *below* T, as the released code of DDIM does (Song et al.
    2021; that of latent diffusion is `compvis`).

    For comparison with published samples only: from pure noise it starts at a time whose x_t is not pure noise.
    """
    return (used * np.arange(steps - 1, -1, -1) // steps).astype(np.float64)


def compvis(schedule: NoiseSchedule, used: int, steps: int) -> Float64[np.ndarray, " S"]:
    """T i / S + 1: 981, 961 … 1 for 50 of 1,000 steps, from which the last step goes to t = 0.

    What DDIM and PLMS visit in the released code of latent diffusion and stable diffusion v1
    (make_ddim_timesteps with "uniform", and ddim_alphas_prev). For comparison with published samples only, as leading.
    Raises ConfigError where T / S is no whole number of at least 2, since that code takes another number of steps
    there, or none; and for one step, with which it would start from noise at t = 1.
    """
    stride, rest = divmod(used, steps)
    if rest or stride < 2 or steps < 2:
        expected = f"a divisor of {used} from 2 to {used // 2} with sampler.grid=compvis"
        raise ConfigError(
            "sampler.steps", expected, steps, "The released code has no such grid. Or use sampler.grid=leading."
        )
    return stride * np.arange(steps - 1.0, -1.0, -1.0) + 1.0


def linspace(schedule: NoiseSchedule, used: int, steps: int) -> Float64[np.ndarray, " S"]:
    """Rounded equal distances from T-1 to 0, both included (Nichol & Dhariwal 2021); one step starts at T-1."""
    if steps == 1:
        return np.array([used - 1.0])
    return np.round((used - 1) * np.arange(steps - 1, -1, -1) / (steps - 1))


def uniform(schedule: NoiseSchedule, used: int, steps: int) -> Float64[np.ndarray, " S"]:
    """T (S - i) / S - 1, not rounded: equal distances from T-1 to the clean state, as flows are sampled.

    On a rectified flow u = (t + 1) / T is 1, 1 - 1/S … 1/S (Liu et al. 2022); a schedule's own shift comes on top.
    """
    return used * np.arange(steps, 0, -1) / steps - 1.0


def quadratic(schedule: NoiseSchedule, used: int, steps: int) -> Float64[np.ndarray, " S"]:
    """(T-1) ((S - i) / S)²: denser towards the image (Song et al. 2021, appendix D.2)."""
    return (used - 1) * (np.arange(steps, 0, -1) / steps) ** 2


def log_snr(schedule: NoiseSchedule, used: int, steps: int) -> Float64[np.ndarray, " S"]:
    """Equal distances in log-SNR from the first time to t = 0 (Lu et al. 2022, "DPM-Solver")."""
    first, last = _range(schedule, used, "log_snr")
    return _times_at(schedule, used, np.linspace(first, last, steps))


def karras(schedule: NoiseSchedule, used: int, steps: int) -> Float64[np.ndarray, " S"]:
    """Equal distances in (sigma / alpha)^(1/7) from the first time to t = 0 (Karras et al. 2022, eq. 5, rho = 7)."""
    first, last = (np.exp(-0.5 * v / RHO) for v in _range(schedule, used, "karras"))
    return _times_at(schedule, used, -2.0 * RHO * np.log(np.linspace(first, last, steps)))


def _range(schedule: NoiseSchedule, used: int, name: str) -> tuple[float, float]:
    """Log-SNR of the first time and of t = 0; ConfigError where the first is -inf."""
    first, last = schedule.log_snr(torch.tensor([used - 1.0, 0.0], dtype=torch.float64)).tolist()
    if np.isinf(first):
        raise ConfigError(
            "sampler.grid",
            "a grid that can start at zero SNR (trailing, leading, linspace, uniform or quadratic)",
            name,
            "It measures distances in log-SNR, which is infinite there. Or use sampler.start=0.99, or"
            " a schedule that ends with some signal (where it has the key, schedule.zero_terminal_snr=false).",
        )
    return first, last


def _times_at(schedule: NoiseSchedule, used: int, log_snr: Float64[np.ndarray, " S"]) -> Float64[np.ndarray, " S"]:
    """The times of these log-SNRs; both ends exact, without the rounding of the way there and back."""
    times = schedule.t_of_log_snr(torch.from_numpy(log_snr)).cpu().numpy()
    times[0] = used - 1.0
    if len(times) > 1:
        times[-1] = 0.0
    return times


Grid = Callable[[NoiseSchedule, int, int], np.ndarray]
GRIDS: dict[str, Grid] = {
    "trailing": trailing,
    "leading": leading,
    "compvis": compvis,
    "linspace": linspace,
    "uniform": uniform,
    "quadratic": quadratic,
    "log_snr": log_snr,
    "karras": karras,
}

ENDS = {"compvis": 0.0}
"""Where the last step of a grid ends, if not at the clean state."""


def check_grid(name: str) -> None:
    """ConfigError unless the grid exists."""
    if name not in GRIDS:
        raise ConfigError("sampler.grid", f"one of {', '.join(GRIDS)}", name, did_you_mean(name, GRIDS))


def time_grid(name: str, schedule: NoiseSchedule, steps: int, start: float = 1.0) -> Float64[np.ndarray, " S1"]:
    """`steps` times and where the last step ends: (steps + 1,) float64, strictly descending, ending with CLEAN (0 for
    compvis).

    start: the share of the T times that is sampled; 0.8 leaves out the noisiest fifth and spends the same number of
    steps on the rest (Nichol & Dhariwal 2021, figure 4), and less than 1 leaves out one time at least. Raises
    ConfigError if there are fewer times than steps, if the grid has no such number of steps, or if it cannot start at
    zero SNR and would have to.
    """
    check_grid(name)
    T = schedule.T
    used = max(min(round(start * T), T if start == 1 else T - 1), 1)
    if not 1 <= steps <= used:
        why = "" if used == T else f" (sampler.start={start:g} leaves {used} of {T} times)"
        raise ConfigError("sampler.steps", f"an integer from 1 to {used}{why}", steps)
    return np.append(GRIDS[name](schedule, used, steps), ENDS.get(name, CLEAN))
