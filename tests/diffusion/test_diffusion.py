"""Parameterizations, weightings and the loss: changes of variables must change nothing."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from ablatent.checks.changes import Fixed, batch
from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond
from ablatent.diffusion.compatibility import check_terminal_snr
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.loss import DiffusionLoss, by_timestep
from ablatent.diffusion.parameterization import X0, Eps, V
from ablatent.diffusion.weighting import P2, VLB, X0MSE, MinSNR, Simple, VelocityMSE
from ablatent.schedules.discrete import DiscreteSchedule
from ablatent.schedules.linear import Linear

PARAMETERIZATIONS = {"eps": Eps(), "x0": X0(), "v": V()}
WEIGHTINGS = [Simple(), VelocityMSE(), X0MSE(), MinSNR(5.0), MinSNR(1.0), P2(1.0, 1.0), P2(0.5, 2.0), VLB()]
every_weighting = pytest.mark.parametrize("weighting", WEIGHTINGS, ids=lambda w: f"{type(w).__name__}{vars(w)}")


def schedule(zero: bool = False, T: int = 1000) -> DiscreteSchedule:
    return Linear(T, 0.0001, 0.02, zero)


def test_published_formulas() -> None:
    s = schedule()
    snr = s.alphas_cumprod / (1 - s.alphas_cumprod)
    eps, x0, v = (PARAMETERIZATIONS[k] for k in ("eps", "x0", "v"))
    close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-9, atol=0)  # noqa: E731
    close(Simple().loss_weights(s, eps), torch.ones_like(snr))
    close(VelocityMSE().loss_weights(s, v), torch.ones_like(snr))
    close(X0MSE().loss_weights(s, x0), torch.ones_like(snr))
    close(MinSNR(5.0).loss_weights(s, eps), snr.clamp(max=5) / snr)
    close(MinSNR(5.0).loss_weights(s, v), snr.clamp(max=5) / (snr + 1))
    close(P2(1.0, 0.5).loss_weights(s, eps), (1 + snr) ** -0.5)
    close(VLB().loss_weights(s, x0)[1:], 0.5 * (snr[:-1] - snr[1:]))
    close(VLB().loss_weights(s, x0)[0], 0.5 / s.betas[0])
    # Ho et al. 2020, eq. 12, with sigma_t² = beta_tilde_t
    beta, ab = s.betas[1:], s.alphas_cumprod
    tilde = beta * (1 - ab[:-1]) / (1 - ab[1:])
    close(VLB().loss_weights(s, eps)[1:], beta**2 / (2 * tilde * (1 - beta) * (1 - ab[1:])))


def test_square_loss_of_eps_is_the_plain_mse() -> None:
    s, p = schedule(), Eps()
    x0, t, eps = batch()
    network = Fixed(p, s)
    loss = DiffusionLoss(Denoiser(network, s, p), Simple())(x0, t, eps, Cond())
    out = network(s.q_sample(x0, t, eps), t, Cond())
    torch.testing.assert_close(loss, ((out - eps) ** 2).mean(dim=(1, 2, 3)), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("rho", "function"),
    [("mse", nn.functional.mse_loss), ("l1", nn.functional.l1_loss), ("huber", nn.functional.huber_loss)],
)
def test_rho_is_torch_s_own(rho: str, function) -> None:
    s, p = schedule(), Eps()
    x0, t, eps = batch()
    loss = DiffusionLoss(Denoiser(Fixed(p, s), s, p), Simple(), rho)(x0, t, eps, Cond())
    out = Fixed(p, s)(s.q_sample(x0, t, eps), t, Cond())
    torch.testing.assert_close(loss.mean(), function(out, eps))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_denoiser_dtype(dtype: torch.dtype) -> None:
    class Network(nn.Module):
        def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
            assert t.is_floating_point() and t.dtype != torch.bfloat16
            return x.to(torch.bfloat16)

    s = schedule()
    predicted = Denoiser(Network(), s, V())(torch.randn(2, 1, 2, 2).to(dtype), torch.tensor([5, 10]), Cond())
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert predicted.x0.dtype == predicted.eps.dtype == expected


def test_gradients_reach_the_network() -> None:
    network = nn.Conv2d(3, 3, 1)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = network

        def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
            return self.conv(x)

    x0, t, eps = batch(dtype=torch.float32)
    DiffusionLoss(Denoiser(Network(), schedule(), V()), MinSNR(5.0), "huber")(x0, t, eps, Cond()).mean().backward()
    assert network.weight.grad is not None and network.weight.grad.abs().sum() > 0


def test_eps_with_zero_terminal_snr_is_refused() -> None:
    for build in (
        lambda: check_terminal_snr("eps", False, True, False),
        lambda: Eps().check(schedule(zero=True)),
        lambda: Denoiser(nn.Identity(), schedule(zero=True), Eps()),
        lambda: Simple().check(schedule(zero=True), Eps()),
    ):
        with pytest.raises(ConfigError, match="pure noise") as error:
            build()
        assert error.value.key == "parameterization"
    check_terminal_snr("eps", False, False, False)
    check_terminal_snr("v", True, True, False)
    Eps().check(schedule())


@pytest.mark.slow
def test_the_planning_check_needs_no_torch() -> None:
    code = "import sys, ablatent.diffusion.compatibility; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_bad_options_name_their_key() -> None:
    s = schedule()
    for build, key in (
        (lambda: MinSNR(0.0), "weighting.gamma"),
        (lambda: P2(0.0, 1.0), "weighting.k"),
        (lambda: P2(1.0, -1.0), "weighting.gamma"),
        (lambda: DiffusionLoss(Denoiser(nn.Identity(), s, V()), Simple(), "msee"), "training.loss"),
    ):
        with pytest.raises(ConfigError) as error:
            build()
        assert error.value.key == key
    assert "Did you mean 'mse'?" in str(error.value)


def test_loss_by_timestep() -> None:
    t = torch.tensor([0, 249, 250, 999, 999])
    logged = by_timestep(torch.tensor([1.0, 3.0, 5.0, 7.0, 9.0]), t, T=1000)
    assert logged == {"loss_t/000-249": 2.0, "loss_t/250-499": 5.0, "loss_t/750-999": 8.0}
    for T, buckets in ((10, 4), (7, 3), (1000, 6)):  # the names say which t are inside
        for k in range(T):
            (name,) = by_timestep(torch.ones(1), torch.tensor([k]), T, buckets)
            first, last = map(int, name.split("/")[1].split("-"))
            assert first <= k <= last
