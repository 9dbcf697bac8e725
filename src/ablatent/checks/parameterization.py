"""What every parameterization does: it is a change of variables, which changes nothing."""

import torch

from ablatent.checks.changes import Fixed, batch, defined
from ablatent.checks.option import Option
from ablatent.checks.suite import expect, expect_near, invariant
from ablatent.core.types import Cond
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.loss import DiffusionLoss
from ablatent.diffusion.parameterization import Parameterization, V
from ablatent.diffusion.weighting import VelocityMSE
from ablatent.schedules.base import NoiseSchedule


def made(option: Option) -> tuple[Parameterization, list[NoiseSchedule]]:
    """(the parameterization, the schedules on which it is defined)."""
    parameterization = option.make(Parameterization)
    return parameterization, defined(parameterization)


@invariant
def prediction_undoes_target(option: Option) -> None:
    """x_0 and eps come back from the target at every time, and what any output predicts fits x_t."""
    p, schedules = made(option)
    for s in schedules:
        x0, t, eps = batch()
        alpha, sigma = s.alpha_sigma(t)
        x_t = s.q_sample(x0, t, eps)
        predicted = p.prediction(p.target(x0, eps, alpha, sigma), x_t, alpha, sigma)
        expect_near(predicted.x0, x0, "x_0 from its target", rtol=1e-9, atol=1e-9)
        expect_near(predicted.eps, eps, "eps from its target", rtol=1e-9, atol=1e-9)
        predicted = p.prediction(torch.sin(7 * x0), x_t, alpha, sigma)
        back = s.q_sample(predicted.x0, t, predicted.eps)
        expect_near(back, x_t, "alpha x_0 + sigma eps = x_t for any output", rtol=1e-9, atol=1e-9)


@invariant
def g_is_the_squared_slope(option: Option) -> None:
    """`g` is the squared derivative of x_0 by the output, at every time."""
    p, schedules = made(option)
    for s in schedules:
        x0, t, eps = batch()
        alpha, sigma = s.alpha_sigma(t)
        x_t = s.q_sample(x0, t, eps)
        slope = p.prediction(x0 + 1.0, x_t, alpha, sigma).x0 - p.prediction(x0, x_t, alpha, sigma).x0
        expect_near(slope[:, 0, 0, 0] ** 2, p.g(alpha**2, sigma**2), "(d x_0 / d output)²", rtol=1e-8, atol=1e-12)


@invariant
def has_the_loss_of_v(option: Option) -> None:
    """One estimate of x_0 has the same loss, written in this parameterization as in any other."""
    p, schedules = made(option)
    v = V()
    for s in schedules:
        x0, t, eps = batch()
        mine, wanted = (DiffusionLoss(Denoiser(Fixed(q, s), s, q), VelocityMSE())(x0, t, eps, Cond()) for q in (p, v))
        expect_near(mine, wanted, "the loss of the same estimate written as v", rtol=1e-9, atol=1e-12)


@invariant
def is_never_below_float32(option: Option) -> None:
    """Outputs of low precision give predictions and targets in float32, float64 ones in float64."""
    p, (s, *_) = made(option)
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        x0, t, eps = batch(n=3, dtype=dtype)
        alpha, sigma = s.alpha_sigma(t)
        predicted = p.prediction(x0, eps, alpha, sigma)
        wanted = torch.float64 if dtype == torch.float64 else torch.float32
        for name, value in (
            ("x_0", predicted.x0),
            ("eps", predicted.eps),
            ("a target", p.target(x0, eps, alpha, sigma)),
        ):
            low = torch.finfo(value.dtype).bits < torch.finfo(wanted).bits
            expect(not low, f"{name} in {wanted} or above, for {dtype}", value.dtype)
