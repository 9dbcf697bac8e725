"""What every noise schedule does: a falling SNR with its limits, exact whole times, and real ones between them."""

import copy
import math
from functools import partial
from typing import Any

import numpy as np
import torch

from ablatent.checks.option import Option
from ablatent.checks.suite import Broken, expect, expect_near, invariant
from ablatent.schedules.base import CLEAN, NoiseSchedule

ZERO, TIMES = "zero_terminal_snr", "T"
LENGTHS = (2, 10, 250, 4000)
"""Further numbers of times, of a schedule that has any."""


def variants(option: Option) -> list[tuple[NoiseSchedule, bool | None]]:
    """(schedule, whether its terminal SNR is zero, None where it has no such argument): as it stands, and with each
    other value of `zero_terminal_snr`."""
    if ZERO not in option.node:
        return [(option.make(NoiseSchedule), None)]
    return [(option.with_values(**{ZERO: zero}).make(NoiseSchedule), zero) for zero in (False, True)]


@invariant
def snr_falls(option: Option) -> None:
    """The share of the signal falls strictly from below 1, and stays above 0, or ends at 0 with zero terminal SNR."""
    made = [*variants(option)]
    if TIMES in option.node:
        made += [(option.with_values(**{TIMES: T}).make(NoiseSchedule), None) for T in LENGTHS]
    for s, zero in made:
        _falls(s, zero)


def _falls(s: NoiseSchedule, zero: bool | None) -> None:
    levels = torch.cat([torch.ones(1, dtype=torch.float64), s.alphas_cumprod])
    expect(s.T == len(s.betas) == len(s.alphas_cumprod), f"T = {s.T} betas and levels", (len(s.betas), len(levels) - 1))
    rises = (levels.diff() >= 0).nonzero().flatten().tolist()
    wanted = "alphas_cumprod, and with it the SNR, that falls strictly from below 1"
    expect(not rises, wanted, f"a rise, or no change, at t = {', '.join(map(str, rises[:5]))}")
    expect(levels[-1] >= 0, "alphas_cumprod of at least 0", float(levels[-1]))
    expect_near(torch.cumprod(1 - s.betas, 0), s.alphas_cumprod, "alphas_cumprod of the betas", rtol=1e-9, atol=1e-15)
    if zero is not None:
        expect((s.terminal_snr == 0) == zero, f"a terminal SNR {'of' if zero else 'above'} 0", s.terminal_snr)


@invariant
def whole_times_are_exact(option: Option) -> None:
    """At whole times, of any dtype, alpha² is alphas_cumprod to the bit, sigma² the rest; the clean state is clean."""
    for s, _ in variants(option):
        level = s.alphas_cumprod.numpy()
        for t in (torch.arange(s.T), torch.arange(s.T).to(torch.float32), torch.arange(s.T).double()):
            alpha, sigma = s.alpha_sigma(t)
            same = np.array_equal(alpha.numpy(), np.sqrt(level)) and np.array_equal(sigma.numpy(), np.sqrt(1 - level))
            expect(same, f"the values of the tables at times in {t.dtype}", "others")
        alpha, sigma = s.alpha_sigma(torch.tensor([CLEAN]))
        expect((alpha.item(), sigma.item()) == (1, 0), "alpha 1 and sigma 0 at the clean state", (alpha, sigma))
        expect(alpha.dtype == torch.float64, "float64", alpha.dtype)


@invariant
def real_times_lie_between(option: Option) -> None:
    """At real times alpha² + sigma² = 1 and the SNR falls, and `t_of_log_snr` is the inverse; others are an error."""
    for s, _ in variants(option):
        t = torch.linspace(-1, s.T - 1, 7777, dtype=torch.float64)
        alpha, sigma = s.alpha_sigma(t)
        expect_near(alpha**2 + sigma**2, torch.ones_like(t), "alpha² + sigma² = 1", rtol=0.0, atol=1e-14)
        log_snr = s.log_snr(t)
        expect((log_snr.diff() < 0).all(), "a log-SNR that falls between whole times, too", "a rise")
        # log-SNR is so flat in float64 near the ends that 1e-6 of a step is what a round trip can give
        expect_near(s.t_of_log_snr(log_snr), t, "the same times from their log-SNR", rtol=0.0, atol=1e-6)
        ends = s.t_of_log_snr(torch.tensor([math.inf, -math.inf, -1e4])).tolist()
        expect(ends == [-1.0, s.T - 1.0, s.T - 1.0], "the ends for infinite log-SNR", ends)
        for outside in (-1.5, -2, s.T - 0.5, s.T):
            try:
                s.alpha_sigma(torch.tensor([outside]))
            except IndexError:
                continue
            raise Broken(f"an IndexError for t = {outside}", "a level")


@invariant
def tables_stay_exact(option: Option) -> None:
    """The tables stay float64 and the same under casts, copies and the meta device, and are in no state dict."""
    s = option.make(NoiseSchedule)
    expected = s.alphas_cumprod.clone()
    whole: Any = torch.nn.Sequential(s).float()[0]
    for other in (s.half(), copy.deepcopy(s).float(), s.to(torch.bfloat16), whole):
        levels = other.alphas_cumprod
        expect(
            levels.dtype == torch.float64 and torch.equal(levels, expected), "the same table in float64", levels.dtype
        )
    with torch.device("meta"):
        meta = option.make(NoiseSchedule)
    moved = meta.to_empty(device="cpu").alphas_cumprod
    expect(torch.equal(moved, expected), "the same table from the meta device", "another")
    expect(not s.state_dict(), "an empty state dict", list(s.state_dict()))


@invariant
def noises_as_its_levels_say(option: Option) -> None:
    """x_t = alpha x_0 + sigma eps, in float64 for float64 and in float32 otherwise."""
    gen = torch.Generator().manual_seed(0)
    random = partial(torch.randn, 3, 4, 5, 5, dtype=torch.float64, generator=gen)
    for s, _ in variants(option):
        t = torch.tensor([0, s.T // 2, s.T - 1])
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            x0, eps = random().to(dtype), random().to(dtype)
            x = s.q_sample(x0, t, eps)
            wanted = torch.float64 if dtype == torch.float64 else torch.float32
            expect(x.dtype == wanted, f"{wanted} for {dtype}", x.dtype)
            level = s.alphas_cumprod[t].reshape(3, 1, 1, 1)
            by_hand = level.sqrt() * x0.double() + (1 - level).sqrt() * eps.double()
            expect_near(x, by_hand, "alpha x_0 + sigma eps", rtol=1e-6, atol=1e-6)
