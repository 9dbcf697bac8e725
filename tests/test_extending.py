"""docs/extending.md holds: each of its files works as it stands there, and its sampler passes the suite unedited."""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILE = re.compile(r"^`([\w/]+\.(?:py|yaml))`\n\n```(?:python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAMPLER = "dpm_solver_2s"

# Run in the copy: every option is made from its YAML and does what its group is for.
TRY = """
from pathlib import Path
import numpy as np
import torch
from hydra.utils import instantiate
from jaxtyping import install_import_hook
from omegaconf import OmegaConf
install_import_hook("ablatent", "beartype.beartype")
import ablatent
from ablatent.core.types import Cond, Prediction
from ablatent.data.base import load_images
from ablatent.diffusion.denoiser import Denoiser
assert Path(ablatent.__file__).is_relative_to(Path.cwd()), ablatent.__file__

def make(option, **extra):
    preset = {"data": {"size": 8, "limit": None}, "network": {"ch": 6}, "sampler": {"steps": 3}}
    node = OmegaConf.create({"preset": preset, "node": OmegaConf.load(f"conf/{option}.yaml")}).node
    return instantiate(OmegaConf.to_container(node, resolve=True), _convert_="all", **extra)

schedule = make("schedule/geometric")
assert schedule.T == 1000 and bool((schedule.alphas_cumprod.diff() < 0).all())

u, x, eps = make("parameterization/u"), torch.randn(4, 2, 8, 8).double(), torch.randn(4, 2, 8, 8).double()
t = torch.tensor([0.0, 10.0, 500.0, 999.0])
alpha, sigma = schedule.alpha_sigma(t)
said = u.prediction(u.target(x, eps, alpha, sigma), schedule.q_sample(x, t, eps), alpha, sigma)
torch.testing.assert_close(said.x0, x)
torch.testing.assert_close(said.eps, eps)
out = torch.zeros(1, 1, 1, 1, dtype=torch.float64, requires_grad=True)
moved = u.prediction(out, torch.zeros(1, 1, 1, 1).double(), alpha[2:3], sigma[2:3]).x0
(slope,) = torch.autograd.grad(moved.sum(), out)
assert abs(slope.item() ** 2 - u.g(alpha[2:3] ** 2, sigma[2:3] ** 2).item()) < 1e-12

for weighting in ("soft_min_snr", "u"):
    made = make(f"weighting/{weighting}")
    tables = [made.table(schedule, make(f"parameterization/{p}")) for p in ("eps", "x0", "v", "u")]
    snr = schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)
    torch.testing.assert_close(tables[0] * snr, tables[1])
    assert all(bool(torch.isfinite(v).all()) for v in tables)

parts = {"context_dim": None, "vector_dim": None, "spatial_channels": 0}
network = make("network/plain", in_channels=2, out_channels=2, **parts)
denoiser = Denoiser(network, schedule, u)
assert denoiser(x.float(), t, Cond()).x0.shape == x.shape
asked = []

class Said:
    def __init__(self):
        self.schedule = schedule
    def __call__(self, x_t, t, cond):
        asked.append(cond)
        return Prediction(x_t * cond.vector[0, 0], x_t)

cond, null = Cond(vector=torch.ones(4, 1)), Cond(vector=torch.zeros(4, 1))
guided = make("guidance/ramped")(Said(), cond, null)(x, t.double()).x0
torch.testing.assert_close(guided, x * (3 - 2 * t.double() / 999).reshape(4, 1, 1, 1))
assert len(asked) == 2

sampler = make("sampler/dpm_solver_2s")
x0 = sampler(lambda x_t, time: denoiser(x_t, time, Cond()), schedule, x.float(), lambda i: torch.zeros_like(x))
assert bool(torch.isfinite(x0).all())

fake = np.random.default_rng(0).normal(size=(50, 3))
score = make("metric/mean_distance")(fake, fake + np.array([3.0, 4.0, 0.0]))["meandistance"]
assert abs(score.value - 5) < 1e-9 and score.protocol == {"count_fake": 50, "count_real": 50}

data = make("data/stripes")
data.prepare(Path("stripes"))
images, notes = load_images(Path("stripes")), data.annotations()
assert images.pixels.shape == (1000, 8, 8, 3) and len(notes.labels) == 1000
assert (images.pixels[0] == images.pixels[0][:1]).all() and (images.pixels[1] == images.pixels[1][:, :1]).all()
assert data.fingerprint() == make("data/stripes").fingerprint()
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the page's files in it, and none of its own changed."""
    folder = tmp_path_factory.mktemp("extended")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in ("src", "conf", "tests/samplers"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    for part in ("tests/conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / part, folder / part)
    for name, text in examples().items():
        assert not (folder / name).exists(), f"{name} exists: the page must show a new one"
        (folder / name).write_text(text)
    return folder


def examples() -> dict[str, str]:
    return dict(FILE.findall((ROOT / "docs" / "extending.md").read_text()))


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900, check=False)


def test_the_page_shows_whole_files() -> None:
    found = examples()
    groups = {name.split("/")[1] for name in found if name.startswith("conf/")}
    assert groups == {"sampler", "schedule", "guidance", "weighting", "parameterization", "network", "metric", "data"}
    assert {f"src/ablatent/samplers/{SAMPLER}.py", f"conf/sampler/{SAMPLER}.yaml"} <= set(found)


@pytest.mark.slow
def test_every_example_does_what_its_group_is_for(copy: Path) -> None:
    done = python(copy, "-c", TRY)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long(25)
@pytest.mark.slow
def test_the_new_sampler_passes_the_suite(copy: Path) -> None:
    """Every fast test that knows it by its name, in the copy; none was edited."""
    report = copy / "report.xml"
    done = python(copy, "-m", "pytest", "tests/samplers", "-m", "not slow", "-k", SAMPLER, f"--junitxml={report}")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    ran = {case.get("name") or "" for case in ET.parse(report).iter("testcase") if case.find("skipped") is None}
    mine = {name.split("[")[0] for name in ran if SAMPLER in re.split(r"[\[\]-]", name)}
    assert mine >= {
        "test_the_yaml_names_every_field",
        "test_steps_and_calls_are_those_declared",
        "test_many_steps_reach_the_data",
        "test_dtype_is_kept_and_float32_is_near_float64",
        "test_samples_do_not_depend_on_the_batch",
        "test_from_zero_snr_all_is_finite_or_refused",
        "test_bad_knobs_name_their_key",
        "test_a_knob_of_its_own_refuses_nonsense",
        "test_measured_order_is_at_least_the_declared_one",
    }
