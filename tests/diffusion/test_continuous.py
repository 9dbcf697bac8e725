"""Flow matching and EDM against their papers' formulas, and what goes with whole times alone."""

import math

import pytest
import torch

from ablatent.checks.changes import batch
from ablatent.checks.gaussian import cosine, edm, linear, rectified_flow
from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.densities import LogitNormal, LognormalSigma, Mode
from ablatent.diffusion.edm import Preconditioned, PreconditionedMSE
from ablatent.diffusion.flow import Flow, FlowMSE
from ablatent.diffusion.loss import DiffusionLoss
from ablatent.diffusion.parameterization import Eps, V
from ablatent.diffusion.timesteps import Importance, Uniform
from ablatent.diffusion.weighting import VLB, Simple
from ablatent.schedules.edm import EDM
from ablatent.schedules.rectified_flow import RectifiedFlow
from composing import composed

U = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000


def test_shift_is_that_of_esser() -> None:
    """t_m = sqrt(m / n) t_n / (1 + (sqrt(m / n) - 1) t_n): 1024² in place of 512² is a shift of 2."""
    t = torch.tensor([-1.0, 249.0, 499.0, 999.0], dtype=torch.float64)
    alpha, sigma = RectifiedFlow(1000, math.sqrt(1024**2 / 512**2)).alpha_sigma(t)
    torch.testing.assert_close(sigma, torch.tensor([0.0, 0.4, 2 / 3, 1.0], dtype=torch.float64))
    torch.testing.assert_close(alpha, 1 - sigma)


def test_levels_of_edm() -> None:
    alpha, sigma = edm().alpha_sigma(torch.tensor([-1.0, 0.0, 499.5, 999.0], dtype=torch.float64))
    torch.testing.assert_close(sigma, torch.tensor([0.0, 0.002, math.sqrt(0.002 * 80), 80.0], dtype=torch.float64))
    assert alpha.tolist() == [1, 1, 1, 1]


class Seen(torch.nn.Module):
    """A network that answers with its input, and keeps it."""

    def forward(self, x: torch.Tensor, t: torch.Tensor, cond: Cond) -> torch.Tensor:
        self.x = x
        return x


def test_preconditioning_is_that_of_table_1() -> None:
    """D(x) = c_skip x + c_out F(c_in x), and F is trained with weight lambda c_out² = 1."""
    data, network, schedule = 0.5, Seen(), edm()
    x0, t, eps = batch()
    _, sigma = schedule.alpha_sigma(t)
    sigma = sigma.reshape(-1, 1, 1, 1)
    x = x0 + sigma * eps
    c_skip, c_out = data**2 / (sigma**2 + data**2), sigma * data / (sigma**2 + data**2).sqrt()
    c_in = 1 / (sigma**2 + data**2).sqrt()
    got = Denoiser(network, schedule, Preconditioned(data))(x, t, Cond())
    torch.testing.assert_close(network.x, c_in * x)
    torch.testing.assert_close(got.x0, c_skip * x + c_out * c_in * x)
    torch.testing.assert_close(got.x0 + sigma * got.eps, x)
    loss = DiffusionLoss(Denoiser(network, schedule, Preconditioned(data)), PreconditionedMSE(data))
    lam = (sigma**2 + data**2) / (sigma * data) ** 2
    torch.testing.assert_close(loss(x0, t, eps, Cond()), (lam * (got.x0 - x0) ** 2).mean(dim=(1, 2, 3)))


def test_with_unit_data_it_is_minus_v() -> None:
    x0, t, eps = batch()
    for schedule in (linear(zero=True), cosine()):
        alpha, sigma = schedule.alpha_sigma(t)
        torch.testing.assert_close(
            Preconditioned(1.0).target(x0, eps, alpha, sigma), -V().target(x0, eps, alpha, sigma)
        )
        x_t = schedule.q_sample(x0, t, eps)
        torch.testing.assert_close(Preconditioned(1.0).input(x_t, alpha, sigma), x_t)


def test_flow_is_the_plain_error_of_the_velocity() -> None:
    x0, t, eps = batch()
    t = 0.98 * t
    x_t = rectified_flow().q_sample(x0, t, eps)
    loss = DiffusionLoss(Denoiser(Seen(), rectified_flow(), Flow()), FlowMSE())(x0, t, eps, Cond())
    torch.testing.assert_close(loss, ((x_t - (eps - x0)) ** 2).mean(dim=(1, 2, 3)))
    weights = FlowMSE().loss_weights(rectified_flow(), Flow()).float()
    assert torch.equal(weights, torch.ones(1000))


