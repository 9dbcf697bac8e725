"""Tasks: slerp against its formula, and what each task asks of the sampler."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ablatent.conditioning.none import NoConditioner
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.core.images import labelled, save_gif
from ablatent.core.types import Prediction
from ablatent.data.base import Annotations
from ablatent.data.latents import LatentNormalizer
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.parameterization import V
from ablatent.first_stage.identity import IdentityFirstStage
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.ddpm import DDPM
from ablatent.schedules.linear import Linear
from ablatent.tasks.base import TaskContext
from ablatent.tasks.consistency import Consistency
from ablatent.tasks.generate import Model
from ablatent.tasks.img2img import Img2Img
from ablatent.tasks.interpolate import Interpolate, slerp
from ablatent.tasks.trajectory import Trajectory

S = Linear(1000, 0.0001, 0.02, False)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_slerp_by_hand_and_at_its_ends() -> None:
    a, b = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
    a[..., 0], b[..., 1] = 2.0, 2.0
    out = slerp(a, b, torch.tensor([0.0, 1 / 3, 0.5, 1.0])).reshape(4, 2)
    half = 2 * math.sqrt(0.5)
    expected = torch.tensor([[2, 0], [2 * math.cos(math.pi / 6), 1.0], [half, half], [0, 2]])
    torch.testing.assert_close(out, expected)


def test_slerp_keeps_the_norm_and_a_line_does_not() -> None:
    a, b = noise(5, 4, 8, 8), noise(5, 4, 8, 8, seed=1)
    w = torch.linspace(0, 1, 7, dtype=torch.float64)
    norms = slerp(a, b, w).flatten(2).norm(dim=2)
    torch.testing.assert_close(slerp(a, b, w)[:, 0], a)
    torch.testing.assert_close(slerp(a, b, w)[:, -1], b)
    assert (norms / a[0].norm()).sub(1).abs().max() < 0.2
    assert ((a + b) / 2).flatten(1).norm(dim=1).mean() < 0.8 * norms.mean()
    torch.testing.assert_close(slerp(a, a, w)[:, 3], a)  # parallel: no division by zero


@dataclass
class Recorded:
    """A context whose model knows Gaussian data, and that remembers what was drawn."""

    def __post_init__(self) -> None:
        self.calls: list[tuple[Tensor, list[int], object]] = []

    def draw(self, x, index, sampler, watch=None, source=None, noised=False):
        self.calls.append((x, list(index), sampler))
        if watch is not None:  # two batches, as a small batch size would make
            for part in x.split(2):
                for i, t in enumerate(sampler.times(S)[1:]):
                    watch(range(len(part)), i, t, part * 0.5**i, Prediction(part * 0 + i, part))
        value = x.mean(dim=(1, 2, 3)).numpy() * 60 + 128
        return np.broadcast_to(value[:, None, None, None], (len(x), 8, 8, 3)).round().astype(np.uint8)

    def context(self, sampler, images=None) -> TaskContext:
        known = None if images is None else Source(len(images), Annotations(), images)
        model = Model(
            first_stage=IdentityFirstStage(),
            normalizer=LatentNormalizer((0.0,) * 3, (1.0,) * 3),
            denoiser=Denoiser(torch.nn.Identity(), S, V()),
            conditioner=NoConditioner(),
            latent_shape=(3, 8, 8),
            device=torch.device("cpu"),
        )
        return TaskContext(
            model=model,
            sampler=sampler,
            seed=3,
            draw=self.draw,
            features=lambda x: x.reshape(len(x), -1).astype(np.float32),
            validation_source=known,
        )


def test_interpolation_draws_arcs_between_neighbouring_samples() -> None:
    recorded, task, sampler = Recorded(), Interpolate(pairs=3, points=5), DDIM(steps=4)
    outcome = task.run(recorded.context(sampler))
    ((x, index, used),) = recorded.calls
    assert used is sampler and index == [0] * 5 + [1] * 5 + [2] * 5 and task.image_steps(sampler) == 60
    plain = Recorded()
    Consistency(steps=(1, 2), count=6).run(plain.context(sampler))
    priors = plain.calls[0][0]  # x_T of samples 0 … 5
    torch.testing.assert_close(x[[0, 4, 5, 9, 10, 14]], priors)
    assert len(outcome.images) == 15 and set(outcome.scores) == {"interpolation_neighbours", "interpolation_ends"}


def test_consistency_uses_one_noise_at_all_steps() -> None:
    recorded = Recorded()
    outcome = Consistency(steps=(1, 5, 20), count=4).run(recorded.context(DDIM(steps=7, eta=0.0)))
    assert [sampler.steps for _, _, sampler in recorded.calls] == [1, 5, 20]
    assert all(torch.equal(x, recorded.calls[0][0]) for x, _, _ in recorded.calls)
    assert outcome.scores["distance_1_to_20_steps"] == 0 and outcome.scores["distance_of_other_samples"] > 0
    assert outcome.columns == ["S = 1", "S = 5", "S = 20"] and len(outcome.images) == 12


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_strength_is_start_from_a_noised_image(strength: float) -> None:
    recorded, sampler = Recorded(), DDPM(steps=6)
    images = np.full((5, 8, 8, 3), 255, np.uint8)  # latents of one: the mean is alpha, the deviation sigma
    Img2Img(strength=strength, count=4).run(recorded.context(sampler, images))
    ((x, index, used),) = recorded.calls
    times = used.times(S)
    assert len(times) == 7 and times[0] == round(strength * 1000) - 1 and index == [0, 1, 2, 3]
    alpha, sigma = (float(v) for v in S.alpha_sigma(torch.tensor([times[0]])))
    assert float(x.std()) == pytest.approx(sigma, rel=0.15) and float(x.mean()) == pytest.approx(alpha, abs=0.2)


def test_a_trajectory_shows_states_and_estimates_of_every_batch() -> None:
    recorded, sampler = Recorded(), DDIM(steps=6)
    outcome = Trajectory(count=3, points=3).run(recorded.context(sampler))
    assert outcome.rows == ["0 x_t", "0 x_0", "1 x_t", "1 x_0", "2 x_t", "2 x_0"]
    assert outcome.columns[-1] == "end" and len(outcome.columns) == 3 and len(outcome.images) == 18
    assert len(outcome.frames) == 6 and outcome.frames[0].ndim == 3
    # the estimates are 0, 1 … 5 everywhere: grey, then white
    assert (outcome.images[3] == 128).all() and (outcome.images[4] == 255).all()
    assert set(outcome.scores) == {"distance_after_1_of_6_steps", "distance_after_3_of_6_steps"}
    with pytest.raises(ConfigError, match=r"sampler.steps=2"):
        Trajectory(points=3).check(DDIM(steps=2), S)


def test_an_animation_has_its_frames(tmp_path) -> None:
    frames = [np.full((8, 8, 3), v, np.uint8) for v in (0, 90, 255)]
    save_gif(tmp_path / "a.gif", frames)
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 3 and picture.size == (8, 8)


@pytest.mark.parametrize(
    ("build", "key"),
    [
        (lambda: Interpolate(points=1), "task.points"),
        (lambda: Consistency(steps=(10,)), "task.steps"),
        (lambda: Consistency(steps=(20, 10)), "task.steps"),
        (lambda: Consistency(count=1), "task.count"),
        (lambda: Trajectory(points=1), "task.points"),
        (lambda: Img2Img(strength=0.0), "task.strength"),
        (lambda: Img2Img(strength=1.5), "task.strength"),
    ],
)
def test_bad_options_name_their_key(build, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        build()
    assert error.value.key == key


def test_the_figure_has_a_place_for_every_image() -> None:
    images = np.zeros((6, 8, 8, 3), np.uint8)
    page = labelled(images, ["a", "b", "c"], ["one", "two"], scale=2)
    assert page.dtype == np.uint8 and int((page == 0).all(axis=2).sum()) >= 6 * 256
    with pytest.raises(ValueError, match="2 x 3"):
        labelled(images[:5], ["a", "b", "c"], ["one", "two"])
