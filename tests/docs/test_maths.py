"""The equations of docs/maths.md, one by one: what they give in plain numbers is what the code gives."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from continuous_equations import check_continuous
from first_stage_equations import GENERATOR, check_first_stages, close, draw

from ablatent.core.types import Cond, Prediction
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.loss import DiffusionLoss
from ablatent.diffusion.parameterization import X0, Eps, V
from ablatent.diffusion.timesteps import Importance
from ablatent.diffusion.weighting import P2, VLB, X0MSE, MinSNR, Simple, VelocityMSE
from ablatent.samplers.base import SolverState, nodes_of
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.ddpm import DDPM
from ablatent.samplers.deis import DEIS
from ablatent.samplers.dpm_solver import DPMSolver
from ablatent.samplers.dpm_solver_3 import DPMSolver3
from ablatent.samplers.dpm_solver_sde import DPMSolverSDE
from ablatent.samplers.euler import Euler
from ablatent.samplers.flow_heun import FlowHeun
from ablatent.samplers.guidance import ClassifierFree, GuidanceInputs
from ablatent.samplers.guidance_auto import AutoGuidance
from ablatent.samplers.guidance_classifier import ClassifierGuidance
from ablatent.samplers.guidance_rescaled import RescaledClassifierFree
from ablatent.samplers.heun import Heun
from ablatent.samplers.plms import PLMS
from ablatent.samplers.unipc import UniPC
from ablatent.schedules.cosine import Cosine
from ablatent.schedules.linear import Linear
from ablatent.schedules.scaled_linear import ScaledLinear
from ablatent.schedules.sigmoid import Sigmoid
from ablatent.training.ema import EMA

PAGE = (Path(__file__).parents[2] / "docs" / "maths.md").read_text()
SCHEDULE = Linear(20, 0.01, 0.3, False)
A2 = np.cumprod(1 - np.linspace(0.01, 0.3, 20))
A, S, SNR = np.sqrt(A2), np.sqrt(1 - A2), A2 / (1 - A2)
TIMES = (17.0, 12.0, 8.0, 5.0, 3.0)
"""Of the nodes of samplers here."""


def check_forward_process() -> tuple[int, ...]:
    x0, eps, t = draw(), draw(), torch.tensor([3, 11])
    a, s = (v[[3, 11]].reshape(2, 1, 1, 1) for v in (A, S))
    close(SCHEDULE.q_sample(x0, t, eps), a * x0.numpy() + s * eps.numpy())
    close(SCHEDULE.alphas_cumprod, A2)
    close(SCHEDULE.log_snr(torch.arange(20)), np.log(SNR))
    phi = 0.7 * math.atan(S[4] / A[4]) + 0.3 * math.atan(S[5] / A[5])
    close(torch.stack(SCHEDULE.alpha_sigma(torch.tensor([4.3]).double()))[:, 0], [math.cos(phi), math.sin(phi)], 1e-7)
    return 1, 2, 3, 4


def check_schedules() -> tuple[int, ...]:
    T, low, high, t = 20, 0.01, 0.3, np.arange(20)
    close(Linear(T, low, high, False).betas, low + t / (T - 1) * (high - low))
    close(ScaledLinear(T, low, high, False).betas, (low**0.5 + t / (T - 1) * (high**0.5 - low**0.5)) ** 2)

    def f(t):
        return np.cos((t / T + 0.008) / 1.008 * np.pi / 2) ** 2

    close(Cosine(T, 0.008, 0.999, False).betas, np.minimum(1 - f(t + 1) / f(t), 0.999))
    u = -6 + 12 * t / (T - 1)
    close(Sigmoid(T, low, high, 6, False).betas, low + (high - low) / (1 + np.exp(-u)))
    close(Linear(T, low, high, True).alphas_cumprod.sqrt(), (A - A[-1]) * A[0] / (A[0] - A[-1]))
    return 5, 6, 7, 8, 9


def check_parameterizations() -> tuple[int, ...]:
    x0, eps, t = draw(), draw(), torch.tensor([2, 15])
    x_t, (a, s) = SCHEDULE.q_sample(x0, t, eps), SCHEDULE.alpha_sigma(t)
    am, sm = a.reshape(2, 1, 1, 1), s.reshape(2, 1, 1, 1)
    out = draw()
    close(Eps().prediction(out, x_t, a, s).x0, (x_t - sm * out) / am)
    close(X0().prediction(out, x_t, a, s).eps, (x_t - am * out) / sm)
    close(V().target(x0, eps, a, s), am * eps - sm * x0)
    p = V().prediction(out, x_t, a, s)
    close(p.x0, am * x_t - sm * out)
    close(p.eps, sm * x_t + am * out)
    alpha2, sigma2 = torch.from_numpy(A2), torch.from_numpy(1 - A2)
    for kind, g in ((Eps(), 1 / SNR), (X0(), np.ones(20)), (V(), 1 - A2)):
        close(kind.g(alpha2, sigma2), g)
        x0_hat = [kind.prediction(o * torch.ones_like(x_t), x_t, a, s).x0 for o in (0.0, 1.0)]
        close(((x0_hat[1] - x0_hat[0]) ** 2)[:, 0, 0, 0], g[[2, 15]])
    return 10, 11, 12, 13


class Answer(torch.nn.Module):
    """A network that answers `out` to everything."""

    def __init__(self, out: torch.Tensor):
        super().__init__()
        self.out = out

    def forward(self, x_t, t, cond):
        return self.out


def denoiser(out: torch.Tensor, fraction: torch.Tensor | None = None) -> Denoiser:
    answer = out if fraction is None else torch.cat([out, 2 * fraction - 1], dim=1)
    return Denoiser(Answer(answer), SCHEDULE, V(), learned_variance=fraction is not None)


def check_losses() -> tuple[int, ...]:
    x0, eps, out, t = draw(), draw(), draw(), torch.tensor([4, 9])
    a, s = SCHEDULE.alpha_sigma(t)
    residual = (out - V().target(x0, eps, a, s)).numpy()
    wg = (np.minimum(SNR, 5) * (1 - A2))[[4, 9]].reshape(2, 1, 1, 1)
    for rho, penalty in (("mse", np.square), ("l1", np.abs)):
        got = DiffusionLoss(denoiser(out), MinSNR(5.0), rho)(x0, t, eps, Cond())
        close(got, penalty(np.sqrt(wg) * residual).mean((1, 2, 3)))
    expected = {Simple(): SNR, VelocityMSE(): SNR + 1, X0MSE(): np.ones(20), MinSNR(5.0): np.minimum(SNR, 5)}
    expected |= {P2(1.0, 0.5): SNR / (1 + SNR) ** 0.5}
    expected[VLB()] = np.concatenate([[1 / (2 * S[0] ** 2)], (SNR[:-1] - SNR[1:]) / 2])
    for weighting, w in expected.items():
        close(weighting.loss_weights(SCHEDULE, X0()), w)
        close(weighting.loss_weights(SCHEDULE, Eps()), w / SNR)
        close(weighting.loss_weights(SCHEDULE, V()), w * (1 - A2))
    times = Importance(Linear(4, 0.01, 0.3, False), 1, 1e-12)
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0]).double()
    times.update(torch.arange(4), losses)
    close(times.probabilities(), losses / 10)
    drawn, weight = times(torch.rand(9, generator=GENERATOR, dtype=torch.float64))
    close(weight, 1 / (4 * losses[drawn] / 10))
    # The variance that the network says, between beta_tilde and beta, and Gaussians of that variance.
    fraction = draw().sigmoid()
    plain = DiffusionLoss(denoiser(out), Simple(), "mse")(x0, t, eps, Cond())
    hybrid = DiffusionLoss(denoiser(out, fraction), Simple(), "mse", vlb_weight=0.01)(x0, t, eps, Cond())
    beta, before = (1 - A2 / np.concatenate([[1.0], A2[:-1]]))[[4, 9]], A2[[3, 8]]
    tilde = beta * (1 - before) / (1 - A2[[4, 9]])
    q, mine = (torch.from_numpy(v).reshape(2, 1, 1, 1) for v in (tilde, np.sqrt(before) * beta / (1 - A2[[4, 9]])))
    variance = torch.exp(fraction * torch.from_numpy(np.log(beta)).reshape(2, 1, 1, 1) + (1 - fraction) * q.log())
    x0_hat = V().prediction(out, SCHEDULE.q_sample(x0, t, eps), a, s).x0
    normal = torch.distributions.Normal
    kl = torch.distributions.kl_divergence(normal(mine * x0, q.sqrt()), normal(mine * x0_hat, variance.sqrt()))
    close(hybrid - plain, 0.01 * 20 * kl.mean((1, 2, 3)))
    assert EMA(0.9, True).decay_at(3) == 4 / 13 and EMA(0.9, True).decay_at(10**6) == 0.9
    return 14, 15, 16, 17, 18, 19


class Walk:
    """A sampler's nodes, with a denoiser whose answers are linear in x_t, and the noise of its steps."""

    def __init__(self, predictions: int = 0):
        self.nodes = nodes_of(SCHEDULE, np.array(TIMES))
        self.z, self.x = draw(), draw()
        before = [self.predict(draw(), node) for node in self.nodes[:predictions]]
        self.state = SolverState(SCHEDULE, self.nodes, self.predict, lambda i, like: self.z, before)

    def predict(self, x, node, fraction=0.3):
        x0 = 0.4 * x + 0.1 * node.sigma
        return Prediction(x0, (x - node.alpha * x0) / node.sigma, torch.full_like(x, fraction))

    def at(self, i: int):
        """alpha and sigma at node i and the next, and the half log-SNR step."""
        t, s = self.nodes[i], self.nodes[i + 1]
        return t.alpha, t.sigma, s.alpha, s.sigma, math.log(s.alpha / s.sigma) - math.log(t.alpha / t.sigma)

    def step(self, sampler, i: int):
        return sampler.step(self.state, i, self.x)[0]