def test_densities_are_those_of_their_papers() -> None:
    shares = LogitNormal(rectified_flow(), 0.5, 0.8)(U)[0] / 999
    torch.testing.assert_close(torch.logit(shares).mean(), torch.tensor(0.5).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(torch.logit(shares).std(), torch.tensor(0.8).double(), rtol=0, atol=1e-3)
    _, sigma = edm().alpha_sigma(LognormalSigma(edm(), -1.2, 1.2)(U)[0])
    inside = (sigma > 0.0021) & (sigma < 79)
    assert inside.double().mean() > 0.999
    torch.testing.assert_close(sigma.log().median(), torch.tensor(-1.2).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(sigma[inside].log().std(), torch.tensor(1.2).double(), rtol=0, atol=2e-2)
    t = Mode(rectified_flow(), 1.29)(U)[0]
    u = 0.3
    by_hand = 1 - u - 1.29 * (math.cos(math.pi / 2 * u) ** 2 - 1 + u)
    torch.testing.assert_close(t[30_000] / 999, torch.tensor(by_hand).double(), rtol=0, atol=1e-4)
    assert bool((t.diff() <= 0).all())
    torch.testing.assert_close(Mode(rectified_flow(), 0.0)(U)[0], 999 - Uniform(rectified_flow())(U)[0])


@pytest.mark.parametrize(
    ("build", "key"),
    [
        (lambda: RectifiedFlow(1000, 0.0), "schedule.shift"),
        (lambda: EDM(1000, 0.0, 80.0), "schedule.sigma_min"),
        (lambda: EDM(1000, 0.1, 0.1), "schedule.sigma_max"),
        (lambda: EDM(1, 0.1, 1.0), "schedule.T"),
        (lambda: LogitNormal(cosine(), math.nan, 1.0), "timestep_sampler.mean"),
        (lambda: LognormalSigma(cosine(), 0.0, 0.0), "timestep_sampler.std"),
        (lambda: Mode(cosine(), 1.8), "timestep_sampler.scale"),
        (lambda: Preconditioned(0.0), "parameterization.sigma_data"),
        (lambda: PreconditionedMSE(-1.0), "weighting.sigma_data"),
        (lambda: Importance(rectified_flow(), 10, 0.1), "timestep_sampler"),
        (lambda: VLB().check(edm(), Flow()), "weighting"),
        (lambda: Denoiser(Seen(), edm(), Flow(), learned_variance=True), "diffusion.learned_variance"),
        (lambda: Denoiser(Seen(), rectified_flow(), Eps()), "parameterization"),
        (lambda: Simple().check(rectified_flow(), Eps()), "parameterization"),
    ],
)
def test_what_does_not_fit_names_its_key(build, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        build()
    assert error.value.key == key


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["schedule=rectified_flow", "parameterization=eps"], "parameterization"),
        (["schedule=edm", "parameterization=edm", "timestep_sampler=importance"], "timestep_sampler"),
        (["schedule=edm", "parameterization=edm", "weighting=vlb"], "weighting"),
        (["schedule=edm", "diffusion.learned_variance=true"], "diffusion.learned_variance"),
    ],
)
def test_planning_refuses_it(overrides: list[str], key: str) -> None:
    from ablatent.sweep.combination_rules import apply_rules

    with pytest.raises(ConfigError) as error:
        apply_rules(composed("preset=tiny", "data=digits", *overrides))
    assert error.value.key == key


@pytest.mark.parametrize("shift", [0.05, 0.1, 0.3, 0.45, 1.0, 3.0])
def test_a_flow_ends_in_pure_noise_whatever_its_shift(shift: float) -> None:
    s = RectifiedFlow(1000, shift)
    assert s.terminal_snr == 0
    alpha, sigma = s.alpha_sigma(torch.tensor([-1.0, 999.0]))
    assert alpha.tolist() == [1, 0] and sigma.tolist() == [0, 1]
    t = s.t_of_log_snr(torch.tensor([-80.0, -70.0, 800.0], dtype=torch.float64))
    assert t.max() <= 999 and t[2] == -1


def test_weighting_goes_by_the_deviation_of_the_parameterization() -> None:
    config = composed("preset=tiny", "data=digits", "parameterization=edm", "parameterization.sigma_data=0.5")
    assert config["weighting"]["sigma_data"] == 0.5
    assert composed("preset=tiny", "data=digits", "weighting=edm")["weighting"]["sigma_data"] == 1.0
