from typing import Any

import pytest
import torch
from first_stage_parts import SMALL
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.first_stage.base import Reconstruction
from ablatent.first_stage.discriminator import PatchGAN
from ablatent.first_stage.kl import KLAutoencoder, gaussian_kl
from ablatent.first_stage.losses import AutoencoderLoss, gradient_penalty, hinge, vanilla
from ablatent.first_stage.perceptual import Perceptual


class Edges(Perceptual):
    """A real, small perceptual distance: squared difference of horizontal gradients; counts what it saw."""

    name, smallest, digest = "edges", 2, None

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen = 0

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        self.seen = len(x)
        return self.scale * (x - y).diff(dim=-1).square().mean(dim=(1, 2, 3))


def make(**changes: Any) -> AutoencoderLoss:
    torch.manual_seed(1)
    options: dict[str, Any] = {
        "perceptual": Edges(),
        "pixel": "l1",
        "pixel_weight": 1.0,
        "perceptual_weight": 0.5,
        "perceptual_batch": None,
        "regularizer_weight": 1e-6,
        "discriminator": PatchGAN(ch=8),
        "disc_weight": 0.5,
        "disc_start": 10,
        "disc_warmup": 4,
        "disc_loss": "hinge",
        "adaptive_max": 1e4,
    }
    return AutoencoderLoss(**{**options, **changes})


@pytest.fixture
def model() -> KLAutoencoder:
    torch.manual_seed(0)
    return KLAutoencoder(**SMALL)


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(2)
    return torch.rand(4, 3, 32, 32) * 2 - 1


