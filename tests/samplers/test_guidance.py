"""Guidance: identities that hold for any denoiser, and what is known exactly for Gaussians."""

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.instantiate import make
from ablatent.core.targets import class_of
from ablatent.core.types import Cond, Prediction
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.parameterization import Eps, V
from ablatent.networks.unet import UNet
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.guidance import ClassifierFree, Guidance, GuidanceInputs, NoGuidance, WeakModel, check_interval
from ablatent.samplers.guidance_auto import AutoGuidance
from ablatent.samplers.guidance_classifier import ClassifierGuidance, NoisyLogits, label_gradient
from ablatent.samplers.guidance_rescaled import RescaledClassifierFree, deviation
from ablatent.schedules.base import NoiseSchedule
from ablatent.schedules.cosine import Cosine
from ablatent.schedules.linear import Linear

CONF = Path(__file__).parents[2] / "conf" / "guidance"
CONFIGS = {p.stem: yaml.safe_load(p.read_text()) for p in sorted(CONF.glob("*.yaml"))}


def schedule(zero: bool = False) -> NoiseSchedule:
    return Linear(1000, 0.0001, 0.02, zero)


class Counting(nn.Module):
    """A denoiser whose answer depends on the condition, row by row, and that counts its calls."""

    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        self.calls: list[int] = []
        self.bias, self.schedule = bias, schedule()

    def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Prediction:
        self.calls.append(len(x))
        assert cond.vector is not None and len(cond.vector) == len(t) == len(x)
        alpha, sigma = (v.reshape(-1, 1, 1, 1).to(x.dtype) for v in self.schedule.alpha_sigma(t))
        x0 = torch.tanh(x + cond.vector.sum(dim=1).reshape(-1, 1, 1, 1)) + self.bias
        return Prediction(x0, (x - alpha * x0) / sigma, torch.full_like(x, 0.25))


def inputs() -> tuple[Tensor, Tensor, Cond, Cond]:
    gen = torch.Generator().manual_seed(3)
    x = torch.randn(4, 2, 3, 3, generator=gen, dtype=torch.float64)
    cond = torch.randn(4, 5, generator=gen, dtype=torch.float64)
    return x, torch.full((4,), 400.0, dtype=torch.float64), Cond(vector=cond), Cond(vector=torch.zeros_like(cond))


def same(a: Prediction, b: Prediction) -> bool:
    return torch.equal(a.x0, b.x0) and torch.equal(a.eps, b.eps)


def assert_consistent(p: Prediction, x: Tensor, t: Tensor, s: NoiseSchedule) -> None:
    alpha, sigma = (v.reshape(-1, 1, 1, 1) for v in s.alpha_sigma(t))
    torch.testing.assert_close(alpha * p.x0 + sigma * p.eps, x, rtol=1e-9, atol=1e-9)


# every option of conf/guidance


@pytest.mark.parametrize("name", CONFIGS)
def test_every_option(name: str) -> None:
    """It takes what its YAML says, gives x_0 and eps that agree, and moves the prediction."""
    x, t, cond, null = inputs()
    guidance = make(CONFIGS[name], Guidance)
    denoiser, weak = Counting(), Counting(bias=0.3)
    denoise = guidance(GuidanceInputs(denoiser, cond, null, lambda x, t: weak(x, t, cond), lambda x, t: torch.sin(x)))
    got = denoise(x, t)
    assert got.x0.dtype == got.eps.dtype == torch.float64 and got.variance_fraction is not None
    assert_consistent(got, x, t, denoiser.schedule)
    assert denoiser.calls == [len(x) * (guidance.network_rows() - guidance.needs_weak)]
    assert same(got, Counting()(x, t, cond)) == (name == "none")
    assert weak.calls == ([len(x)] if guidance.needs_weak else [])
    hash(guidance)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_constructor_argument_stands_in_the_yaml(name: str) -> None:
    fields = {f.name for f in dataclasses.fields(class_of(CONFIGS[name]))}
    assert fields == set(CONFIGS[name]) - {"_target_"}


