"""The Python API: light to import, its names stable, its answers to wrong input those of the command line."""

import importlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image
from report_store import build

import ablatent
from ablatent.api.sweeps import _quoted
from ablatent.core.errors import ConfigError
from ablatent.inference.arguments import check_latents, check_objects, pixels_of
from ablatent.report.csv_files import jobs_csv
from ablatent.report.load import load_sweep

ALONE = """
import sys

import ablatent

heavy = {"torch", "numpy", "hydra", "omegaconf", "wandb", "pytorch_lightning", "pandas"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert {"load", "sweep", "results", "Pipeline"} <= set(dir(ablatent))

import torch

from ablatent.core.types import Cond, Prediction
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.parameterization import V
from ablatent.networks.unet import UNet
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.ddpm import DDPM
from ablatent.samplers.guidance import ClassifierFree, GuidanceInputs
from ablatent.schedules.cosine import Cosine

schedule, noise = Cosine(T=100, s=0.008, max_beta=0.999, zero_terminal_snr=False), torch.randn

# of data N(1, 0.5²) every x_0 is known: E[x_0 | x_t]
def denoise(x, t):
    alpha, sigma = (part.to(x.dtype)[:, None, None, None] for part in schedule.alpha_sigma(t))
    x0 = 1 + 0.25 * alpha / (0.25 * alpha**2 + sigma**2) * (x - alpha)
    return Prediction(x0, (x - alpha * x0) / sigma)

torch.manual_seed(0)
x = torch.randn(2000, 1, 1, 1)
for sampler in (DDIM(steps=50), DDPM(steps=50)):
    drawn = sampler(denoise, schedule, x, lambda i: torch.randn_like(x))
    assert abs(drawn.mean() - 1) < 0.05 and abs(drawn.std() - 0.5) < 0.05, (sampler, drawn.mean(), drawn.std())

network = UNet(in_channels=1, out_channels=1, ch=8, ch_mult=[1, 2], num_res_blocks=1, attn_factors=[2], head_channels=8,
               context_dim=None, vector_dim=4, spatial_channels=0, heads=None, transformer_depth=1, dropout=0.0,
               scale_shift=False, resblock_updown=False, checkpointing=False)
with torch.no_grad():
    cond = Cond(vector=torch.ones(2, 4))
    inputs = GuidanceInputs(Denoiser(network, schedule, V()), cond, Cond(vector=0 * cond.vector))
    guided = ClassifierFree(scale=2.0)(inputs)
    assert DDIM(steps=3)(guided, schedule, torch.randn(2, 1, 8, 8), noise).shape == (2, 1, 8, 8)
print(sorted({name.partition(".")[0] for name in sys.modules} & (heavy | {"lightning", "yaml"})))
"""


@pytest.mark.slow
def test_schedules_samplers_and_networks_need_torch_alone() -> None:
    """In a fresh interpreter: `import ablatent` imports nothing heavy, and a model of one's own is sampled without
    Hydra, W&B and Lightning."""
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['numpy', 'torch']"


def test_the_names_of_the_package() -> None:
    assert {name for name in ablatent.__all__ if not callable(getattr(ablatent, name))} == set()
    with pytest.raises(AttributeError, match="no attribute 'sample'"):
        _ = ablatent.sample
    plan = importlib.import_module("ablatent.sweep.plan")  # puts the room into the place of the function
    assert ablatent.sweep.plan is plan
    for wrong, key in (
        ("preset=tiny", "overrides"),
        (["-m"], "overrides"),
        (["preset"], "overrides"),
        (["do=plan"], "do"),
        (["store.path=x"], "store.path"),
        (["hydra/launcher=joblib"], "hydra/launcher"),
    ):
        with pytest.raises(ConfigError) as error:
            ablatent.sweep(wrong)
        assert error.value.key == key and error.value.do, "and so does the room"


