"""The perceptual distance: its facts, and what it must not do to a training."""

from pathlib import Path

import pytest
import torch
import yaml

from ablatent.core.errors import ConfigError
from ablatent.core.weights import PretrainedFile
from ablatent.first_stage.perceptual import NoPerceptual, ShiftTolerantLPIPS

CONF = Path(__file__).parents[2] / "conf" / "perceptual"
# The published implementation's distances (stlpips-pytorch 0.0.2, evaluation mode) on `pair(32)`.
PUBLISHED = {"vgg": [0.156524986, 0.024614401], "alex": [0.13479051, 0.021041753]}


def build(net: str) -> ShiftTolerantLPIPS:
    config = yaml.safe_load((CONF / f"{net}.yaml").read_text())
    weights = {k: v for k, v in config["weights"].items() if k != "_target_"}
    return ShiftTolerantLPIPS(config["net"], PretrainedFile(**weights), config["digest"])


def pair(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images in [-1, 1] by formula, two of them."""
    rows, columns = torch.meshgrid(torch.arange(size) / size, torch.arange(size) / size, indexing="ij")
    planes = [torch.sin(6 * rows + k * columns * 4 + k) for k in range(6)]
    x = torch.stack(planes).reshape(2, 3, size, size)
    return x, (0.7 * x + 0.3 * torch.cos(25 * columns)).clamp(-1, 1)


@pytest.fixture(scope="module", params=["vgg", "alex"])
def network(request: pytest.FixtureRequest) -> ShiftTolerantLPIPS:
    return build(request.param)


@torch.no_grad()
def test_equals_the_published_implementation(network: ShiftTolerantLPIPS) -> None:
    published = torch.tensor(PUBLISHED[network.name.removeprefix("stlpips_")])
    torch.testing.assert_close(network(*pair(32)), published, rtol=1e-4, atol=1e-7)


@torch.no_grad()
def test_zero_for_equal_images_symmetric_and_growing(network: ShiftTolerantLPIPS) -> None:
    x, y = pair(32)
    assert network(x, x).tolist() == [0, 0]
    torch.testing.assert_close(network(x, y), network(y, x))
    assert (network(x, y) > network(x, x + 0.3 * (y - x))).all()


def test_frozen_and_out_of_the_checkpoint(network: ShiftTolerantLPIPS) -> None:
    assert not list(network.parameters())
    assert not network.state_dict()
    assert not network.train().training


def test_gradient_reaches_the_image_and_is_finite_where_features_are_zero(network: ShiftTolerantLPIPS) -> None:
    y = torch.zeros(1, 3, 32, 32, requires_grad=True)
    network(pair(32)[0][:1], y).sum().backward()
    assert y.grad is not None and torch.isfinite(y.grad).all() and y.grad.abs().sum() > 0


@torch.no_grad()
def test_smallest_size(network: ShiftTolerantLPIPS) -> None:
    x, y = pair(network.smallest)
    assert torch.isfinite(network(x, y)).all()
    with pytest.raises(ConfigError, match=f"{network.smallest} px"):
        network(*pair(network.smallest - 1))
    network_smallest, network.smallest = network.smallest, 1
    try:
        with pytest.raises(RuntimeError):  # one pixel less cannot be reflected: the limit is exact
            network(*pair(network_smallest - 1))
    finally:
        network.smallest = network_smallest


def test_meta_device_loads_nothing() -> None:
    absent = PretrainedFile(name="absent", path="/nowhere/absent.pth")
    with torch.device("meta"):
        network = ShiftTolerantLPIPS("vgg", absent, "")
        assert network(torch.empty(2, 3, 32, 32), torch.empty(2, 3, 32, 32)).shape == (2,)
    with pytest.raises(ConfigError):
        network.check()


def test_other_tensors_and_other_nets_are_refused() -> None:
    config = yaml.safe_load((CONF / "alex.yaml").read_text())
    weights = PretrainedFile(**{k: v for k, v in config["weights"].items() if k != "_target_"})
    with pytest.raises(ConfigError, match=config["digest"]):
        ShiftTolerantLPIPS("alex", weights, "0" * 32)
    with pytest.raises(ConfigError, match="Did you mean 'vgg'"):
        ShiftTolerantLPIPS("vg", weights, config["digest"])


def test_none_is_zero() -> None:
    x, y = pair(8)
    assert NoPerceptual()(x, y).tolist() == [0, 0]
