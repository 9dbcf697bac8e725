"""runtime.compile: a first stage with its critic trains to the same weights. Traced by torch.compile, run eagerly."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain_folder import Folder

from ablatent.first_stage.discriminator import PatchGAN
from ablatent.first_stage.kl import KLAutoencoder
from ablatent.first_stage.losses import AutoencoderLoss
from ablatent.networks.dit import DiT
from ablatent.training.compiling import compile_in_training
from ablatent.training.first_stage import FirstStageTrainee, FirstStageTraining, ImageBatches
from ablatent.training.loop import fit
from ablatent.training.settings import Runtime


def trained(folder: Path, **runtime: Any) -> dict[str, torch.Tensor]:
    folder.mkdir()
    torch.manual_seed(0)
    train_config = FirstStageTraining(
        steps=4, batch_size=4, lr=1e-3, disc_lr=1e-3, betas=[0.9, 0.99], warmup_steps=0, decay="none", clip=1.0,
        flip=False, validate_every=4, precision="32-true",
    )  # fmt: skip
    model = KLAutoencoder(
        ch=16, ch_mult=[1], num_res_blocks=1, z_channels=4, attn_factors=[], mid_blocks=0, mid_attention=False,
        dropout=0.0, stem=4,
    )  # fmt: skip
    loss = AutoencoderLoss(
        perceptual=None, pixel="l1", pixel_weight=1.0, perceptual_weight=0.0, perceptual_batch=None,
        regularizer_weight=1e-6, discriminator=PatchGAN(8, 2, "group", 3), disc_weight=0.5, disc_start=2, disc_warmup=1,
        disc_loss="hinge",
    )  # fmt: skip
    images = np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3), dtype=np.uint8)
    trainee = FirstStageTrainee(model, loss, train_config, 0, images[:4])
    batches = ImageBatches(images, np.arange(16), model.latent_shape(32, 32), train_config, 0)
    fit(trainee, batches, Folder(folder), Folder(folder).recorder(), Runtime(**runtime), "test")
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@pytest.mark.slow
def test_compiled_modules_train_to_the_same_weights(tmp_path, monkeypatch):
    plain = trained(tmp_path / "plain")
    compiled, compile = [], torch.compile

    def eager(forward, **options):
        compiled.append(type(forward.__self__).__name__)
        return compile(forward, backend="aot_eager", dynamic=options["dynamic"])

    monkeypatch.setattr(torch, "compile", eager)
    traced = trained(tmp_path / "compiled", compile=True)
    assert compiled == ["Encoder", "Decoder"] and traced.keys() == plain.keys()
    for name, value in plain.items():
        torch.testing.assert_close(traced[name], value, rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(("mode", "parts"), [("blocks", ["DiTBlock"] * 2), ("network", ["DiT"]), ("graphs", ["DiT"])])
def test_blocks_are_compiled_where_a_network_repeats_some(monkeypatch, mode, parts):
    """And only passes with gradients run compiled: others are of other sizes."""
    compiled, ran = [], []

    def compile(forward, **options):
        compiled.append((type(forward.__self__).__name__, options.get("mode")))
        return lambda *args, **kwargs: ran.append(1) or forward(*args, **kwargs)

    monkeypatch.setattr(torch, "compile", compile)
    network = DiT(in_channels=4, out_channels=4, patch_size=2, width=32, depth=2, head_channels=16)
    names = list(network.state_dict())
    compile_in_training([network], mode)
    assert compiled == [(name, "reduce-overhead" if mode == "graphs" else None) for name in parts]
    assert list(network.state_dict()) == names
    with torch.no_grad():
        network(torch.zeros(1, 4, 4, 4), torch.zeros(1))
    assert not ran
    network(torch.zeros(1, 4, 4, 4), torch.zeros(1))
    assert len(ran) == len(parts)
