"""The examples of docs/api.md: a real sweep, its results, its model."""

import time

import numpy as np
import pytest
import torch

import ablatent
from ablatent.api.sweeps import SweepHandle
from ablatent.core.errors import ConfigError
from ablatent.core.images import levels
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.guidance import ClassifierFree
from commands import SMALL

pytestmark = pytest.mark.slow
FULL = ["conditioner=class", *SMALL]


def test_a_sweep_and_its_results(page) -> None:
    folder, names = page
    handle, table = names["handle"], names["table"]
    assert handle.state == "finished" and handle.report.is_file()
    assert SweepHandle(folder / "store", handle.id) == handle and handle.id != names["running"].id
    assert table["sampler.steps"].tolist() == [2, 5] and table["status"].tolist() == ["finished"] * 2
    assert (table["kid_192_low"] <= table["kid_192"]).all() and (table["seconds"] > 0).all()
    assert table["diffusion_key"].nunique() == 1 and table["samples_key"].nunique() == 2
    assert table["sweep"].unique().tolist() == [names["running"].id], "the newest"
    assert handle.results()["samples_key"].tolist() == table["samples_key"].tolist()
    assert float(names["drawn"].std()) == pytest.approx(0.5, abs=0.1)
    printed = names["printed"]
    assert "\nsampler.step: expected" in printed and "Did you mean 'sampler.steps'?" in printed
    assert printed.count("2 of 2 jobs finished") == 1, "what the second command prints is not shown"


def test_a_model_samples_encodes_and_decodes(page) -> None:
    model, images = page[1]["model"], page[1]["images"]
    pixels = np.stack([levels(image) for image in images])
    assert pixels.shape == (8, 32, 32, 3) and len(model.loaded) == 1, "weights are loaded once"
    first = model.sample(1, seed=0, label=3)[0]
    assert np.abs(levels(first).astype(int) - pixels[0]).max() <= 1, "image i does not depend on n"
    by_object = model.sample(2, label=3, sampler=DDIM(steps=5), guidance=ClassifierFree(scale=3.0))
    by_number = page[1]["same"]
    assert [a.tobytes() for a in by_object] == [b.tobytes() for b in by_number]
    assert [a.tobytes() for a in by_object] == [b.tobytes() for b in page[1]["guided"]], "the job has 5 steps"
    latents = page[1]["latents"]
    assert latents.dtype == torch.float32 and torch.equal(latents, model.encode(pixels))
    raw = model.model.first_stage.moments(torch.from_numpy(pixels / 127.5 - 1).permute(0, 3, 1, 2).float()).mean
    assert torch.allclose(model.model.normalizer.normalize(raw), latents, atol=1e-5)
    decoded = np.stack([levels(image) for image in model.decode(latents.double())]).astype(int)
    again = np.stack([levels(image) for image in page[1]["again"]])
    assert np.abs(decoded - again).max() <= 1
    for wrong, key in (
        (lambda: model.encode(pixels[:, :30]), "images"),
        (lambda: model.decode(latents[:, :1]), "latents"),
        (lambda: model.sample(0), "n"),
        (lambda: model.sample(guidance=ClassifierFree(scale=2.0), scale=2.0), "scale"),
        (lambda: model.sample(prompt="a dog"), "prompt"),
    ):
        with pytest.raises(ConfigError) as error:
            wrong()
        assert error.value.key == key


def test_a_sweep_that_is_stopped_and_one_with_a_refused_job(page, capsys) -> None:
    store = page[0] / "store"
    running = ablatent.sweep([*FULL, "training.steps=100000"], store, wait=False)
    assert running.state == "running" and running.report is None and capsys.readouterr().out == ""
    until = time.monotonic() + 300
    while not list((store / "work").glob("diffusion-*/*")) and time.monotonic() < until:
        time.sleep(0.2)
    running.stop()
    assert running.state == "stopped" and running.results()["status"].tolist() == ["unfinished"]
    failed = ablatent.sweep(["sampler.steps=2,2000", *FULL], store)
    assert failed.state == "failed" and failed.results()["status"].tolist() == ["finished", "refused"]
    assert failed.results()["error"].str.contains("sampler.steps").tolist() == [False, True]
    assert "1 of 2 jobs finished" in capsys.readouterr().out