def check_samplers() -> tuple[int, ...]:
    w = Walk()
    at, st, as_, ss, h = w.at(0)
    p = w.predict(w.x, w.nodes[0])
    beta = 1 - at**2 / as_**2
    tilde = beta * ss**2 / st**2
    mean = at / as_ * ss**2 / st**2 * w.x + as_ * beta / st**2 * p.x0
    learned = math.exp(0.3 * math.log(beta) + 0.7 * math.log(tilde))
    for name, variance in (("beta", beta), ("beta_tilde", tilde), ("learned", learned)):
        close(w.step(DDPM(5, variance=name), 0), mean + math.sqrt(variance) * w.z)
    expected = as_ * p.x0 + math.sqrt(ss**2 - 0.25 * tilde) * p.eps + 0.5 * math.sqrt(tilde) * w.z
    close(w.step(DDIM(5, eta=0.5), 0), expected)
    end = w.predict(as_ * p.x0 + ss * p.eps, w.nodes[1]).eps
    close(w.step(Heun(5), 0), as_ * (w.x / at + (ss / as_ - st / at) * (p.eps + end) / 2))

    w = Walk(3)
    at, st, as_, ss, h = w.at(3)
    p, before = w.predict(w.x, w.nodes[3]), w.state.predictions
    e = (55 * p.eps - 59 * before[2].eps + 37 * before[1].eps - 9 * before[0].eps) / 24
    close(w.step(PLMS(5), 3), as_ * (w.x - st * e) / at + ss * e)
    big_d = p.x0 + h / (2 * w.at(2)[4]) * (p.x0 - before[2].x0)
    two_m = ss / st * w.x - as_ * (math.exp(-h) - 1) * big_d
    close(w.step(DPMSolver(5), 3), two_m)
    noise = ss * math.sqrt(1 - math.exp(-2 * h)) * w.z
    close(w.step(DPMSolverSDE(5), 3), ss / st * math.exp(-h) * w.x + as_ * (1 - math.exp(-2 * h)) * big_d + noise)

    # UniPC: the state that its predictor reached from x_p, corrected, then the predictor's next step from there.
    x_p, (o, p_) = draw(), before[1:]
    ap, sp, at, st, h = w.at(2)
    r = (math.log(w.nodes[1].alpha / w.nodes[1].sigma) - math.log(ap / sp)) / h
    d1, b = (o.x0 - p_.x0) / r, math.exp(-h) - 1
    base = st / sp * x_p - at * b * p_.x0
    w.x = base - at * b * 0.5 * d1
    now = w.predict(w.x, w.nodes[3]).x0
    b1 = (b / -h - 1) / b
    rho1, rho2 = np.linalg.solve([[1, 1], [r, 1]], [b1, 2 / b * ((b / -h - 1) / -h - 0.5)])
    corrected = base - at * b * (rho1 * d1 + rho2 * (now - p_.x0))
    as_, ss, h = w.at(3)[2:]
    big_d = now + h / (2 * w.at(2)[4]) * (now - p_.x0)
    close(w.step(UniPC(5), 3), ss / st * corrected - as_ * (math.exp(-h) - 1) * big_d)
    return 20, 21, 22, 23, 24, 25, 26, 27


