"""What every weighting does: one weight in three closed forms, at zero SNR, too."""

import torch

from ablatent.checks.changes import Fixed, batch, defined, fits, others, schedules
from ablatent.checks.gaussian import cosine, linear
from ablatent.checks.option import Option
from ablatent.checks.suite import expect, expect_near, invariant
from ablatent.core.types import Cond
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.loss import RHO, DiffusionLoss
from ablatent.diffusion.weighting import Weighting


@invariant
def closed_forms_are_one_weight(option: Option) -> None:
    """The weights of eps, x_0 and v are w(SNR) times the squared derivative of x_0 by each, at every time."""
    weighting, s = option.make(Weighting), cosine()
    a2, s2 = s.squares()
    for p in others():
        weights = weighting.loss_weights(s, p)
        expect_near(weights, weighting.x0(a2, s2) * p.g(a2, s2), f"w · g for {p.name}", rtol=1e-11, atol=0.0)
        expect((weights >= 0).all(), f"weights of at least 0 for {p.name}", float(weights.min()))


@invariant
def is_finite_at_zero_snr(option: Option) -> None:
    """No weight is infinite, or not a number, where alpha is 0."""
    weighting = option.make(Weighting)
    for p in others():
        for s in defined(p, weighting):
            weights = weighting.loss_weights(s, p)
            expect(torch.isfinite(weights).all(), f"finite weights for {p.name}", weights[~torch.isfinite(weights)])


@invariant
def gives_one_loss_in_every_parameterization(option: Option) -> None:
    """One estimate of x_0 has the same loss in every parameterization, for every distance, also in float32 on average,
    at whole and at real times."""
    weighting = option.make(Weighting)
    for s in schedules():
        fitting = [p for p in others() if fits(s, p, weighting)]
        x0, t, eps = batch()
        t = t if not s.continuous else 0.999 * t
        for rho in RHO:
            losses = [DiffusionLoss(Denoiser(Fixed(p, s), s, p), weighting, rho)(x0, t, eps, Cond()) for p in fitting]
            for p, loss in zip(fitting, losses, strict=True):
                expect_near(
                    loss, losses[-1], f"the loss of {fitting[-1].name} in {p.name}, {rho}", rtol=1e-9, atol=1e-12
                )
    s, (x0, t, eps) = linear(), batch(dtype=torch.float32)
    means = [DiffusionLoss(Denoiser(Fixed(p, s), s, p), weighting)(x0, t, eps, Cond()).mean() for p in others()]
    for mean in means:
        expect(mean.dtype == torch.float32, "a loss in float32", mean.dtype)
        expect_near(mean, means[-1], "the mean loss of v in float32", rtol=1e-5, atol=0.0)
