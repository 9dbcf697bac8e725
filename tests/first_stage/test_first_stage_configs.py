from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ablatent.first_stage.base import FirstStage
from ablatent.first_stage.losses import AutoencoderLoss
from ablatent.first_stage.perceptual import NoPerceptual

CONF = Path(__file__).parents[2] / "conf"
# pretrained names a network that is trained elsewhere: tests/interop
KINDS = sorted({p.stem for p in (CONF / "first_stage").glob("*.yaml")} - {"pretrained"})


def config(kind: str, preset: str, **more: Any) -> Any:
    root = OmegaConf.create(
        {
            "preset": OmegaConf.merge(OmegaConf.load(CONF / "preset" / f"{preset}.yaml"), {"first_stage": more}),
            "runtime": {"precision": "32-true"},
            "perceptual": {"_target_": f"{NoPerceptual.__module__}.{NoPerceptual.__name__}"},
            "first_stage": OmegaConf.load(CONF / "first_stage" / f"{kind}.yaml"),
        }
    )
    OmegaConf.resolve(root)
    return root.first_stage


@pytest.mark.parametrize("preset", ["tiny", "demo"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_first_stage_trains_a_step_in_every_preset(kind: str, preset: str) -> None:
    cfg = config(kind, preset)
    parts = {name: cfg.pop(name) for name in ("seed", "loss", "training") if name in cfg}
    torch.manual_seed(0)
    model: FirstStage = instantiate(cfg)
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    z = model.moments(x).mean
    assert tuple(z.shape[1:]) == model.latent_shape(32, 32)
    assert model.decode(z).shape == x.shape
    assert model.trainable == bool(parts)
    if not model.trainable:
        return
    loss: AutoencoderLoss = instantiate(parts["loss"])
    start = parts["loss"].disc_start
    assert 0 < start < parts["training"].steps
    before = model.last_layer().detach().clone()
    optimizer = torch.optim.Adam(model.parameters(), lr=parts["training"].lr)
    value, logs = loss.generator_loss(x, model(x, torch.zeros_like(z)), model.last_layer(), start)
    value.backward()
    optimizer.step()
    assert float(logs["disc_active"]) == 1
    assert not torch.equal(model.last_layer(), before)


def test_the_kl_weight_is_the_published_one_unless_a_preset_says_otherwise() -> None:
    assert config("kl", "tiny").loss.regularizer_weight == 1e-6
    assert config("kl", "tiny", kl_weight=1.0).loss.regularizer_weight == 1.0
