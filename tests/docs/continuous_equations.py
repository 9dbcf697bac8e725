"""The equations of docs/maths.md on flow matching and EDM, in plain numbers."""

import math

import numpy as np
import torch
from first_stage_equations import close, draw

from ablatent.diffusion.densities import LogitNormal, LognormalSigma, Mode
from ablatent.diffusion.edm import Preconditioned, PreconditionedMSE
from ablatent.diffusion.flow import Flow, FlowMSE
from ablatent.diffusion.parameterization import X0
from ablatent.schedules.edm import EDM
from ablatent.schedules.rectified_flow import RectifiedFlow


def check_continuous() -> tuple[int, ...]:
    t = np.array([3.0, 11.5])
    times = torch.from_numpy(t)
    flow, edm = RectifiedFlow(20, 3.0), EDM(20, 0.01, 50.0)
    u = (t + 1) / 20
    s = 3 * u / (1 + 2 * u)
    close(torch.stack(flow.alpha_sigma(times)), np.stack([1 - s, s]))
    sigma = 0.01 * 5000 ** (t / 19)
    close(torch.stack(edm.alpha_sigma(times)), np.stack([np.ones(2), sigma]))

    x0, eps, out = draw(), draw(), draw()
    for schedule, alpha, noise in ((flow, 1 - s, s), (edm, np.ones(2), sigma)):
        a, b = (torch.from_numpy(v) for v in (alpha, noise))
        am, bm = (v.reshape(2, 1, 1, 1) for v in (a, b))
        x_t = schedule.q_sample(x0, times, eps)
        close(Flow().target(x0, eps, a, b), eps - x0)
        close(Flow().prediction(out, x_t, a, b).x0, (x_t - bm * out) / (am + bm))
        close(Flow().g(a**2, b**2), noise**2 / (alpha + noise) ** 2)
        c = (bm**2 + 0.25 * am**2).sqrt()
        close(Preconditioned(0.5).input(x_t, a, b), x_t / c)
        close(Preconditioned(0.5).prediction(out, x_t, a, b).x0, 0.25 * am / c**2 * x_t + 0.5 * bm / c * out)
        close(Preconditioned(0.5).g(a**2, b**2), 0.25 * noise**2 / (noise**2 + 0.25 * alpha**2))
        snr = (alpha / noise) ** 2
        close(FlowMSE().loss_weights(schedule, X0(), times), (1 + np.sqrt(snr)) ** 2)
        close(PreconditionedMSE(0.5).loss_weights(schedule, X0(), times), snr + 4)

    q = torch.tensor([0.2, 0.7], dtype=torch.float64)
    n = torch.distributions.Normal(0.0, 1.0).icdf(q)
    close(LogitNormal(flow, 0.3, 0.8)(q)[0] / 19, 1 / (1 + np.exp(-(0.3 + 0.8 * n.numpy()))))
    close(Mode(flow, 1.1)(q)[0] / 19, 1 - q - 1.1 * (np.cos(math.pi * q.numpy() / 2) ** 2 - 1 + q.numpy()))
    close(edm.alpha_sigma(LognormalSigma(edm, -1.2, 1.2)(q)[0])[1], np.exp(-1.2 + 1.2 * n.numpy()))
    return 40, 41, 42, 43, 44, 45
