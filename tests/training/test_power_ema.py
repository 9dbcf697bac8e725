"""Power-function averages: closed forms of the paper, and widths that are made after the training."""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from rank_cases import STEPS, Folder, diffusion
from safetensors.torch import load_file, save_file
from torch import nn

from ablatent.core.errors import ConfigError
from ablatent.core.fields import AverageWidth, fits
from ablatent.stages.kept_weights import WeightsChoice, load_weights
from ablatent.training.ema import EMAs, PowerEMA
from ablatent.training.loop import fit
from ablatent.training.power_ema import (
    TOLERANCE,
    Average,
    combination,
    decay_at,
    file_name,
    fitted,
    gamma_of,
    inner_products,
    kept_averages,
    stored_averages,
    width_of,
)
from ablatent.training.record import Recorder
from ablatent.training.settings import Runtime

TRACKED = [0.05, 0.1]
WALK, SIZE = 480, 50


@pytest.mark.parametrize(("width", "gamma"), [(0.05, 16.97), (0.1, 6.94), (1 / sqrt(12), 0.0)])
def test_exponents_of_the_paper(width: float, gamma: float) -> None:
    assert gamma_of(width) == pytest.approx(gamma, abs=5e-3 if gamma else 1e-6)


def test_width_and_exponent_go_back_and_forth() -> None:
    """The profile is the density of Beta(gamma + 1, 1), whose deviation is known."""
    for gamma in (0.01, 0.5, 1.0, 3.0, 16.97, 400.0):
        a = gamma + 1
        assert width_of(gamma) == pytest.approx(sqrt(a / ((a + 1) ** 2 * (a + 2))), rel=1e-12)
        assert gamma_of(width_of(gamma)) == pytest.approx(gamma, rel=1e-8)
    for width in np.linspace(0.001, 0.2885, 200):
        assert width_of(gamma_of(width)) == pytest.approx(width, rel=1e-9)
    wrong = (0, 0.2886, 0.5, -0.1, "0.1")
    assert fits(0.001, AverageWidth) and fits(0.2885, AverageWidth) and not any(fits(w, AverageWidth) for w in wrong)


def weights_of_steps(steps: int, width: float) -> np.ndarray:
    """Of the weights after each step in an average: the integral of the profile over that step."""
    return np.diff((np.arange(steps + 1) / steps) ** (gamma_of(width) + 1))


@pytest.mark.parametrize("width", [0.03, 0.1, 0.28])
def test_the_recursion_gives_the_profile(width: float) -> None:
    gamma, steps = gamma_of(width), 200
    weights = np.zeros(steps)
    for step in range(1, steps + 1):
        beta = decay_at(step, gamma)
        weights *= beta
        weights[step - 1] = 1 - beta
    np.testing.assert_allclose(weights, weights_of_steps(steps, width), rtol=1e-9, atol=1e-18)
    assert weights.sum() == pytest.approx(1, abs=1e-12)


def test_inner_products_are_the_integrals() -> None:
    averages = [Average(37, 0.05), Average(100, 0.1), Average(80, 0.25), Average(100, 0.03)]
    t = (np.arange(200_000) + 0.5) / 2000  # midpoints of (0, 100]
    profiles = [
        np.where(t < a.step, (gamma_of(a.width) + 1) / a.step * (t / a.step) ** gamma_of(a.width), 0) for a in averages
    ]
    expected = 100 * np.array([[(p * q).sum() / 2000 for q in profiles] for p in profiles])
    np.testing.assert_allclose(inner_products(averages), expected, rtol=1e-3)


@pytest.mark.parametrize("steps", [24, 1000, 1_000_000])
def test_weights_sum_to_one_and_the_residual_is_that_of_the_profiles(steps: int) -> None:
    kept = kept_averages(steps, 16, TRACKED)
    for width in (0.03, 0.07, 0.15, 0.2):
        weights, residual = fitted(kept, Average(steps, width))
        assert weights.sum() == pytest.approx(1, abs=1e-12) and residual < TOLERANCE
        if steps == 1000:
            made = sum(
                w * np.pad(weights_of_steps(a.step, a.width), (0, steps - a.step))
                for w, a in zip(weights, kept, strict=True)
            )
            aim = weights_of_steps(steps, width)
            assert np.linalg.norm(made - aim) / np.linalg.norm(aim) == pytest.approx(residual, rel=0.1)


def test_more_snapshots_come_closer() -> None:
    for width in (0.03, 0.075, 0.2):
        residuals = [fitted(kept_averages(1000, n, TRACKED), Average(1000, width)).residual for n in (4, 8, 16, 32)]
        assert residuals == sorted(residuals, reverse=True) and residuals[0] > 10 * residuals[-1]


def test_a_tracked_width_is_its_snapshot() -> None:
    kept = kept_averages(1000, 16, TRACKED, [777])
    for step, width in (kept[-1], kept[-2], Average(777, 0.05)):
        among = [a for a in kept if a.step <= step]
        weights, residual = fitted(among, Average(step, width))
        np.testing.assert_allclose(weights, [float(a == (step, width)) for a in among], atol=1e-9)
        assert residual < 1e-6
    assert fitted([Average(10, 0.1)], Average(10, 0.1)).weights.tolist() == [1.0]


def walk() -> torch.Tensor:
    return torch.randn(WALK, SIZE, generator=torch.Generator().manual_seed(7), dtype=torch.float64).cumsum(0)


