"""One real training step of the paper's CelebA-HQ model, at its full size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ablatent.core.instantiate import make
from ablatent.data.base import ImageData
from ablatent.data.latents import ChannelMoments, LatentNormalizer, Latents
from ablatent.data.prepared import load_images
from ablatent.data.tensors import to_tensor
from ablatent.diffusion.loss import DiffusionLoss
from ablatent.diffusion.timesteps import TimestepSampler
from ablatent.diffusion.weighting import Weighting
from ablatent.stages.models import dummy_inputs, make_denoiser
from ablatent.stages.stored import make_first_stage
from ablatent.stages.train import optimizer_factory
from ablatent.training.diffusion import DiffusionTrainee, DiffusionTraining, LatentBatches
from ablatent.training.loop import fit
from ablatent.training.record import Recorder
from ablatent.training.settings import Runtime
from composing import composed


class Folder:
    """A scratch folder and a tracker in one, which keeps nothing but the rows."""

    def __init__(self, path: Path):
        self.path, self.checkpoint = path, path / "last.ckpt"
        self.rows: dict[str, float] = {}

    def check(self) -> None:
        pass

    def log(self, step: int, values: dict[str, float]) -> None:
        self.rows.update(values)

    def images(self, step: int, name: str, image: np.ndarray) -> None:
        pass


@pytest.mark.slow
def test_one_step_of_celebahq_ldm4(tmp_path: Path) -> None:
    """Four pictures of 256 px, a random first stage of the published format, batch 1. Takes 8 GB and two minutes."""
    rng = np.random.default_rng(0)
    (tmp_path / "faces").mkdir()
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(tmp_path / "faces" / f"{i}.png")
    overrides = ["data.cache=null", f"data.root={tmp_path}/faces", "training.batch_size=1", "training.steps=1"]
    cfg = composed("preset=paper/celebahq_ldm4", *overrides)
    data = make(cfg["data"], ImageData)
    data.prepare(tmp_path / "data")
    images = load_images(tmp_path / "data")
    torch.manual_seed(0)
    first_stage = make_first_stage(cfg["first_stage"]).eval()
    with torch.no_grad():
        parts = [first_stage.moments(to_tensor(images.pixels[i : i + 1])) for i in range(4)]
    mean, std = (torch.cat([getattr(m, name) for m in parts])[None].numpy() for name in ("mean", "std"))
    assert mean.shape == (1, 4, 3, 64, 64) and not std.any()
    moments = ChannelMoments.of(lambda: [(mean[0], std[0])], 4 * 64 * 64)
    latents = Latents(mean, std, LatentNormalizer.fit(moments, cfg["latents"]["normalizer"]))
    del first_stage

    node = {**{k: cfg[k] for k in ("network", "conditioner", "schedule", "parameterization")}, **cfg["diffusion"]}
    denoiser, conditioner = make_denoiser(node, dummy_inputs((3, 64, 64), 256))
    train_config = DiffusionTraining(**cfg["training"])
    batches = LatentBatches(latents, images.indices("train"), {}, train_config.batch_size, seed=0)
    folder = Folder(tmp_path)
    trainee = DiffusionTrainee(
        loss=DiffusionLoss(
            denoiser, make(cfg["weighting"], Weighting), train_config.loss, cfg["diffusion"]["vlb_weight"]
        ),
        timesteps=make(cfg["timestep_sampler"], TimestepSampler, schedule=denoiser.schedule),
        conditioner=conditioner,
        train_config=train_config,
        seed=0,
        optimizer=optimizer_factory(cfg["optimizer"]),
        validation=batches.validation(images.indices("validation")[:1], draws=1),
        panel=lambda: np.zeros((8, 8, 3), np.uint8),  # no panel: it would be most of the time
    )
    before = denoiser.network.conv_out.weight.detach().clone()
    fit(trainee, batches, folder, Recorder(tmp_path, folder, every=1), Runtime(), "one step")
    change = (denoiser.network.conv_out.weight.detach() - before).abs()
    # the network says zero at first, so that the loss is the mean of eps²; Adam's first step is as long as the rate
    assert folder.rows["train/loss"] == pytest.approx(1.0, abs=0.05)
    assert folder.rows["train/lr"] == 9.6e-5
    assert float(change.max()) == pytest.approx(9.6e-5, rel=1e-3)
    assert np.isfinite(folder.rows["validation/loss"])
    for weights in ("raw", "ema"):
        file = tmp_path / f"{weights}-0000001.safetensors"
        assert file.stat().st_size == pytest.approx(4 * 274.06e6, rel=1e-3)
        file.unlink()  # pytest keeps what tests leave