def gradients(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_kl_weight_keeps_the_published_meaning(model: KLAutoencoder, x: Tensor) -> None:
    """Means with our normalisation are the published sums per image, divided by 3*H*W."""
    kl_weight = 1e-2
    model.double()
    x, noise = x.double(), torch.randn(4, 4, 8, 8).double()
    rec = model(x, noise)
    ours, _ = make(perceptual_weight=0.0, regularizer_weight=kl_weight).generator_loss(x, rec, model.last_layer(), 0)
    m = model.moments(x)
    kl = gaussian_kl(m.mean, 2 * m.std.log())
    published = ((rec.x_hat - x).abs().sum() + kl_weight * kl.sum()) / 4
    assert torch.allclose(ours * x[0].numel(), published)
    by_means = (rec.x_hat - x).abs().mean() + kl_weight * (4 * 8 * 8) / (3 * 32 * 32) * kl.mean() / (4 * 8 * 8)
    assert torch.allclose(ours, by_means)


def test_adversarial_loss_and_gradients_equal_the_written_out_formula(model: KLAutoencoder, x: Tensor) -> None:
    loss = make(regularizer_weight=0.1).double()
    model.double()
    x, noise = x.double(), torch.randn(4, 4, 8, 8).double()

    rec = model(x, noise)
    total, logs = loss.generator_loss(x, rec, model.last_layer(), 10)
    total.backward()
    ours = gradients(model)
    assert all(p.grad is None for p in loss.parameters())  # neither critic nor features learn from it

    model.zero_grad()
    rec = model(x, noise)
    nll = (rec.x_hat - x).abs().mean() + 0.5 * loss.perceptual(x, rec.x_hat).mean()
    g = -loss.discriminator(rec.x_hat).mean()
    (a,) = torch.autograd.grad(nll, model.last_layer(), retain_graph=True)
    (b,) = torch.autograd.grad(g, model.last_layer(), retain_graph=True)
    weight = 0.5 * a.norm() / (b.norm() + 1e-4)
    expected = nll + weight * g + 0.1 * rec.regularizer
    expected.backward()
    assert torch.allclose(total, expected)
    assert torch.allclose(logs["adaptive_weight"], weight)
    assert torch.allclose(logs["last_layer_nll"], a.norm()) and torch.allclose(logs["last_layer_generator"], b.norm())
    assert torch.allclose(ours, gradients(model))


def test_the_critic_warms_up_and_then_counts(model: KLAutoencoder, x: Tensor) -> None:
    loss = make(disc_start=10, disc_warmup=4)
    noise = torch.zeros(4, 4, 8, 8)
    calls: list[int] = []
    loss.discriminator.register_forward_pre_hook(lambda *_: calls.append(1))
    for step, critic, counts in [
        (0, False, False),
        (5, False, False),
        (6, True, False),
        (9, True, False),
        (10, True, True),
    ]:
        rec = model(x, noise)
        calls.clear()
        _, logs = loss.generator_loss(x, rec, model.last_layer(), step)
        assert bool(calls) == counts
        assert float(logs["disc_active"]) == counts
        assert (float(logs["adaptive_weight"]) > 0) == counts
        value, critic_logs = loss.critic_loss(x, rec.x_hat.detach(), step)
        assert (value is not None) == critic
        assert set(critic_logs) == ({"critic", "logits_real", "logits_fake"} if critic else set())
        assert not any(v.requires_grad for v in {**logs, **critic_logs}.values())


def test_without_a_start_the_critic_never_runs(model: KLAutoencoder, x: Tensor) -> None:
    loss = make(disc_start=None)
    rec = model(x, torch.zeros(4, 4, 8, 8))
    assert float(loss.generator_loss(x, rec, model.last_layer(), 10**9)[1]["disc_active"]) == 0
    assert loss.critic_loss(x, rec.x_hat.detach(), 10**9) == (None, {})


def test_validation_works_without_gradients(model: KLAutoencoder, x: Tensor) -> None:
    with torch.no_grad():
        value, logs = make().generator_loss(x, model(x, torch.zeros(4, 4, 8, 8)), model.last_layer(), 10)
    assert torch.isfinite(value)
    assert float(logs["generator"]) == 0


def test_adaptive_weight_is_bounded(model: KLAutoencoder, x: Tensor) -> None:
    rec = model(x, torch.zeros(4, 4, 8, 8))
    _, logs = make(adaptive_max=1e-3).generator_loss(x, rec, model.last_layer(), 10)
    assert float(logs["adaptive_weight"]) == pytest.approx(0.5e-3)


def released_kl_loss(loss: AutoencoderLoss, x: Tensor, x_hat: Tensor, kl: Tensor, last_layer: nn.Parameter) -> Tensor:
    """LPIPSWithDiscriminator of the released code, optimiser 0, written out: sums over an image's values, logvar 0."""
    rec_loss = (x - x_hat).abs() + 0.5 * loss.perceptual(x, x_hat)[:, None, None, None]
    nll_loss = rec_loss.sum() / len(x)
    kl_loss = kl.sum() / len(x)
    g_loss = -loss.discriminator(x_hat).mean()
    nll_grads = torch.autograd.grad(nll_loss, last_layer, retain_graph=True)[0]
    g_grads = torch.autograd.grad(g_loss, last_layer, retain_graph=True)[0]
    d_weight = torch.norm(nll_grads) / (torch.norm(g_grads) + 1e-4)
    d_weight = torch.clamp(d_weight, 0.0, 1e4).detach() * 0.5
    return nll_loss + 1e-2 * kl_loss + d_weight * g_loss


@pytest.mark.parametrize("score", [50.0, 1e-3])
@pytest.mark.parametrize("size", [32, 64])
def test_adaptive_max_of_sums_is_the_released_clamp_at_every_resolution(
    model: KLAutoencoder, size: int, score: float
) -> None:
    """The critic's score scaled by `score`: without, and with a ratio beyond the clamp."""
    model.double()
    x, noise = torch.rand(2, 3, size, size).double() * 2 - 1, torch.randn(2, 4, size // 4, size // 4).double()
    values: dict[str, tuple[Tensor, Tensor]] = {}
    weights = {}
    for reduction in ("sum", "mean"):
        loss = make(regularizer_weight=1e-2, adaptive_reduction=reduction).double()
        last = [m for m in loss.discriminator.modules() if isinstance(m, nn.Conv2d)][-1]
        with torch.no_grad():
            last.weight.mul_(score)
        rec = model(x, noise)
        ours, logs = loss.generator_loss(x, rec, model.last_layer(), 10)
        m = model.moments(x)
        released = released_kl_loss(loss, x, rec.x_hat, gaussian_kl(m.mean, 2 * m.std.log()), model.last_layer())
        values[reduction], weights[reduction] = (ours * x[0].numel(), released), float(logs["adaptive_weight"])
    torch.testing.assert_close(*values["sum"], rtol=1e-7, atol=0)  # scores and distances are float32
    clamped = score < 1
    assert (weights["sum"] == pytest.approx(0.5 * 1e4 / (3 * size**2))) == clamped
    assert torch.allclose(*values["mean"], rtol=1e-6) != clamped, "the clamp would be 3 H W times looser"


def test_at_256_pixels_the_published_clamp_is_a_twentieth() -> None:
    """Equal to the released loss at 256² px, where 1e4 in sums is 0.0509 in means."""
    x = torch.zeros(1, 3, 256, 256)
    last_layer = nn.Parameter(torch.ones(3, 3, 1, 1))
    x_hat = nn.functional.conv2d(torch.rand_like(x), last_layer)
    loss = make(perceptual_weight=0.0, adaptive_reduction="sum", disc_weight=1.0)
    _, logs = loss.generator_loss(x, Reconstruction(x_hat, torch.zeros(()), "kl"), last_layer, 10)
    assert float(logs["adaptive_weight"]) == pytest.approx(0.0509, abs=5e-5)


def test_the_critic_learns_to_tell_reconstructions(x: Tensor) -> None:
    loss = make(disc_start=0, disc_warmup=0)
    optimizer = torch.optim.Adam(loss.discriminator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    blurred = torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1)
    for step in range(40):
        value, logs = loss.critic_loss(x, blurred, step)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert float(logs["logits_real"]) > float(logs["logits_fake"]) + 0.5
    assert float(logs["critic"]) < 0.9


def test_r1_is_the_squared_gradient_on_real_images_and_reaches_the_critic(x: Tensor) -> None:
    """A critic with two patches, whose gradient is known: D(x) = sum of w * x + (sum of w * x)^2 / 2."""

    class Known(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.full((3, 32, 32), 0.01))

        def forward(self, x: Tensor) -> Tensor:
            linear = (self.w * x).sum(dim=(1, 2, 3))
            return torch.stack([linear, 0.5 * linear.square()], dim=1)

    critic = Known()
    slope = 1 + (critic.w * x).sum(dim=(1, 2, 3))
    expected = (slope.square() * critic.w.square().sum()).mean()
    got = gradient_penalty(critic, x)
    assert torch.allclose(got, expected)
    (ours,), (reference,) = torch.autograd.grad(got, critic.w), torch.autograd.grad(expected, critic.w)
    assert torch.allclose(ours, reference, atol=1e-6)
    assert x.grad is None


def test_r1_is_lazy_and_keeps_its_mean_weight(x: Tensor) -> None:
    plain, lazy = make(disc_start=0), make(disc_start=0, r1_weight=10.0, r1_every=4)
    for step in range(8):
        without, _ = plain.critic_loss(x, -x, step)
        value, logs = lazy.critic_loss(x, -x, step)
        assert ("r1" in logs) == (step in (0, 4))
        penalty = 0.5 * 10.0 * 4 * logs["r1"] if "r1" in logs else 0.0
        assert torch.allclose(value, without + penalty)
        assert torch.allclose(logs["critic"], without)


def test_critic_losses() -> None:
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])
    assert hinge(real, fake) == pytest.approx(0.5 * (0.25 + 0.5))
    bce = nn.functional.binary_cross_entropy_with_logits
    assert torch.allclose(vanilla(real, fake), 0.5 * (bce(real, torch.ones(2)) + bce(fake, torch.zeros(2))))