def followed(averages: EMAs | Sequence[PowerEMA], folder: Path | None = None) -> None:
    """Take averages along the walk; keep them as a training does."""
    net = nn.Linear(SIZE, 1, bias=False, dtype=torch.float64)
    kept = {average.step for average in kept_averages(WALK, 16, TRACKED)}
    for step, value in enumerate(walk(), start=1):
        with torch.no_grad():
            net.weight.copy_(value)
        for average in [averages] if isinstance(averages, EMAs) else averages:
            average.update(net, step)
        if folder is not None and step in kept:
            assert isinstance(averages, EMAs)
            (folder / "power").mkdir(exist_ok=True)
            for width, state in averages.power_states(net):
                named = {f"network.{name}": v for name, v in state.items()}
                save_file(named, folder / f"{file_name(Average(step, width))}.safetensors")
    if folder is not None:
        save_file(
            {"network.weight": net.weight.detach(), "conditioner.x": torch.ones(2)}, folder / "raw-0000480.safetensors"
        )


@pytest.fixture(scope="module")
def kept_walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("walk")
    followed(EMAs(0.9, warmup=True, power_widths=TRACKED), folder)
    return folder


def test_an_average_of_another_width_equals_the_one_that_was_tracked(kept_walk: Path) -> None:
    """Within residual · ‖profile‖ · ‖walk - constant‖ for each weight (Cauchy and Schwarz: constants cancel, since
    weights sum to 1). This walk is off by 0.02 % to 0.4 % of its deviation."""
    off = {0.03: 0.005, 0.04: 0.001, 0.075: 0.0003, 0.15: 0.0005, 0.2: 0.004}
    tracked = [PowerEMA(width) for width in off]
    followed(tracked)
    deviation = float(walk().std(dim=0).mean())
    for width, average in zip(off, tracked, strict=True):
        made = load_weights(kept_walk, WeightsChoice("ema", "last", width))
        assert made["network.weight"].dtype == torch.float64 and torch.equal(made["conditioner.x"], torch.ones(2))
        apart = (made["network.weight"] - average.state_dict()["weight"]).abs().squeeze(0)
        residual = fitted(list(stored_averages(kept_walk)), Average(WALK, width)).residual
        spread = (walk() - walk().mean(dim=0)).norm(dim=0)
        bound = residual * sqrt(inner_products([Average(WALK, width)]).item() / WALK) * spread
        assert bool((apart <= bound).all())
        assert float(apart.square().mean().sqrt()) <= off[width] * deviation, width


@pytest.mark.parametrize("width", TRACKED)
def test_a_width_that_was_tracked_is_read_back(kept_walk: Path, width: float) -> None:
    stored = load_file(stored_averages(kept_walk)[Average(WALK, width)])["network.weight"]
    made = load_weights(kept_walk, WeightsChoice("ema", 480, width))["network.weight"]
    torch.testing.assert_close(made, stored, rtol=0, atol=1e-6)


def test_what_cannot_be_made_is_refused(kept_walk: Path, tmp_path: Path) -> None:
    save_file({"network.weight": torch.ones(1)}, tmp_path / "raw-0000480.safetensors")
    for folder, choice, key, words in (
        (kept_walk, WeightsChoice("ema", "last", 0.01), "samples.ema_width", "a width from 0.025 to 0.25"),
        (kept_walk, WeightsChoice("raw", "last", 0.1), "samples.weights", "ema with samples.ema_width"),
        (kept_walk, WeightsChoice("ema", 479, 0.1, "guidance"), "guidance.snapshot", "[480]"),
        (tmp_path, WeightsChoice("ema", "last", 0.1), "samples.ema_width", "training.ema.power_widths=[0.05,0.1]"),
    ):
        with pytest.raises(ConfigError) as error:
            load_weights(folder, choice)
        assert error.value.key == key and words in str(error.value)
    with pytest.raises(ConfigError, match=r"power_widths: expected widths that differ"):
        EMAs(0.9, warmup=True, power_widths=[0.1, 0.1])
    with pytest.raises(ConfigError, match=r"expected one of \[0\.002\]; got '0\.28, .* with 1 snapshot of"):
        combination([Average(10, 0.002)], Average(10, 0.28), "samples.ema_width")
    with pytest.raises(ConfigError, match=r"a width from 0\.045 to 0\.06 or from 0\.235 to 0\.26; got '0\.12"):
        combination([Average(100, 0.05), Average(100, 0.25)], Average(100, 0.12), "samples.ema_width")


def test_when_they_are_kept() -> None:
    assert kept_averages(10, 4, [0.1]) == [(3, 0.1), (5, 0.1), (8, 0.1), (10, 0.1)]
    assert [a.step for a in kept_averages(3, 16, [0.1], [2])] == [1, 2, 3]
    assert kept_averages(100, 1, TRACKED, [7]) == [(7, 0.05), (7, 0.1), (100, 0.05), (100, 0.1)]
    assert kept_averages(100, 4, []) == []


class Died(BaseException):
    pass


@pytest.mark.slow
def test_a_resumed_training_keeps_the_bits_of_its_averages(tmp_path: Path) -> None:
    def train(folder: Path, dies_at: int | None = None) -> dict[str, bytes]:
        folder.mkdir(exist_ok=True)
        scratch = Folder(folder)
        torch.manual_seed(0)
        trainee, batches = diffusion("adam", scratch)

        def batch_at(step, shard):
            if step == dies_at:
                raise Died
            return batches(step, shard)

        recorder = Recorder(folder, scratch, every=STEPS // 2)
        fit(trainee, batch_at, scratch, recorder, Runtime(checkpoint_seconds=0.0), "diffusion")
        return {path.name: path.read_bytes() for path in folder.glob("power/*")}

    whole = train(tmp_path / "whole")
    with pytest.raises(Died):
        train(tmp_path / "killed", dies_at=STEPS - 2)
    assert len(whole) == 8 and train(tmp_path / "killed") == whole
