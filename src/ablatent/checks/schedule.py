"""What every noise schedule does: a falling SNR with its limits, and real times between whole ones; what those with
betas do: exact tables."""

import copy
import math
from functools import partial
from typing import Any

import numpy as np
import torch

from ablatent.checks.option import Option
from ablatent.checks.suite import Broken, expect, expect_near, invariant
from ablatent.schedules.base import CLEAN, NoiseSchedule
from ablatent.schedules.discrete import DiscreteSchedule

ZERO, TIMES = "zero_terminal_snr", "T"
LENGTHS = (2, 10, 250, 4000)
"""Further numbers of times, of a schedule that has any."""


def variants(option: Option) -> list[tuple[NoiseSchedule, bool | None]]:
    """(schedule, whether its terminal SNR is zero, None where it has no such argument): as it stands, and with each
    other value of `zero_terminal_snr`."""
    if ZERO not in option.node:
        return [(option.make(NoiseSchedule), None)]
    return [(option.with_values(**{ZERO: zero}).make(NoiseSchedule), zero) for zero in (False, True)]


def discrete(option: Option) -> list[DiscreteSchedule]:
    """The variants that have betas: all, or none."""
    return [s for s, _ in variants(option) if isinstance(s, DiscreteSchedule)]


@invariant
def snr_falls(option: Option) -> None:
    """The SNR falls strictly from below that of the clean state, and stays above 0, or ends at 0 where it says so."""
    made = [*variants(option)]
    if TIMES in option.node:
        made += [(option.with_values(**{TIMES: T}).make(NoiseSchedule), None) for T in LENGTHS]
    for s, zero in made:
        alpha2, sigma2 = s.squares()
        share = torch.cat([torch.ones(1, dtype=torch.float64), alpha2 / (alpha2 + sigma2)])
        rises = (share.diff() >= 0).nonzero().flatten().tolist()
        wanted = "alpha² / (alpha² + sigma²), and with it the SNR, that falls strictly from below 1"
        expect(not rises, wanted, f"a rise, or no change, at t = {', '.join(map(str, rises[:5]))}")
        expect(share[-1] >= 0, "a signal of at least 0", float(share[-1]))
        if s.ends_in_noise or zero is not None:
            expected = s.ends_in_noise or bool(zero)
            expect(
                (s.terminal_snr == 0) == expected, f"a terminal SNR {'of' if expected else 'above'} 0", s.terminal_snr
            )
        if isinstance(s, DiscreteSchedule):
            expect(s.T == len(s.betas) == len(s.alphas_cumprod), f"T = {s.T} betas and levels", len(s.betas))
            expect_near(torch.cumprod(1 - s.betas, 0), alpha2, "alphas_cumprod of the betas", rtol=1e-9, atol=1e-15)


@invariant
def declares_what_it_preserves(option: Option) -> None:
    """alpha² + sigma² = 1 at every time where the class declares so, and at some time not where it does not."""
    for s, _ in variants(option):
        alpha, sigma = s.alpha_sigma(torch.linspace(-1, s.T - 1, 777, dtype=torch.float64))
        off = float((alpha**2 + sigma**2 - 1).abs().max())
        wanted = f"alpha² + sigma² = 1 {'throughout' if s.variance_preserving else 'not throughout'}"
        expect((off <= 1e-14) == s.variance_preserving, f"{wanted}, as `variance_preserving` says", f"{off:.2g} off")


@invariant
def clean_state_is_clean(option: Option) -> None:
    """At t = -1 alpha is 1 and sigma 0, in float64."""
    for s, _ in variants(option):
        alpha, sigma = s.alpha_sigma(torch.tensor([CLEAN]))
        expect((alpha.item(), sigma.item()) == (1, 0), "alpha 1 and sigma 0 at the clean state", (alpha, sigma))
        expect(alpha.dtype == sigma.dtype == torch.float64, "float64", (alpha.dtype, sigma.dtype))