def integral(f, a: float, b: float):
    """Of f, whose values are tensors, by Simpson's rule."""
    at, h = np.linspace(a, b, 401), (b - a) / 400
    return sum((1 if i in (0, 400) else 4 if i % 2 else 2) * f(x) for i, x in enumerate(at)) * (h / 3)


def parabola(places: list[float], values: list[torch.Tensor]):
    """Through three points, by Lagrange's formula."""

    def at(x: float) -> torch.Tensor:
        shares = [math.prod((x - q) / (p - q) for q in places if q != p) for p in places]
        return sum(share * value for share, value in zip(shares, values, strict=True))

    return at


def check_further_samplers() -> tuple[int, ...]:
    w = Walk(3)
    w.state.predictions = w.state.predictions[-2:]
    at, st, as_, ss, _ = w.at(3)
    p = w.predict(w.x, w.nodes[3])
    euler = w.x + (as_ - at) * p.x0 + (ss - st) * p.eps
    close(w.step(Euler(5), 3), euler)
    end = w.predict(euler, w.nodes[4])
    heun = w.x + (as_ - at) * (p.x0 + end.x0) / 2 + (ss - st) * (p.eps + end.eps) / 2
    close(w.step(FlowHeun(5), 3), heun)
    last = [*w.state.predictions, p]
    lam = [node.half_log_snr for node in w.nodes[1:5]]
    x0 = parabola(lam[:3], [q.x0 for q in last])
    expected = ss / st * w.x + ss * integral(lambda v: math.exp(v) * x0(v), lam[2], lam[3])
    close(w.step(DPMSolver3(5), 3), expected, 1e-7)
    eps = parabola([-v for v in lam[:3]], [q.eps for q in last])
    moved = integral(lambda v: math.exp(v) * eps(v), -lam[2], -lam[3])
    close(w.step(DEIS(5, variable="log_rho"), 3), as_ * (w.x / at + moved), 1e-7)
    raised = st / at * (1 + min(2 / 5, math.sqrt(2) - 1))
    t_hat = SCHEDULE.t_of_log_snr(torch.tensor([-2 * math.log(raised)], dtype=torch.float64))
    (node,) = nodes_of(SCHEDULE, t_hat.numpy())
    x = node.alpha * (w.x / at + 1.01 * math.sqrt(raised**2 - (st / at) ** 2) * w.z)
    p = w.predict(x, node)
    end = w.predict(as_ * p.x0 + ss * p.eps, w.nodes[4]).eps
    close(
        w.step(Heun(5, s_churn=2.0, s_noise=1.01), 3), as_ * (x / node.alpha + (ss / as_ - raised) * (p.eps + end) / 2)
    )
    return 46, 47, 48, 49


