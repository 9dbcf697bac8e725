"""Filling pictures: the known part is exactly that of the noised picture, and comes back unchanged."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ablatent.conditioning.base import ConditionInfo
from ablatent.conditioning.mask_file import read_mask
from ablatent.conditioning.none import NoConditioner
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.core.rng import normal
from ablatent.core.types import Prediction
from ablatent.data.base import Annotations
from ablatent.data.latents import LatentNormalizer
from ablatent.data.tensors import to_images
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.parameterization import V
from ablatent.first_stage.identity import IdentityFirstStage
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.resampled import Resampled
from ablatent.schedules.base import CLEAN
from ablatent.schedules.linear import Linear
from ablatent.tasks.base import TaskContext
from ablatent.tasks.conditional import Conditional, spread
from ablatent.tasks.conditions import enlarged
from ablatent.tasks.fill import Blend, composite, latent_hole, mask_out, mean_filled, steps_at_border
from ablatent.tasks.generate import Draws, Guided, Model, generate
from ablatent.tasks.generate import prior as generate_prior
from ablatent.tasks.inpaint import Inpaint
from ablatent.tasks.larger_canvas import LargerCanvas, apart, corners
from ablatent.tasks.outpaint import Outpaint, check_sides
from ablatent.tasks.sample import Sample
from ablatent.tasks.super_resolution import SuperResolution

S = Linear(1000, 0.0001, 0.02, False)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


class Quiet(torch.nn.Module):
    """A network that predicts v = 0, and remembers the states that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, x, t, cond):
        self.seen.append(x.clone())
        return torch.zeros_like(x)


def context(sampler, batch: int = 2) -> TaskContext:
    """Pixel space, no condition; `batch` pictures at once."""
    normalizer = LatentNormalizer((0.0,) * 3, (1.0,) * 3)
    denoiser = Denoiser(Quiet(), S, V())
    model = Model(
        first_stage=IdentityFirstStage(), normalizer=normalizer, denoiser=denoiser, conditioner=NoConditioner(),
        latent_shape=(3, 8, 8), device=torch.device("cpu"),
    )  # fmt: skip

    def draw(x, index, used, watch=None, source=None):
        from ablatent.samplers.guidance import NoGuidance

        parts = generate(model, used, Guided(NoGuidance()), Draws(3, list(index), batch, x), {}, watch)
        return np.concatenate([to_images(model.decode(z)) for _, z in parts])

    return TaskContext(
        model=model,
        sampler=sampler,
        seed=3,
        draw=draw,
        features=lambda x: x.reshape(len(x), -1).astype(np.float32),
        validation_source=Source(len(IMAGES), Annotations(), IMAGES),
    )


def test_the_known_part_is_exactly_q_sample() -> None:
    known, hole = torch.randn(5, 3, 4, 4), (torch.rand(5, 1, 4, 4) < 0.5).float()
    blend, times = Blend(S, known, hole, seed=7), [600.0, 3.5, CLEAN]
    for rows in (range(2), range(2, 5)):
        for i, t in enumerate(times):
            x = torch.randn(len(rows), 3, 4, 4)
            out = blend(rows, i, t, x, Prediction(x, x))
            eps = torch.from_numpy(normal(7, "known", rows, (3, 4, 4), i))
            noised = S.q_sample(known[rows], torch.full((len(rows),), t, dtype=torch.float64), eps).float()
            inside = hole[rows].expand_as(x) > 0
            assert torch.equal(out[inside], x[inside]) and torch.equal(out[~inside], noised[~inside])
    assert torch.equal(out[~inside], known[rows][~inside]), "clean in the end"


@pytest.mark.parametrize("task", [Inpaint(count=5), Inpaint(count=5, resample=3, mask="halves"), Outpaint(count=5)])
def test_known_pixels_come_back_and_the_truth_does_not_leak(task) -> None:
    b = context(DDIM(steps=4))
    outcome = task.run(b)
    assert outcome.scores["error_outside"] == 0 and "greatest difference in grey" in outcome.note
    rows = outcome.images.reshape(5, 3, *outcome.images.shape[1:])
    canvases, masks = task.canvases(b, IMAGES)
    assert np.array_equal(rows[:, 0], canvases)
    assert np.array_equal(rows[:, 2][masks == 0], canvases[masks == 0])
    few = replace(task, shown=2).run(context(DDIM(steps=4)))
    assert len(few.images) == 2 * 3 and few.rows == ["0", "1"] and few.scores == outcome.scores
    if isinstance(task, Inpaint):
        sets = few.restoration
        assert np.array_equal(sets.restored, rows[:, 2]) and np.array_equal(sets.truth, IMAGES)
        assert np.array_equal(sets.baseline, mean_filled(IMAGES, masks))
    else:
        assert few.restoration is None, "nobody knows what lies beyond"
    assert len(b.model.denoiser.network.seen) == 3 * 4 * task.resample  # three batches
    # other pictures in the holes, the same elsewhere: the same result
    other = composite(255 - canvases, canvases, masks)
    if isinstance(task, Inpaint):
        again = task.draw(context(DDIM(steps=4)), Source(5, Annotations(), other), range(5))
        assert np.array_equal(again, rows[:, 2])


