"""Run in a copy of the project that has the files of docs/extending: options by themselves, then whole commands.

python in_copy.py COMMANDS.json RESULTS.json: COMMANDS is a list of [name, words], of run.py; {SWEEP} in a word is the
newest sweep of the store. RESULTS: name → exit code, output, seconds, newest sweep. All in one process: most of a
command is the import of torch.
"""

import contextlib
import copy
import io
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra._internal.config_repository import ConfigRepository
from hydra.utils import instantiate
from jaxtyping import install_import_hook
from omegaconf import OmegaConf

install_import_hook(["ablatent", "nearest"], "beartype.beartype")

import ablatent  # noqa: E402
from ablatent.cli.main import main  # noqa: E402
from ablatent.core.types import Cond, Prediction  # noqa: E402
from ablatent.data.prepared import load_images  # noqa: E402
from ablatent.diffusion.denoiser import Denoiser  # noqa: E402
from ablatent.samplers.guidance import GuidanceInputs  # noqa: E402

ROOT = Path(__file__).parent
load_config, parsed = ConfigRepository.load_config, dict[str, Any]()


def load_once(repository: ConfigRepository, config_path: str) -> Any:
    """Each file of conf/ is read once for all commands: reading is most of composing."""
    if config_path not in parsed and (found := load_config(repository, config_path)) is not None:
        parsed[config_path] = found
    return copy.deepcopy(parsed.get(config_path))


def make(option, **extra):
    preset = {"data": {"size": 8, "limit": None}, "network": {"ch": 6}, "sampler": {"steps": 3}}
    node = OmegaConf.create({"preset": preset, "node": OmegaConf.load(f"conf/{option}.yaml")}).node
    return instantiate(OmegaConf.to_container(node, resolve=True), _convert_="all", **extra)


def options() -> None:
    """Every option is made from its YAML and does what its group is for."""
    schedule = make("schedule/geometric")
    assert schedule.T == 1000 and bool((schedule.alphas_cumprod.diff() < 0).all())

    p, x, eps = make("parameterization/residual"), torch.randn(4, 2, 8, 8).double(), torch.randn(4, 2, 8, 8).double()
    t = torch.tensor([0.0, 10.0, 500.0, 999.0])
    alpha, sigma = schedule.alpha_sigma(t)
    given = p.prediction(p.target(x, eps, alpha, sigma), schedule.q_sample(x, t, eps), alpha, sigma)
    torch.testing.assert_close(given.x0, x)
    torch.testing.assert_close(given.eps, eps)
    out = torch.zeros(1, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    moved = p.prediction(out, torch.zeros(1, 1, 1, 1).double(), alpha[2:3], sigma[2:3]).x0
    (slope,) = torch.autograd.grad(moved.sum(), out)
    assert abs(slope.item() ** 2 - p.g(alpha[2:3] ** 2, sigma[2:3] ** 2).item()) < 1e-12

    for weighting in ("soft_min_snr", "residual"):
        weights = make(f"weighting/{weighting}")
        tables = [weights.loss_weights(schedule, make(f"parameterization/{p}")) for p in ("eps", "x0", "v", "residual")]
        snr = schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)
        torch.testing.assert_close(tables[0] * snr, tables[1])
        assert all(bool(torch.isfinite(v).all()) for v in tables)

    parts = {"context_dim": None, "vector_dim": None, "spatial_channels": 0}
    network = make("network/plain", in_channels=2, out_channels=2, **parts)
    denoiser = Denoiser(network, schedule, p)
    assert denoiser(x.float(), t, Cond()).x0.shape == x.shape
    conditions = []

    class Doubling:
        def __init__(self):
            self.schedule = schedule

        def __call__(self, x_t, t, cond):
            conditions.append(cond)
            return Prediction(x_t * cond.vector[0, 0], x_t)

    cond, null = Cond(vector=torch.ones(4, 1)), Cond(vector=torch.zeros(4, 1))
    guided = make("guidance/ramped")(GuidanceInputs(Doubling(), cond, null))(x, t.double()).x0
    torch.testing.assert_close(guided, x * (3 - 2 * t.double() / 999).reshape(4, 1, 1, 1))
    assert len(conditions) == 2

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
    other = make("data/stripes", unit="share").fingerprint()
    assert other.images == data.fingerprint().images and other.annotations != data.fingerprint().annotations

    times, u01 = make("timestep_sampler/power", schedule=schedule), torch.rand(50000, dtype=torch.float64)
    t, weight = times(u01)
    assert t.min() >= 0 and t.max() <= 999
    counts = torch.bincount(t, minlength=1000).double().reshape(10, 100).sum(1) / len(t)
    expected = ((torch.arange(11, dtype=torch.float64) / 10) ** (1 / 1.5)).diff()
    torch.testing.assert_close(counts, expected, atol=0.01, rtol=0)
    assert abs(weight.mean() - 1) < 0.02

    blocks, image = make("first_stage/block_means"), torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(
        blocks.moments(blocks.decode(blocks.moments(image).mean)).mean, blocks.moments(image).mean
    )
    edges = make("perceptual/edges")
    torch.testing.assert_close(edges(image, image + 0.1), torch.zeros(2))
    assert (edges(image, image.flip(3)) > 0).all()
    colours = make("extractor/colours")(torch.full((1, 3, 8, 8), 7, dtype=torch.uint8))
    assert colours.shape == (1, 48) and bool((colours == 7).all())


def command(words: list[str]) -> dict[str, object]:
    """Exit code, output and seconds of `python run.py WORDS`."""
    store = Path(os.environ["ABLATENT_STORE"])
    sweeps = sorted(p.parent.name for p in (store / "sweeps").glob("*/plan.json"))
    sys.argv = ["run.py", *(word.replace("{SWEEP}", sweeps[-1] if sweeps else "") for word in words)]
    output, start, code = io.StringIO(), time.monotonic(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            main(ROOT)
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            code = 99
            traceback.print_exc()
    sweeps = sorted(p.parent.name for p in (store / "sweeps").glob("*/plan.json"))
    newest = sweeps[-1] if sweeps else None
    return {"code": code, "output": output.getvalue(), "seconds": time.monotonic() - start, "sweep": newest}


if __name__ == "__main__":
    given, results = Path(sys.argv[1]), Path(sys.argv[2])
    assert Path(ablatent.__file__).is_relative_to(ROOT), ablatent.__file__
    options()
    ConfigRepository.load_config = load_once
    done = {name: command(words) for name, words in json.loads(given.read_text())}
    results.write_text(json.dumps(done))