class Doubled:
    """A denoiser whose x_0 is the condition's number times x_t."""

    schedule = SCHEDULE

    def __call__(self, x, t, cond):
        a, s = (v.reshape(-1, 1, 1, 1) for v in SCHEDULE.alpha_sigma(t))
        x0 = cond.vector[:, :1, None, None] * x
        return Prediction(x0, (x - a * x0) / s)


def check_guidance() -> tuple[int, ...]:
    x, t, model = draw(), torch.full((2,), 7.0, dtype=torch.float64), Doubled()
    cond, null = (Cond(vector=torch.full((2, 1), v, dtype=torch.float64)) for v in (0.5, 0.2))
    with_cond, without = model(x, t, cond), model(x, t, null)
    gradient = 0.1 * x
    inputs = GuidanceInputs(model, cond, null, weak=lambda x, t: model(x, t, null), classifier=lambda x, t: gradient)
    guided = without.x0 + 3 * (with_cond.x0 - without.x0)
    close(ClassifierFree(3.0)(inputs)(x, t).eps, without.eps + 3 * (with_cond.eps - without.eps))
    close(AutoGuidance(3.0)(inputs)(x, t).x0, guided)
    ratio = with_cond.x0.numpy().std((1, 2, 3), keepdims=True) / guided.numpy().std((1, 2, 3), keepdims=True)
    close(RescaledClassifierFree(3.0, phi=0.7)(inputs)(x, t).x0, (0.7 * ratio + 0.3) * guided.numpy())
    p = ClassifierGuidance(2.0)(inputs)(x, t)
    close(p.eps, with_cond.eps - S[7] * 2 * gradient)
    close(p.x0, with_cond.x0 + S[7] ** 2 / A[7] * 2 * gradient)
    return 28, 29, 30, 31


CHECKS = [
    *(check_forward_process, check_schedules, check_parameterizations, check_losses, check_samplers),
    *(check_guidance, check_first_stages, check_continuous, check_further_samplers),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_equations_are_those_of_the_code(check) -> None:
    assert check()


def test_every_equation_of_the_page_is_checked_and_has_a_source_and_a_place() -> None:
    checked = [number for check in CHECKS for number in check()]
    paragraphs = re.findall(r"^\*\*\((\d+)\)\*\*(.*?)\n\n```math$", PAGE, re.M | re.S)
    assert [int(number) for number, _ in paragraphs] == checked
    source = "\n".join(p.read_text() for p in (Path(__file__).parents[2] / "src" / "ablatent").rglob("*.py"))
    defined = set(re.findall(r"^ *(?:class|def) (\w+)", source, re.M))
    for number, text in paragraphs:
        assert {place.split(".")[-1] for place in re.findall(r"`([\w.]+)`", text)} & defined, number