def test_a_latent_is_known_only_where_all_its_pixels_are() -> None:
    masks = np.zeros((1, 8, 8), np.uint8)
    masks[0, 3, 4] = 1
    hole = latent_hole(masks, (1, 3, 2, 2))
    assert hole.flatten().tolist() == [0, 1, 0, 0]


def test_resampling_once_is_the_sampler_and_more_asks_for_more() -> None:
    inner = DDIM(steps=3, eta=1.0)
    assert Resampled.of(inner, 1) is inner
    used, drawn_at, steps = Resampled.of(inner, 2), [], []

    def noise(i):
        drawn_at.append(i)
        return torch.zeros(1, 1, 2, 2)

    def on_step(i, t, x, p):
        steps.append((i, t))
        return x

    x = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    used(lambda x, t: Prediction(x * 0 + 1, x * 0), S, x, noise, on_step)
    times = inner.times(S)[1:].tolist()
    assert steps == list(enumerate(np.repeat(times, 2).tolist()))
    assert len(set(drawn_at)) == len(drawn_at)
    # back from s to t, where all noise is 0: the signal shrinks by alpha_t / alpha_s
    a = S.alpha_sigma(torch.tensor([999.0, 600.0]))[0]
    torch.testing.assert_close(used._back(S, x, 600.0, 999.0, x * 0), x * a[0] / a[1])


def test_outpainting_adds_what_was_asked_for() -> None:
    task = Outpaint(sides=["left", "top"], by=0.5)
    canvas, masks = task.canvases(context(DDIM(steps=1)), IMAGES)
    assert canvas.shape == (5, 12, 12, 3) and task.canvas(8) == (12, 12)
    assert np.array_equal(canvas[:, 4:, 4:], IMAGES) and not masks[:, 4:, 4:].any() and masks.sum() == 5 * (144 - 64)
    assert Outpaint(sides=["right"], by=1.0).canvas(32) == (32, 64)
    flat = mask_out(np.full_like(IMAGES, 100), (IMAGES[..., 0] > 99).astype(np.uint8))
    border, inside = steps_at_border(flat, (IMAGES[..., 0] > 99).astype(np.uint8))
    assert border == 28 and inside == 0


def test_a_mask_must_fit(tmp_path) -> None:
    levels = np.zeros((8, 6), np.uint8)
    levels[:3] = 255
    Image.fromarray(levels).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", (8, 6), "mask").sum() == 18
    with pytest.raises(ConfigError, match="size, 8x8; got '6x8'"):
        read_mask(tmp_path / "m.png", (8, 8), "mask")
    Image.fromarray(levels * 0).save(tmp_path / "m.png")
    with pytest.raises(ConfigError, match="all black"):
        read_mask(tmp_path / "m.png", (8, 6), "mask")


def test_a_soft_mask_mixes_and_frees_a_latent_for_its_share_of_time() -> None:
    ramp = np.tile(np.linspace(0, 1, 8, dtype=np.float32), (5, 8, 1))
    mixed = composite(255 - IMAGES, IMAGES, ramp)
    expected = ramp[..., None].astype(np.float64) * (255 - IMAGES) + (1 - ramp[..., None].astype(np.float64)) * IMAGES
    assert np.abs(mixed - expected).max() <= 0.5 + 1e-4
    assert np.array_equal(mixed[:, :, 0], IMAGES[:, :, 0]) and np.array_equal(mixed[:, :, 7], 255 - IMAGES[:, :, 7])
    hidden = mask_out(IMAGES, ramp)
    assert np.array_equal(hidden[:, :, :7], IMAGES[:, :, :7]) and (hidden[:, :, 7] == 128).all()
    hole = latent_hole(ramp, (5, 3, 8, 8))
    np.testing.assert_array_equal(hole[:, 0], ramp)
    blend, x = Blend(S, torch.zeros(5, 3, 8, 8), hole, seed=7), torch.full((5, 3, 8, 8), 9.0)
    for i, (t, from_column) in enumerate(((999.0, 7), (500.0, 4), (100.0, 1), (0.0, 1), (CLEAN, 1))):
        free = blend(range(5), i, t, x, Prediction(x, x)) == 9
        assert free[..., from_column:].all() and not free[..., :from_column].any()
    assert np.allclose(mean_filled(IMAGES, ramp * 0 + 0.5)[0], 0.5 * (IMAGES[0] + IMAGES[0].mean((0, 1))), atol=1)