def test_perceptual_network_is_frozen_stays_in_evaluation_mode_and_sees_the_sub_batch(x: Tensor) -> None:
    loss = make(perceptual_batch=3).train()
    assert not loss.perceptual.training
    assert loss.discriminator.training
    assert not loss.perceptual.scale.requires_grad
    x_hat = (x + 0.1 * torch.randn_like(x)).requires_grad_()
    rec = Reconstruction(x_hat, torch.zeros(()), "kl")
    _, logs = loss.generator_loss(x, rec, nn.Parameter(torch.zeros(1)), 0)
    assert loss.perceptual.seen == 3
    assert torch.allclose(logs["perceptual"], Edges()(x[:3], x_hat[:3]).mean())


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"pixel": "l3"}, "pixel"),
        ({"disc_loss": "wasserstein"}, "disc_loss"),
        ({"pixel_weight": -1.0}, "pixel_weight"),
        ({"perceptual_batch": 0}, "perceptual_batch"),
        ({"disc_start": -1}, "disc_start"),
        ({"r1_weight": -1.0}, "r1_weight"),
        ({"r1_every": 0}, "r1_every"),
        ({"perceptual": None}, "perceptual"),
    ],
)
def test_bad_options_name_their_key(change: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        make(**change)
    assert error.value.key == f"first_stage.loss.{key}"


@pytest.mark.parametrize("norm", ["group", "none"])
def test_patch_critic_judges_images_alone_and_works_at_32_pixels(norm: str, x: Tensor) -> None:
    critic = PatchGAN(ch=8, norm=norm)
    assert critic(x).shape == (4, 1, 2, 2)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in critic.modules())
    assert torch.allclose(critic(x)[:1], critic(x[:1]), atol=1e-5)
    assert critic(torch.zeros(1, 3, critic.min_size, critic.min_size)).shape == (1, 1, 1, 1)
    with pytest.raises(ConfigError, match="at least 24 pixels"):
        critic(torch.zeros(1, 3, 23, 32))