@invariant
def whole_times_are_exact(option: Option) -> None:
    """At whole times, of any dtype, the levels are the same; with betas alpha² is alphas_cumprod to the bit."""
    for s, _ in variants(option):
        alpha2, sigma2 = (level.numpy() for level in s.squares())
        wanted = [level.numpy() for level in s.alpha_sigma(torch.arange(s.T))]
        if isinstance(s, DiscreteSchedule):
            wanted = [np.sqrt(s.alphas_cumprod.numpy()), np.sqrt(1 - s.alphas_cumprod.numpy())]
            same = np.array_equal(alpha2, s.alphas_cumprod.numpy()) and np.array_equal(sigma2, 1 - alpha2)
            expect(same, "squares of the tables to the bit", "others")
        for t in (torch.arange(s.T), torch.arange(s.T).to(torch.float32), torch.arange(s.T).double()):
            levels = [level.numpy() for level in s.alpha_sigma(t)]
            same = all(np.array_equal(a, b) for a, b in zip(levels, wanted, strict=True))
            expect(same, f"the same levels at times in {t.dtype}", "others")


@invariant
def real_times_lie_between(option: Option) -> None:
    """The SNR falls at real times, too, and `t_of_log_snr` is the inverse; times outside are an error."""
    for s, _ in variants(option):
        t = torch.linspace(-1, s.T - 1, 7777, dtype=torch.float64)
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
def times_of_training_cover_it(option: Option) -> None:
    """`time_at` rises from 0 to T-1 with the share: whole times, each as often, of a discrete schedule, else real."""
    for s, _ in variants(option):
        t = s.time_at(torch.linspace(0, 1, 4 * s.T + 1, dtype=torch.float64))
        expect(t.dtype == (torch.float64 if s.continuous else torch.int64), "int64, or float64 if continuous", t.dtype)
        expect((float(t.min()), float(t.max())) == (0, s.T - 1), f"times from 0 to {s.T - 1}", (t.min(), t.max()))
        expect((t.diff() >= 0).all(), "times that rise with the share", "a fall")
        if not s.continuous:
            counts = torch.bincount(t[:-1], minlength=s.T)
            expect((counts - 4).abs().max() <= 1, "every whole time as often", counts)


@invariant
def levels_stay_exact(option: Option) -> None:
    """Levels stay float64 and the same under casts, copies and the meta device, and are in no state dict."""
    s = option.make(NoiseSchedule)
    expected = s.squares()[0].clone()
    whole: Any = torch.nn.Sequential(s).float()[0]
    for other in (s.half(), copy.deepcopy(s).float(), s.to(torch.bfloat16), whole):
        level = other.squares()[0]
        expect(level.dtype == torch.float64 and torch.equal(level, expected), "the same levels in float64", level.dtype)
    with torch.device("meta"):
        meta = option.make(NoiseSchedule)
    moved = meta.to_empty(device="cpu").squares()[0]
    expect(torch.equal(moved, expected), "the same levels from the meta device", "others")
    expect(not s.state_dict(), "an empty state dict", list(s.state_dict()))


@invariant
def noises_as_its_levels_say(option: Option) -> None:
    """x_t = alpha x_0 + sigma eps, in float64 for float64 and in float32 otherwise."""
    gen = torch.Generator().manual_seed(0)
    random = partial(torch.randn, 3, 4, 5, 5, dtype=torch.float64, generator=gen)
    for s, _ in variants(option):
        t = torch.tensor([0, s.T // 2, s.T - 1])
        alpha, sigma = (level.reshape(3, 1, 1, 1) for level in s.alpha_sigma(t))
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            x0, eps = random().to(dtype), random().to(dtype)
            x = s.q_sample(x0, t, eps)
            wanted = torch.float64 if dtype == torch.float64 else torch.float32
            expect(x.dtype == wanted, f"{wanted} for {dtype}", x.dtype)
            by_hand = alpha * x0.double() + sigma * eps.double()
            expect_near(x, by_hand, "alpha x_0 + sigma eps", rtol=1e-6, atol=1e-6)
