"""LPIPS as published, on random trunks: the published one is in no package."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torchmetrics.functional.image import lpips
from torchmetrics.functional.image.lpips import _LPIPS
from torchvision.models.vgg import cfgs, make_layers

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.files import sha256
from ablatent.core.weights import PretrainedFile
from ablatent.first_stage.lpips import LPIPS
from ablatent.stages.check_helpers import evaluation_check
from ablatent.store.identity import canonical

CONF = yaml.safe_load((Path(__file__).parents[2] / "conf" / "perceptual" / "lpips_vgg.yaml").read_text())
HEADS = PretrainedFile(**{k: v for k, v in CONF["weights"]["heads"].items() if k != "_target_"})


@pytest.fixture(scope="module")
def reference() -> _LPIPS:
    """torchmetrics' network: a random trunk under the published heads."""
    torch.manual_seed(0)
    features = make_layers(cfgs["D"])  # of VGG-16, without its 120 million weights for classification
    for module in features:
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lpips, "_get_tv_model_features", lambda *_: features)
        return _LPIPS(pretrained=True, net="vgg", pnet_rand=True)


@pytest.fixture(scope="module")
def trunk(reference: _LPIPS, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its trunk as a file of torchvision's names."""
    path = tmp_path_factory.mktemp("trunk") / "vgg16.safetensors"
    slices = (
        reference.net.slice1,
        reference.net.slice2,
        reference.net.slice3,
        reference.net.slice4,
        reference.net.slice5,
    )
    save_file({f"features.{name}": v for part in slices for name, v in part.state_dict().items()}, str(path))
    return path


def build(trunk: Path, digits: int = 8) -> LPIPS:
    file = PretrainedFile(name="trunk", path=str(trunk))
    return LPIPS({"trunk": file, "heads": HEADS}, CONF["digest"], sha256(trunk)[:digits])


def test_equals_torchmetrics_and_stays_out_of_checkpoints(reference: _LPIPS, trunk: Path) -> None:
    ours = build(trunk)
    torch.manual_seed(1)
    x = torch.rand(3, 3, 48, 33) * 2 - 1
    y = (x + 0.3 * torch.randn_like(x)).clamp(-1, 1)
    a, b = (v.clone().requires_grad_() for v in (y, y))
    got, expected = ours(x, a), reference(x, b).flatten()
    assert (expected > 1e-3).all() and (got - expected).abs().max() < 1e-5
    got.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-6)
    assert ours(x, x).tolist() == [0, 0, 0]
    assert not list(ours.parameters()) and not ours.state_dict() and not ours.train().training
    small = x[..., : ours.smallest, : ours.smallest]
    assert torch.isfinite(ours(small, -small)).all()
    with pytest.raises(ConfigError, match="16 px"):
        ours(small[..., :-1], small[..., :-1])


def test_another_trunk_is_refused_however_it_was_found(trunk: Path, tmp_path: Path) -> None:
    given = {"trunk": PretrainedFile(name="trunk", path=str(trunk)), "heads": HEADS}
    with pytest.raises(ConfigError, match="begins with 397923af"):
        LPIPS(given, CONF["digest"], CONF["trunk_sha256"])
    with pytest.raises(ConfigError, match="0" * 32):
        LPIPS(given, "0" * 32, sha256(trunk)[:8])
    with pytest.raises(ConfigError, match="8 to 64"):
        build(trunk, digits=7)
    save_file({"features.0.weight": torch.zeros(64, 3, 3, 3)}, str(tmp_path / "part.safetensors"))
    with pytest.raises(DataError, match=r"features\.0\.bias"):
        build(tmp_path / "part.safetensors")


def test_a_plan_names_all_places_of_a_missing_trunk_and_the_alternatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    absent = {**CONF["weights"]["trunk"], "url": (tmp_path / "absent.pth").as_uri()}
    node = {**CONF, "weights": {**CONF["weights"], "trunk": absent}}
    with pytest.raises(ConfigError) as error:
        evaluation_check({"evaluation": {"metrics": {}, "perceptual": node}}).run()
    message = str(error.value)
    for part in (
        *("vgg16-397923af.pth", str(tmp_path / "torch" / "hub" / "checkpoints"), str(tmp_path / "ablatent")),
        *("absent.pth", "Set its path", "perceptual=vgg or perceptual=alex"),
    ):
        assert part in message
    with torch.device("meta"):  # only shapes are asked for
        network = LPIPS({"trunk": PretrainedFile(name="trunk"), "heads": HEADS}, CONF["digest"], CONF["trunk_sha256"])
        assert network(torch.empty(2, 3, 32, 32), torch.empty(2, 3, 32, 32)).shape == (2,)
    with pytest.raises(ConfigError):
        network.check()


def test_the_trunk_enters_the_key_and_its_place_does_not() -> None:
    moved = {**CONF, "weights": {**CONF["weights"], "trunk": {**CONF["weights"]["trunk"], "path": "/elsewhere.pth"}}}
    assert canonical(moved) == canonical(CONF)
    assert canonical({**CONF, "trunk_sha256": "00000000"}) != canonical(CONF)