def test_stores_and_models_that_are_not_there(tmp_path) -> None:
    for call, key in (
        (lambda: ablatent.load("S:0", tmp_path / "none"), "store.path"),
        (lambda: ablatent.load("S:0", tmp_path, device="tpu"), "device"),
        (lambda: ablatent.load("S:0", tmp_path), "model"),
    ):
        with pytest.raises(ConfigError) as error:
            call()
        assert error.value.key == key
    assert not list(tmp_path.iterdir()), "what only reads leaves nothing"


@pytest.mark.parametrize("path", ["/tmp/a", "/a b/c,d", "/it's", "/${HOME}/x=[1]", "/é/{a: b}", "/a\\b'c", "/end\\"])
def test_any_path_of_a_store_arrives(path: str) -> None:
    parsed = OverridesParser.create().parse_override(f"store.path={_quoted(path)}").value()
    assert OmegaConf.create({"path": str(parsed)})["path"] == path


def test_images_and_latents_are_checked() -> None:
    array = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    assert np.array_equal(pixels_of([Image.fromarray(image) for image in array], 3, 4), array)
    grey = [Image.fromarray(image[..., 0]) for image in array]
    assert np.array_equal(pixels_of(grey, 1, 4), array[..., :1])
    wrong = [array / 255.0, array[0], array[:, :6], torch.zeros(2, 3, 8, 8), [], grey, ["a.png"]]
    wrong += [[Image.new("RGB", (8, 8)), Image.new("RGB", (8, 4))]]
    for images in wrong:
        with pytest.raises(ConfigError, match=r"^images: expected .*; got .*\."):
            pixels_of(images, 3, 4)
    check_latents(torch.zeros(1, 4, 2, 2), 4)
    for latents in (torch.zeros(4, 2, 2), torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 2, 2).int(), array):
        with pytest.raises(ConfigError, match=r"^latents: expected a floating-point tensor \(n, 4, h, w\)"):
            check_latents(latents, 4)
    with pytest.raises(ConfigError, match=r"^guidance: expected an object, for example ablatent\.samplers\.guidance"):
        check_objects(None, None, 3.0, None, None)


def test_results_without_pandas_say_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ablatent.AblatentError, match=r"expected pandas.*pip install 'ablatent\[pandas\]'"):
        ablatent.results(tmp_path)


@pytest.mark.filterwarnings("ignore:.* of its protocol")
def test_results_are_the_report_s_table(tmp_path) -> None:
    pandas = pytest.importorskip("pandas")
    sweep = load_sweep(tmp_path, build(tmp_path, {"first_stage": ["kl", "vq"], "seed": ["0", "1"]}))
    table = ablatent.results(tmp_path)
    (tmp_path / "report.csv").write_text(jobs_csv(sweep))
    written = pandas.read_csv(tmp_path / "report.csv")
    assert list(table.columns[:1]) == ["sweep"] and set(table["sweep"]) == {sweep.id}
    same = [column for column in written.columns if column != "seconds"]
    pandas.testing.assert_frame_equal(table[same], written[same], check_dtype=False)
    assert table["seconds"].round(3).tolist() == written["seconds"].tolist()
    assert table["first_stage_key"].tolist() == [job.stages["first_stage"] for job in sweep.jobs]
    assert table["fid_192"].dtype == float and {"error", "seconds_spent"} <= set(table.columns)
    for wrong in ("none", ["none"], "../up"):
        with pytest.raises(ConfigError, match=r"^sweep: expected"):
            ablatent.results(tmp_path, wrong)
    other = build(tmp_path, {"first_stage": ["kl"]}, counts=[100], sweep="2026-11-23_20-00-00")
    assert ablatent.results(tmp_path)["sweep"].tolist() == [other], "the newest"
    with pytest.warns(UserWarning, match=r"^fid_192: jobs differ in n_fake of its protocol"):
        every = ablatent.results(tmp_path, "all")
    with pytest.warns(UserWarning):
        pandas.testing.assert_frame_equal(every, ablatent.results(tmp_path, [sweep.id, other, other]))
    assert every["sweep"].tolist() == [sweep.id] * 4 + [other] and every["seed"].isna().tolist() == [False] * 4 + [True]
