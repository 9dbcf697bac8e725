"""The equations of first stages of docs/maths.md, and what all of these checks share."""

import numpy as np
import torch

from ablatent.data.latents import ChannelMoments, LatentNormalizer
from ablatent.first_stage.base import Reconstruction
from ablatent.first_stage.codebook import Codebook
from ablatent.first_stage.discriminator import PatchGAN
from ablatent.first_stage.fsq import ScalarQuantiser
from ablatent.first_stage.kl import gaussian_kl
from ablatent.first_stage.losses import AutoencoderLoss, gradient_penalty, hinge

GENERATOR = torch.Generator().manual_seed(0)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*(shape or (2, 3, 4, 4)), generator=GENERATOR, dtype=torch.float64)


def close(got, expected, rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(np.asarray(got, dtype=np.float64), np.asarray(expected), rtol=rtol, atol=1e-11)


def check_first_stages() -> tuple[int, ...]:
    mean, logvar = draw(), draw()
    variance = logvar.exp()
    close(gaussian_kl(mean, logvar), ((mean**2 + variance - 1 - logvar) / 2).sum((1, 2, 3)))
    book = Codebook(n_embed=5, dim=3, beta=0.25, restart_every=None, init="uniform", update="ema", ema_decay=0.9)
    book = book.double()
    codes, z = book.weight.detach().clone(), draw()
    rows = z.permute(0, 2, 3, 1).reshape(-1, 3)
    chosen = ((rows[:, None] - codes) ** 2).sum(-1).argmin(1)
    plain = Codebook(n_embed=5, dim=3, beta=0.25, restart_every=None, init="uniform").double()
    plain.weight.data.copy_(codes)
    z_q, loss = plain(z)
    error = ((rows - codes[chosen]) ** 2).mean()
    close(loss.detach(), 1.25 * error)
    close(z_q.detach().permute(0, 2, 3, 1).reshape(-1, 3), codes[chosen])
    book(z)
    book.learn()
    counts = 0.9 + 0.1 * torch.bincount(chosen, minlength=5).double()
    sums = 0.9 * codes + 0.1 * torch.stack([rows[chosen == k].sum(0) for k in range(5)])
    close(book.weight.detach(), sums / counts[:, None], 1e-4)  # but for the smoothing of counts

    real, fake = draw(8), draw(8)
    close(hinge(real, fake), ((1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()) / 2)
    critic = PatchGAN(ch=4, layers=1, norm="none")
    last = torch.nn.Conv2d(3, 3, 1)
    x, features = draw(2, 3, 8, 8).float(), draw(2, 3, 8, 8).float()
    constructor = {"pixel": "l1", "pixel_weight": 1.0, "perceptual_weight": 0.0, "perceptual_batch": None}
    weights = {"regularizer_weight": 0.1, "disc_weight": 0.5, "disc_start": 0, "disc_warmup": 0, "disc_loss": "hinge"}
    loss_of = AutoencoderLoss(perceptual=None, discriminator=critic, r1_weight=10.0, **constructor, **weights)
    x_hat = last(features)
    rec = Reconstruction(x_hat=x_hat, regularizer=torch.tensor(2.0), regularizer_name="kl", stats={})
    got, logs = loss_of.generator_loss(x, rec, last.weight, 0)
    l_rec = (x_hat - x).abs().mean()
    norms = [torch.autograd.grad(v, last.weight, retain_graph=True)[0].norm() for v in (l_rec, critic(x_hat).mean())]
    weight = 0.5 * norms[0] / (norms[1] + 1e-4)
    close(logs["adaptive_weight"], weight.detach(), 1e-4)
    close(got.detach(), (l_rec + 0.1 * 2 - weight * critic(x_hat).mean()).detach(), 1e-4)
    of_critic, _ = loss_of.critic_loss(x, x_hat.detach(), 0)
    inner = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(critic(inner).sum(), inner)
    r1 = (slope**2).sum((1, 2, 3)).mean()
    close(gradient_penalty(critic, x).detach(), r1, 1e-5)
    close(of_critic.detach(), (hinge(critic(x), critic(x_hat)) + 5 * r1).detach(), 1e-5)

    means, stds = draw(6, 3, 4, 4).numpy(), np.abs(draw(6, 3, 4, 4).numpy())
    fitted = LatentNormalizer.fit(ChannelMoments.of(lambda: iter([(means, stds)]), 6 * 16), "channel")
    raw, over = draw(), (0, 2, 3)
    m, deviation = means.mean(over), np.sqrt(means.var(over) + (stds**2).mean(over))
    close(fitted.normalize(raw), (raw.numpy() - m[:, None, None]) / deviation[:, None, None])
    check_scalar_quantiser()
    return 32, 33, 34, 35, 36, 37, 38, 39


def check_scalar_quantiser() -> None:
    h, levels, index = 2 * draw(), (8, 5, 2), 0
    quantiser = ScalarQuantiser(levels)
    z = quantiser.bound(h)
    for i, n in enumerate(levels):
        a, o, half_width = (n - 1) * (1 - 1e-3) / 2, (1 - n % 2) / 2, n // 2
        bounded = (a * np.tanh(h[:, i].numpy() + np.tan(o / a)) - o) / half_width
        close(2 + z[:, i], 2 + bounded, 1e-6)  # constants are float32, and z may be 0
        rounded = np.round(half_width * z[:, i].numpy()) / half_width
        close(quantiser.quantise(z)[:, i], rounded)
        index = index + half_width * (rounded + 1) * np.prod(levels[:i])
    close(quantiser.index(z), index)
