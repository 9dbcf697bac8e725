"""What a configuration may name: two gates, before and after the import, for typed and for stored configurations."""

import sys

import pytest
from torch import nn
from torch.optim import Optimizer

from ablatent.core.errors import ConfigError
from ablatent.core.instantiate import make
from ablatent.core.options import ROOT_VARIABLE, SEARCHPATH_VARIABLE
from ablatent.core.validation import check_targets
from ablatent.samplers.base import Sampler
from commands import ROOT, inline

DDIM = {"_target_": "ablatent.samplers.ddim.DDIM", "steps": 5}
SIDE_EFFECT = """
from pathlib import Path
from ablatent.samplers.ddim import DDIM
Path(__file__).with_name("imported").touch()
class Mine(DDIM):
    \"\"\"As DDIM.\"\"\"
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module on sys.path whose import leaves a file beside it; it has a sampler, Mine."""
    name = f"elsewhere_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(SIDE_EFFECT)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(ROOT_VARIABLE, str(ROOT))
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "os.mkdir", "path": "made"},
        {"_target_": "io.open", "file": "made", "mode": "w"},
        {"_target_": "os.open", "path": "made", "flags": 65},
        {"_target_": "ablatent.core.files.write_json", "path": "made", "value": 1},
        {"_target_": "ablatent.store.artifacts.Store", "root": "made"},
        {"_target_": "torch.optim.Adam", "params": []},
        {"_target_": "ablatent.samplers.guidance.NoGuidance"},
        {"_target_": "ablatent.samplers.ddim"},
        {"_target_": "DDIM"},
        {"_target_": None},
        {"_target_": ["os.mkdir"]},
        {"steps": 5},
        {**DDIM, "clip_x0": {"_target_": "os.mkdir", "path": "made"}},
        {**DDIM, "clip_x0": {"_target_": "ablatent.samplers.ddim.DDIM", "steps": 5}},
        {**DDIM, "grid": [{"_target_": "os.mkdir", "path": "made"}]},
        {**DDIM, "_partial_": True},
        {**DDIM, "_args_": [1]},
        {**DDIM, "_convert_": "none"},
    ],
    ids=str,
)
def test_only_a_class_that_its_place_expects_is_made(node, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError):
        make(node, Sampler)
    assert not list(tmp_path.iterdir())


def test_places_of_other_libraries_take_their_classes_alone():
    check_targets({"_target_": "torch.optim.SGD"}, Optimizer)
    check_targets({"_target_": "ablatent.networks.unet.UNet"}, nn.Module)
    for target, expected in (("torch.optim.swa_utils.SWALR", Optimizer), ("torch.nn.Linear", nn.Module)):
        with pytest.raises(ConfigError):
            check_targets({"_target_": target}, expected)


def test_a_module_elsewhere_is_refused_and_not_imported(module, tmp_path):
    with pytest.raises(ConfigError, match="beside your conf/"):
        make({"_target_": f"{module}.Mine", "steps": 5}, Sampler)
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("variable", [ROOT_VARIABLE, SEARCHPATH_VARIABLE])
def test_a_module_beside_the_conf_of_a_user_is_taken(module, variable, tmp_path, monkeypatch):
    monkeypatch.setenv(variable, str(tmp_path if variable == ROOT_VARIABLE else tmp_path / "conf"))
    assert make({"_target_": f"{module}.Mine", "steps": 5}, Sampler).steps == 5
    with pytest.raises(ConfigError):
        make({"_target_": f"{module}.Path", "steps": 5}, Sampler)


@pytest.mark.parametrize(
    "override",
    [
        "sampler.clip_x0={_target_:os.mkdir,path:made}",
        "optimizer.betas={_target_:os.mkdir,path:made}",
        "training.snapshots=[{_target_:os.mkdir,path:made}]",
        "tracking._target_=os.getcwd",
        "verb._target_=os.getcwd",
        "executor._target_=os.getcwd",
        "sampler._target_=ablatent.samplers.guidance.NoGuidance",
        "preset.training.steps={_target_:os.mkdir,path:made}",
    ],
)
def test_planning_executes_nothing_that_a_value_names(override, tmp_path):
    done = inline(tmp_path, "do=plan", "preset=tiny", "data=digits", override)
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "made").exists()