@pytest.mark.parametrize("name", [n for n in CONFIGS if n != "none"])
def test_a_scale_without_effect_is_no_guidance_to_the_bit(name: str) -> None:
    x, t, cond, _ = inputs()
    neutral = 0.0 if name == "classifier" else 1.0
    guidance = make({**CONFIGS[name], "scale": neutral}, Guidance)
    assert not (guidance.needs_null or guidance.needs_weak or guidance.needs_classifier)
    plain, guided = Counting(), Counting()
    assert same(NoGuidance()(GuidanceInputs(plain, cond))(x, t), guidance(GuidanceInputs(guided, cond))(x, t))
    assert plain.calls == guided.calls == [4] and guidance.network_rows() == 1


@pytest.mark.parametrize("name", [n for n in CONFIGS if n != "none"])
def test_what_is_needed_and_not_given_is_refused(name: str) -> None:
    _, _, cond, _ = inputs()
    guidance = make(CONFIGS[name], Guidance)
    assert guidance.needs_null + guidance.needs_weak + guidance.needs_classifier == 1
    with pytest.raises(ConfigError) as error:
        guidance(GuidanceInputs(Counting(), cond))
    assert error.value.key == "guidance"
    for scale in (-1.0, float("nan")):
        with pytest.raises(ConfigError) as error:
            make({**CONFIGS[name], "scale": scale}, Guidance)
        assert error.value.key == "guidance.scale"


# classifier-free


def test_scale_0_is_unconditional() -> None:
    x, t, cond, null = inputs()
    denoiser = Counting()
    a = ClassifierFree(scale=0.0)(GuidanceInputs(denoiser, cond, null))(x, t)
    assert denoiser.calls == [4]
    assert same(a, denoiser(x, t, null))


