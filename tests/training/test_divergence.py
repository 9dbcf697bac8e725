"""A training that diverges says so at the first step that is not finite, and leaves no such checkpoint."""

import math

import numpy as np
import pytest
import torch
from plain_folder import Folder
from torch import nn

from ablatent.core.errors import StageError
from ablatent.first_stage.discriminator import PatchGAN
from ablatent.first_stage.kl import KLAutoencoder
from ablatent.first_stage.losses import AutoencoderLoss
from ablatent.training.checkpoint import read_checkpoint
from ablatent.training.diffusion import DiffusionTrainee
from ablatent.training.divergence import FiniteSteps
from ablatent.training.first_stage import FirstStageTrainee, FirstStageTraining, ImageBatches
from ablatent.training.judge import JudgeTrainee
from ablatent.training.loop import fit
from ablatent.training.noisy_classifier import ClassifierTrainee
from ablatent.training.settings import Runtime
from ablatent.training.trainee import Trainee
from commands import SMALL, run
from composing import composed

RUNTIME = Runtime(checkpoint_seconds=0.0)


class Exploding(Trainee):
    """The square of one weight, by gradient descent; scale: the first of a real gradient scale, None for none."""

    def __init__(self, rate, steps, validate_every=10**6, scale=None):
        super().__init__(seed=0, steps=steps, validate_every=validate_every)
        self.weight, self.rate = nn.Parameter(torch.ones(1)), rate
        self.enlarged = None if scale is None else torch.amp.GradScaler("cpu", init_scale=scale)

    def scaler(self):
        return self.enlarged

    def make_optimizers(self):
        return [torch.optim.SGD(self.parameters(), self.rate)]

    def take_step(self, batches, step):
        optimizer = self.optimizers()
        loss = self.weight.square().sum()
        optimizer.zero_grad()
        if self.enlarged is None:
            self.manual_backward(loss)
            norm = self.step_optimizer(optimizer, self.rate, None)
        else:
            self.enlarged.scale(loss).backward()
            norm = self.weight.grad.norm() / self.enlarged.get_scale()
            self.enlarged.step(optimizer.optimizer)
            self.enlarged.update()
        return {"loss": loss.detach(), "grad_norm": norm}


def first_bad_step(rate):
    """Of the same descent, written out in float32."""
    weight, step = np.float32(1), 0
    with np.errstate(over="ignore"):
        while np.isfinite(np.square(weight)):
            weight, step = weight - np.float32(rate) * (np.float32(2) * weight), step + 1
    return step + 1


def fitted(trainee, folder):
    fit(trainee, lambda step, shard: [{}], Folder(folder), Folder(folder).recorder(), RUNTIME, "x")


@pytest.mark.parametrize("rate", [1.5, 1e2, 1e6])
@pytest.mark.parametrize("steps", ["the end", "a logging step", "a validation"])
def test_the_first_step_that_is_not_finite_is_named(tmp_path, rate, steps):
    """Wherever it lies between two looks: the last step, the tenth after it, a validation."""
    bad = first_bad_step(rate)
    trainee = Exploding(rate, bad if steps == "the end" else 1000, bad + 1 if steps == "a validation" else 10**6)
    with pytest.raises(StageError, match=rf"^x: the training diverged at step {bad}: loss inf, gradient norm .*Lower"):
        fitted(trainee, tmp_path)
    state = read_checkpoint(Folder(tmp_path), "x")
    assert (0 if state is None else state["step"]) == (bad - 1) // 10 * 10
    assert state is None or bool(torch.isfinite(state["module"]["weight"]).all())


def test_steps_that_the_gradient_scale_leaves_out_are_no_divergence(tmp_path):
    trainee = Exploding(1e-3, 30, scale=2.0**127)
    trainee.weight.data.fill_(2.0**20)
    fitted(trainee, tmp_path)
    assert trainee.enlarged.get_scale() < 2.0**127, "none was left out"
    assert bool(torch.isfinite(trainee.weight))


def test_gradients_that_overflow_without_a_scale_are(tmp_path):
    """Left out from the second step on, until the scale is below 1."""
    trainee = Exploding(1e20, 100, scale=4.0)
    with pytest.raises(StageError, match="diverged at step 2: loss inf"):
        fitted(trainee, tmp_path)


def test_a_step_between_those_left_out_begins_the_count_anew():
    finite = FiniteSteps("x", {"loss": "lr"})
    for step, (loss, scale) in enumerate([(math.inf, 1.0), (1.0, 1.0), (math.nan, 1.0), (math.nan, 0.5)], 1):
        if scale >= 1:
            finite.look([(step, {"loss": loss})], scale)
    with pytest.raises(StageError, match="step 3: loss nan"):
        finite.look([(step, {"loss": loss})], 0.5)


OPTIONS = {"steps": 20, "batch_size": 2, "warmup_steps": 0, "decay": "none", "clip": None, "validate_every": 20}


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize(("rates", "key"), [({"lr": 1e30}, "lr"), ({"disc_lr": 1e30}, "disc_lr")])
def test_a_first_stage_says_which_rate_to_lower(tmp_path, rates, key, clip):
    torch.manual_seed(0)
    shape = {"ch": 8, "ch_mult": [1], "num_res_blocks": 1, "z_channels": 4, "attn_factors": [], "mid_blocks": 0}
    model = KLAutoencoder(**shape, mid_attention=False, dropout=0.0, stem=4)
    weights = {"pixel_weight": 1.0, "perceptual_weight": 0.0, "regularizer_weight": 1e-6, "disc_weight": 0.5}
    loss = AutoencoderLoss(
        perceptual=None, pixel="l1", perceptual_batch=None, discriminator=PatchGAN(ch=8), disc_start=15, disc_warmup=15,
        disc_loss="hinge", **weights,
    )  # fmt: skip
    common = {**OPTIONS, "lr": 1e-3, "disc_lr": 1e-3, "betas": (0.9, 0.999), "flip": False, "precision": "32-true"}
    config = FirstStageTraining(**{**common, **rates, "clip": clip})
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    trainee = FirstStageTrainee(model, loss, config, 0, pixels)
    batches = ImageBatches(pixels, np.arange(4), model.latent_shape(32, 32), config, 0)
    with pytest.raises(StageError, match=rf"diverged at step \d+: .*Lower first_stage\.training\.{key}\.$"):
        fit(trainee, batches, Folder(tmp_path), Folder(tmp_path).recorder(), RUNTIME, "kl")
    state = read_checkpoint(Folder(tmp_path), "kl")
    assert state is None or all(bool(torch.isfinite(v).all()) for v in state["module"].values())


@pytest.mark.parametrize("kind", [FirstStageTrainee, DiffusionTrainee, ClassifierTrainee, JudgeTrainee])
def test_the_rates_that_are_named_are_in_the_configuration(kind):
    config = composed("preset=tiny", "data=digits", "conditioner=class", "guidance=classifier", "judge=classifier")
    for key in kind.lr_keys.values():
        node = config
        for part in key.split("."):
            node = node[part]
        assert isinstance(node, float)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["first_stage.training.lr", "optimizer.lr"])
def test_the_command_says_it_without_a_traceback(tmp_path, first_stages, key):
    if key == "optimizer.lr":
        first_stages(tmp_path)
    done = run(tmp_path, *SMALL, f"{key}=1e30", "training.clip=null", "training.steps=20")
    assert done.returncode == 1
    text = " ".join((done.stdout + done.stderr).split())
    assert "the training diverged at step" in text and f"Lower {key}." in text and "Traceback" not in text
    assert "to_uint8" not in text