def test_patch_critic_has_the_parameters_of_the_paper_and_refuses_bad_options() -> None:
    """pix2pix's 70x70 discriminator for 3 input channels: 2.77M."""
    assert round(sum(p.numel() for p in PatchGAN(ch=64).parameters()) / 1e6, 2) == 2.77
    for change in ({"ch": 0}, {"layers": 0}, {"norm": "batch"}):
        with pytest.raises(ConfigError, match=r"first_stage\.loss\.discriminator"):
            PatchGAN(**change)


def test_one_pass_of_the_critic_gives_both_losses_what_separate_passes_do(model: KLAutoencoder, x: Tensor) -> None:
    """Values and gradients of autoencoder and critic; neither loss reaches the other's parameters."""
    gradients: dict[str, list[Tensor]] = {}
    for name in ("shared", "separate"):
        loss = make(disc_start=0)
        parameters = [*model.parameters(), *loss.discriminator.parameters()]
        for p in parameters:
            p.grad = None
        rec = model(x, torch.zeros(4, 4, 8, 8))
        shared = loss.critic_pass(x, rec.x_hat) if name == "shared" else None
        if shared is not None:
            real, fake = loss.discriminator(x), loss.discriminator(rec.x_hat.detach())
            torch.testing.assert_close((shared.real, shared.fake), (real, fake))
        total, logs = loss.generator_loss(x, rec, model.last_layer(), 10, critic=shared)
        total.backward()
        assert all(p.grad is None for p in loss.discriminator.parameters())
        trained = [p for p in model.parameters() if p.grad is not None]
        own = [p.grad.clone() for p in trained]
        value, critic_logs = loss.critic_loss(x, rec.x_hat.detach(), 10, shared)
        value.backward(inputs=list(loss.discriminator.parameters()))
        assert all(torch.equal(p.grad, g) for p, g in zip(trained, own, strict=True))
        gradients[name] = [total.detach(), value.detach(), *own, *(p.grad for p in loss.discriminator.parameters())]
        assert logs["generator"] == -critic_logs["logits_fake"]
    torch.testing.assert_close(gradients["shared"], gradients["separate"], rtol=1e-5, atol=1e-7)