@pytest.mark.parametrize("scale", [0.3, 1.5, 7.5])
def test_one_batched_call_equals_two(scale: float) -> None:
    x, t, cond, null = inputs()
    denoiser = Counting()
    guided = ClassifierFree(scale=scale)(GuidanceInputs(denoiser, cond, null))(x, t)
    assert denoiser.calls == [8]
    c, u = denoiser(x, t, cond), denoiser(x, t, null)
    eps = u.eps + scale * (c.eps - u.eps)
    alpha, sigma = (v.reshape(-1, 1, 1, 1) for v in schedule().alpha_sigma(t))
    torch.testing.assert_close(guided.eps, eps, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(guided.x0, (x - sigma * eps) / alpha, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [ClassifierFree, RescaledClassifierFree])
def test_interval_guides_inside_only(kind: type[ClassifierFree]) -> None:
    x, t, cond, null = inputs()
    t = torch.tensor([0.0, 300.0, 600.0, 999.0], dtype=torch.float64)
    denoiser = Counting()
    limited = kind(scale=3.0, interval=[300.0, 600.0])(GuidanceInputs(denoiser, cond, null))
    everywhere = kind(scale=3.0)(GuidanceInputs(denoiser, cond, null))(x, t)
    got, plain = limited(x, t), denoiser(x, t, cond)
    torch.testing.assert_close(got.x0[1:3], everywhere.x0[1:3])
    assert (got.x0[1:3] - plain.x0[1:3]).abs().max() > 1e-3
    torch.testing.assert_close(got.x0[[0, 3]], plain.x0[[0, 3]])
    denoiser.calls.clear()
    limited(x, torch.full_like(t, 900.0))
    assert denoiser.calls == [4]  # outside, the second half of the batch is saved


def test_an_interval_without_a_step_of_the_sampler_is_refused() -> None:
    sampler, linear = DDIM(steps=4), schedule()
    for inside, outside in (({"interval": [700.0, 800.0]}, {"interval": [1000.0, 2000.0]}),
                            ({"interval": [0.38, 3.22], "unit": "sigma"}, {"interval": [0.38, 3.22]})):  # fmt: skip
        ClassifierFree(scale=3.0, **inside).check(sampler, linear)
        with pytest.raises(ConfigError, match=r"guidance.interval: .* the steps are at 999, 749, 499, 249"):
            ClassifierFree(scale=3.0, **outside).check(sampler, linear)
    ClassifierFree(scale=3.0).check(sampler, linear)
    ClassifierFree(scale=1.0, interval=[1000.0, 2000.0]).check(sampler, linear)


def test_interval_in_sigma_is_that_of_its_times() -> None:
    x, t, cond, null = inputs()
    denoiser = Counting()
    alpha, sigma = denoiser.schedule.alpha_sigma(torch.tensor([300.0, 600.0], dtype=torch.float64))
    levels = (sigma / alpha * torch.tensor([0.999, 1.001])).tolist()
    by_sigma = ClassifierFree(scale=3.0, interval=levels, unit="sigma")(GuidanceInputs(denoiser, cond, null))
    by_t = ClassifierFree(scale=3.0, interval=[300.0, 600.0])(GuidanceInputs(denoiser, cond, null))
    t = torch.tensor([298.0, 300.0, 600.0, 602.0], dtype=torch.float64)
    assert same(by_sigma(x, t), by_t(x, t))
    far = torch.full_like(t, 999.0)
    assert same(by_sigma(x, far), denoiser(x, far, cond))


# rescaled


def test_rescaling_by_phi() -> None:
    x, t, cond, null = inputs()
    denoiser = Counting()
    plain, conditional = ClassifierFree(scale=4.0)(GuidanceInputs(denoiser, cond, null))(x, t), denoiser(x, t, cond)
    assert same(RescaledClassifierFree(scale=4.0, phi=0.0)(GuidanceInputs(denoiser, cond, null))(x, t), plain)
    full = RescaledClassifierFree(scale=4.0, phi=1.0)(GuidanceInputs(denoiser, cond, null))(x, t)
    torch.testing.assert_close(deviation(full.x0), deviation(conditional.x0), rtol=1e-12, atol=1e-12)
    assert (deviation(plain.x0) / deviation(conditional.x0) - 1).abs().min() > 0.01
    some = RescaledClassifierFree(scale=4.0, phi=0.7)(GuidanceInputs(denoiser, cond, null))(x, t)
    torch.testing.assert_close(some.x0, 0.7 * full.x0 + 0.3 * plain.x0, rtol=1e-12, atol=1e-12)
    for p in (full, some):
        assert_consistent(p, x, t, denoiser.schedule)


def test_rescaling_leaves_a_constant_alone() -> None:
    x, t, cond, null = inputs()
    guided = RescaledClassifierFree(scale=4.0)(GuidanceInputs(Counting(), cond, null))(torch.full_like(x, 0.5), t)
    assert bool(torch.isfinite(guided.x0).all())


# auto


def test_a_weak_model_that_is_the_model_changes_nothing() -> None:
    x, t, cond, _ = inputs()
    denoiser = Counting()
    plain = denoiser(x, t, cond)
    assert same(
        AutoGuidance(scale=3.0)(GuidanceInputs(denoiser, cond, weak=lambda x, t: denoiser(x, t, cond)))(x, t), plain
    )


def test_autoguidance_extrapolates_from_the_weak_model() -> None:
    x, t, cond, _ = inputs()
    denoiser, weak = Counting(), Counting(bias=0.3)
    guided = AutoGuidance(scale=3.0)(GuidanceInputs(denoiser, cond, weak=lambda x, t: weak(x, t, cond)))(x, t)
    torch.testing.assert_close(guided.x0, denoiser(x, t, cond).x0 - 2 * 0.3, rtol=1e-9, atol=1e-9)
    only = AutoGuidance(scale=0.0)(GuidanceInputs(denoiser, cond, weak=lambda x, t: weak(x, t, cond)))(x, t)
    assert same(only, weak(x, t, cond))


def test_autoguidance_by_another_network() -> None:
    """A smaller network that predicts something else: both are asked at the same x_t and t, and x_0 and eps agree."""
    torch.manual_seed(0)
    sizes = {"in_channels": 2, "out_channels": 2, "ch_mult": [1], "num_res_blocks": 1, "attn_factors": [], "heads": 1}
    strong = Denoiser(UNet(**sizes, ch=16), schedule(), V())
    weak = Denoiser(UNet(**sizes, ch=8), schedule(), Eps())
    for p in (*strong.parameters(), *weak.parameters()):  # a fresh network says zero
        nn.init.normal_(p, std=0.1)
    x, t = torch.randn(3, 2, 4, 4), torch.tensor([10.0, 400.0, 990.0])
    with torch.no_grad():
        better, worse = strong(x, t, Cond()), weak(x, t, Cond())
        inputs = GuidanceInputs(strong, Cond(), weak=lambda x, t: weak(x, t, Cond()))
        guided = AutoGuidance(scale=2.5, model="diffusion-0123")(inputs)(x, t)
    for part in ("x0", "eps"):
        expected = getattr(worse, part) + 2.5 * (getattr(better, part) - getattr(worse, part))
        torch.testing.assert_close(getattr(guided, part), expected, rtol=1e-4, atol=1e-4)
    alpha, sigma = (v.reshape(-1, 1, 1, 1).float() for v in schedule().alpha_sigma(t))
    torch.testing.assert_close(alpha * guided.x0 + sigma * guided.eps, x, rtol=1e-3, atol=1e-3)


# classifier


class Mixture(nn.Module):
    """Two isotropic Gaussians: the exact denoiser (of one class, or of both), and the exact classifier."""

    def __init__(self, s: NoiseSchedule) -> None:
        super().__init__()
        gen = torch.Generator().manual_seed(5)
        self.schedule, self.std = s, 0.4
        self.means = torch.randn(2, 2, 3, 3, generator=gen, dtype=torch.float64)
        self.weights = torch.tensor([0.3, 0.7], dtype=torch.float64)

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha, sigma = (v.reshape(-1, 1, 1, 1, 1) for v in self.schedule.alpha_sigma(t))
        return alpha, sigma, alpha**2 * self.std**2 + sigma**2

    def logits(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, _, variance = self.levels(t)
        squares = (x[:, None] - alpha * self.means) ** 2 / (2 * variance)
        return self.weights.log() - squares.sum(dim=(2, 3, 4))

    def of_each(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(b, 2, …): x_0 and eps if the class were known."""
        alpha, sigma, variance = self.levels(t)
        x0 = self.means + alpha * self.std**2 / variance * (x[:, None] - alpha * self.means)
        return x0, (x[:, None] - alpha * x0) / sigma

    def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Prediction:
        p = self.logits(x, t).softmax(dim=1)[:, :, None, None, None]
        x0, eps = self.of_each(x, t)
        return Prediction((p * x0).sum(dim=1), (p * eps).sum(dim=1))


@pytest.mark.parametrize("s", [schedule(), Cosine(1000, 0.008, 0.999, False)], ids=["linear", "cosine"])
@torch.no_grad()
def test_an_exact_classifier_gives_the_exact_conditional_model(s: NoiseSchedule) -> None:
    """Bayes: scale 1 turns the denoiser of a mixture into that of one component; float64, up to the last time."""
    model = Mixture(s)
    gen = torch.Generator().manual_seed(6)
    t = torch.tensor([0.0, 10.0, 250.5, 500.0, 750.0, 990.0, 998.0, 999.0], dtype=torch.float64)
    y = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])
    x = s.q_sample(model.means[1 - y], t, torch.randn(8, 2, 3, 3, generator=gen, dtype=torch.float64))
    guided = ClassifierGuidance(scale=1.0)(GuidanceInputs(model, Cond(), classifier=label_gradient(model.logits, y)))(
        x, t
    )
    x0, eps = model.of_each(x, t)
    rows = torch.arange(8)
    torch.testing.assert_close(guided.eps, eps[rows, y], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(guided.x0, x0[rows, y], rtol=1e-9, atol=1e-9)
    assert (guided.x0 - model(x, t, Cond()).x0).abs().max() > 0.1


def test_the_gradient_moves_eps_by_sigma_and_scale() -> None:
    x, t, cond, _ = inputs()
    denoiser = Counting()
    guided = ClassifierGuidance(scale=2.5)(GuidanceInputs(denoiser, cond, classifier=lambda x, t: torch.cos(x)))(x, t)
    sigma = schedule().alpha_sigma(t)[1].reshape(-1, 1, 1, 1)
    expected = denoiser(x, t, cond).eps - sigma * 2.5 * torch.cos(x)
    torch.testing.assert_close(guided.eps, expected, rtol=1e-12, atol=1e-12)
    assert_consistent(guided, x, t, denoiser.schedule)


def test_without_signal_the_classifier_is_not_asked() -> None:
    x, t, cond, _ = inputs()
    s = schedule(zero=True)

    def denoiser(x: Tensor, t: Tensor, cond: Cond) -> Prediction:
        return Prediction(torch.zeros_like(x), x)

    denoiser.schedule = s  # type: ignore[attr-defined]
    guided = ClassifierGuidance(scale=2.0)(GuidanceInputs(denoiser, cond, classifier=lambda x, t: torch.ones_like(x)))  # type: ignore[arg-type]
    got = guided(x, torch.full_like(t, 999.0))
    assert torch.equal(got.x0, torch.zeros_like(x)) and torch.equal(got.eps, x)


class Mean(nn.Module):
    """Two logits that are linear in what the classifier network sees."""

    def forward(self, seen: Tensor, t: Tensor) -> Tensor:
        return torch.stack([seen.sum(dim=(1, 2, 3)), torch.zeros(len(seen), dtype=seen.dtype)], dim=1)


def test_the_network_sees_alpha_x_so_that_x0_moves_little_at_the_noisiest_time() -> None:
    s = Cosine(1000, 0.008, 0.999, False)
    logits = NoisyLogits(Mean(), s)
    x = inputs()[0].float()
    t = torch.tensor([0.0, 500.0, 990.0, 999.0], dtype=torch.float64)
    alpha, sigma = s.alpha_sigma(t)
    assert alpha[-1] < 1e-4
    torch.testing.assert_close(logits(x, t)[:, 0], (alpha * x.sum(dim=(1, 2, 3))).float(), rtol=1e-5, atol=1e-6)
    gradient = label_gradient(logits, torch.zeros(4, dtype=torch.long))(x, t)
    free = (1 - logits(x, t).softmax(dim=1)[:, 0])[:, None, None, None].expand_as(x)
    torch.testing.assert_close(gradient, (alpha[:, None, None, None] * free).float(), rtol=1e-4, atol=1e-6)
    shift = (sigma**2 / alpha)[:, None, None, None] * gradient
    assert shift.abs().max() <= 1.0


# refusals


def test_needs_and_cost() -> None:
    assert ClassifierFree(scale=0.0).needs_null and ClassifierFree(scale=2.0).needs_null
    assert [ClassifierFree(scale=v).network_rows() for v in (0.0, 1.0, 2.0)] == [1, 1, 2]
    assert [AutoGuidance(scale=v).network_rows() for v in (0.0, 1.0, 2.0)] == [1, 1, 2]
    assert AutoGuidance(scale=2.0, weights="raw", snapshot=7).weak == WeakModel("raw", 7)
    of_another = AutoGuidance(scale=2.0, snapshot="last", model="diffusion-0123", ema_width=0.1)
    assert of_another.weak == WeakModel("ema", "last", 0.1, "diffusion-0123")
    assert ClassifierGuidance(scale=2.0).network_rows() == NoGuidance().network_rows() == 1


def test_refusals() -> None:
    for build, key in (
        (lambda: ClassifierFree(scale=2.0, interval=[5.0]), "guidance.interval"),
        (lambda: ClassifierFree(scale=2.0, interval=[5.0, 1.0]), "guidance.interval"),
        (lambda: check_interval(0.2, "t"), "guidance.interval"),
        (lambda: ClassifierFree(scale=2.0, unit="snr"), "guidance.unit"),
        (lambda: RescaledClassifierFree(scale=2.0, phi=1.5), "guidance.phi"),
        (lambda: AutoGuidance(scale=2.0, snapshot="newest"), "guidance.snapshot"),
        (lambda: AutoGuidance(scale=2.0, snapshot=0), "guidance.snapshot"),
    ):
        with pytest.raises(ConfigError) as error:
            build()
        assert error.value.key == key