def test_inpainting_takes_a_soft_mask_of_a_file(tmp_path) -> None:
    levels = np.tile(np.array([0, 0, 64, 128, 192, 255, 255, 255], np.uint8), (8, 1))
    Image.fromarray(levels).save(tmp_path / "m.png")
    outcome = Inpaint(count=5, file=str(tmp_path / "m.png")).run(context(DDIM(steps=4)))
    rows = outcome.images.reshape(5, 3, 8, 8, 3)
    assert np.array_equal(rows[:, 2, :, :2], IMAGES[:, :, :2]) and outcome.scores["error_outside"] == 0
    assert (rows[:, 1, :, 5:] == 128).all()
    Image.fromarray(np.maximum(levels, 64)).save(tmp_path / "m.png")
    soft = Inpaint(count=5, file=str(tmp_path / "m.png")).run(context(DDIM(steps=4)))
    assert "error_outside" not in soft.scores and "psnr_hole" in soft.scores, "no pixel is kept whole"


def test_a_larger_canvas_is_compared_by_its_corners() -> None:
    x = np.arange(2 * 6 * 6 * 3, dtype=np.uint8).reshape(2, 6, 6, 3)
    cut = corners(x, 4, 4)
    assert cut.shape == (8, 4, 4, 3) and np.array_equal(cut[:2], x[:, :4, :4]) and np.array_equal(cut[6:], x[:, 2:, 2:])
    f = np.array([[0.0], [3.0]])
    assert apart(f, f) == 3 and apart(np.array([[0.0], [0.0], [3.0], [3.0]]), f) == 1.5
    outcome = LargerCanvas(count=2, factor=1.5).run(context(DDIM(steps=2)))
    assert outcome.images.shape == (2, 12, 12, 3) and LargerCanvas(height=8).canvas(32) == (8, 64)


def test_distances_within_and_between_conditions() -> None:
    f = np.array([[[0.0], [1.0]], [[10.0], [12.0]]])
    assert spread(f) == {"distance_within_conditions": 1.5, "distance_between_conditions": 10.5}


def test_small_pictures_are_enlarged_beside_the_samples() -> None:
    low = np.full((2, 2, 2, 3), 7, np.uint8)
    assert np.array_equal(enlarged({"picture.low": low, "flipped": np.zeros(2)}, (4, 8)), np.full((2, 4, 8, 3), 7))
    with pytest.raises(ValueError, match="no small images"):
        enlarged({"label": low}, (4, 8))


CLASSES, NOTHING = [ConditionInfo("ClassLabel", ("labels",))], []
SMALL, MAPS = [ConditionInfo("LowResolution", ("pixels",))], [ConditionInfo("Map", ("segmentation",))]
HOLES = [ConditionInfo("MaskedImage", ("pixels",), fills=True)]


@pytest.mark.parametrize(
    ("refused", "key"),
    [
        (lambda: Inpaint(method="blendd"), "task.method"),
        (lambda: Inpaint(mask="stars"), "task.mask"),
        (lambda: Inpaint(file="no.png"), "task.file"),
        (lambda: Inpaint(resample=0), "task.resample"),
        (lambda: Inpaint(shown=0), "task.shown"),
        (lambda: Inpaint(method="model").check_model(CLASSES, 8), "task.method"),
        (lambda: Outpaint(sides=["lefft"]), "task.sides"),
        (lambda: Outpaint(sides=[]), "task.sides"),
        (lambda: check_sides("left"), "task.sides"),
        (lambda: Outpaint(by=0.0), "task.by"),
        (lambda: LargerCanvas(factor=0.0), "task.factor"),
        (lambda: LargerCanvas(height=0), "task.height"),
        (lambda: Outpaint().check_model(SMALL, 8), "task"),
        (lambda: LargerCanvas().check_model(MAPS, 8), "task"),
        (lambda: Conditional("lables").check_model(CLASSES, 8), "task.reads"),
        (lambda: Conditional("pixels"), "task.reads"),
        (lambda: SuperResolution("captions"), "task.reads"),
        (lambda: Sample(unconditional=True).check_model(CLASSES, 8), "task"),
        (lambda: Conditional("captions").check_model(CLASSES, 8), "task"),
        (lambda: Conditional("labels").check_model(NOTHING, 8), "task"),
        (lambda: SuperResolution().check_model(HOLES, 8), "task"),
    ],
)
def test_what_cannot_be_names_its_key(refused, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        refused()
    assert error.value.key == key
    Conditional("labels").check_model(CLASSES, 8)
    Sample(unconditional=True).check_model(NOTHING, 8)
    for task in (Inpaint(method="model"), Outpaint(method="model")):
        task.check_model(HOLES, 8)


@pytest.mark.parametrize(("same", "index"), [(True, [0, 1, 2, 0, 1, 2]), (False, [0, 1, 2, 3, 4, 5])])
def test_a_column_may_start_from_one_noise(same: bool, index: list[int]) -> None:
    built = context(DDIM(steps=2), batch=6)
    outcome = Conditional("labels", count=2, samples_per_image=3, same_noise=same).run(built)
    x_T = generate_prior(built.model, built.seed, index)
    assert torch.equal(built.model.denoiser.network.seen[0], x_T.to(torch.float32))
    assert (outcome.scores["distance_between_conditions"] == 0) == same, "the network has no condition"
