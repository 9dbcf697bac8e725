"""Stages without a training, stopped after two batches and built again: the bits of a build that was not stopped."""

import pytest

from ablatent.core import blocks
from ablatent.core.progress import Bar
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.sweep.builder import Builder
from ablatent.sweep.plan import Composed, make_plan
from commands import SMALL
from composing import composed

pytestmark = pytest.mark.slow

TIMED = ("summary.json", "manifest.json")  # how long it took stands there
JOBS = {
    "latents": ("first_stage=vq",),
    "reconstruction": ("first_stage=vq",),
    "reference_train": ("first_stage=vq",),
    "samples": ("first_stage=vq",),
    "task": ("first_stage=vq", "task=interpolate"),
}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("role", JOBS)
def test_a_stopped_build_goes_on(swept, monkeypatch, capsys, role):
    folder, _ = swept
    monkeypatch.chdir(folder)
    monkeypatch.setattr(blocks, "SECONDS", 0.0)
    monkeypatch.setattr(blocks, "SHARE", 0.0)
    config = composed(*JOBS[role], *SMALL, "runtime.batch_size=5")
    stage = make_plan([Composed([], config)]).jobs[0].stages[role]
    store = Store("store")
    calls = []

    def build():
        return Builder(Store("store"), config["runtime"], "", "warn")(stage)[0]

    def remove():
        store.set_aside(stage.key, "for a test.", lambda _: True)
        for features in (store.root / "objects" / "features").iterdir():
            store.set_aside(Key(features.name), "for a test.", lambda _: True)

    def files(artifact):
        return {p.name: p.read_bytes() for p in artifact.path.iterdir() if p.name not in TIMED}

    remove()
    whole = build()
    expected = files(whole)
    remove()
    advance = Bar.advance

    def dying(self, n=1, **shown):
        advance(self, n, **shown)
        calls.append(n)
        if len(calls) == (3 if self.unit == "images" else 2 * config["sampler"]["steps"]):
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Bar, "advance", dying)
        build()
    assert list(store.work_folder(stage.key).glob("blocks/*/*.block"))
    capsys.readouterr()
    resumed = build()
    assert "goes on after the first" in capsys.readouterr().out
    assert files(resumed) == expected
    assert not store.work_folder(stage.key).exists()
