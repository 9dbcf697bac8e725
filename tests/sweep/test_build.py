"""Stages that other code built, or began, and data that were edited meanwhile. The stages only write down a word."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ablatent.build import main as build_spec
from ablatent.core import blocks
from ablatent.core.errors import DataError, StageError
from ablatent.data.image_folder import ImageFolder
from ablatent.stages import provenance
from ablatent.stages.context import Context
from ablatent.stages.first_stage.kind import FirstStageKind
from ablatent.stages.latents.kind import LatentsKind
from ablatent.stages.models import source_of
from ablatent.store.artifacts import Store
from ablatent.store.work import Work
from ablatent.sweep.builder import Builder
from ablatent.tracking.base import NoRun, RunSpec

RUNTIME = {"device": "cpu", "devices": 1, "threads": None}
FIRST = FirstStageKind().stage({})
LATENTS = LatentsKind().stage({}, {"first_stage": FIRST.key})


@pytest.fixture
def code(monkeypatch):
    """What the code of each kind of stage is, and what building one does; to be changed."""
    code = {"first_stage": "A", "latents": "L", "wrote": []}

    def write(ctx):
        code["wrote"].append(ctx.stage.kind)
        resumed = ctx.work.checkpoint.read_text() if ctx.work.checkpoint.exists() else "nothing"
        kept = ctx.work.blocks("letters", "letters")
        resumed = chr(kept["letter"][0]) if kept.done else resumed
        (ctx.work.files / "word").write_text(f"{code[ctx.stage.kind]} from {resumed}")
        if code.get("die") == "with a checkpoint":
            ctx.work.checkpoint.write_text(code[ctx.stage.kind])
            raise KeyboardInterrupt
        if code.get("die"):
            kept.add(1, letter=np.array([ord(code[ctx.stage.kind])]))
            raise KeyboardInterrupt

    for kind in ("first_stage", "latents"):
        monkeypatch.setitem(sys.modules, f"ablatent.stages.{kind}.build", SimpleNamespace(build=write))
    monkeypatch.setattr(provenance, "code_digest", lambda modules: code[modules[0].split(".")[-2]])
    return code


def built_by(root, on_code_change, *stages):
    """The word of each stage, and which were built now."""
    builder = Builder(Store(root), RUNTIME, "now", on_code_change)
    made = [builder(stage) for stage in stages]
    return [(artifact.path / "word").read_text() for artifact, *_ in made], [built for _, built, _ in made]


def test_what_reads_a_stage_is_built_again_with_it(tmp_path, code, capsys):
    assert built_by(tmp_path, "warn", FIRST, LATENTS)[1] == [True, True]
    assert built_by(tmp_path, "rebuild", FIRST, LATENTS)[1] == [False, False]
    code["first_stage"] = "B"
    assert built_by(tmp_path, "warn", FIRST, LATENTS)[1] == [False, False]
    assert "first_stage" in (printed := capsys.readouterr().out) and "built by other code" in printed
    with pytest.raises(StageError, match="on_code_change=error"):
        built_by(tmp_path, "error", FIRST)
    assert built_by(tmp_path, "rebuild", FIRST, LATENTS) == (["B from nothing", "L from nothing"], [True, True])
    assert built_by(tmp_path, "error", FIRST, LATENTS)[1] == [False, False]


@pytest.mark.parametrize(
    ("on_code_change", "word"), [("warn", "B from A"), ("rebuild", "B from nothing"), ("error", None)]
)
@pytest.mark.parametrize("left", ["with a checkpoint", "with a block"])
def test_what_other_code_left(tmp_path, code, monkeypatch, left, on_code_change, word):
    monkeypatch.setattr(blocks, "SECONDS", 0.0)
    code["die"] = left
    with pytest.raises(KeyboardInterrupt):
        built_by(tmp_path, on_code_change, FIRST)
    code |= {"die": False, "first_stage": "B"}
    if word is None:
        with pytest.raises(StageError, match="other code than this began it"):
            built_by(tmp_path, on_code_change, FIRST)
        return
    assert built_by(tmp_path, on_code_change, FIRST)[0] == [word]
    assert Store(tmp_path).open(FIRST.key).manifest.code == ("A" if "A" in word else "B")


def test_data_edited_after_the_plan_are_refused(tmp_path):
    """Else the pictures prepared before would be told the captions of others."""
    for i in range(6):
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
        (tmp_path / f"{i}.txt").write_text(f"picture {i}")
    node = {"_target_": "ablatent.data.image_folder.ImageFolder", "size": 8, "root": str(tmp_path), "captions": "txt"}
    data = ImageFolder(**{k: v for k, v in node.items() if k != "_target_"})
    planned = data.fingerprint()
    digests = {"images": planned.images, "annotations": planned.annotations}
    stage = LatentsKind().stage({}, {}, digests, node)
    work = Work(stage.key, tmp_path / "work", "", "")
    ctx = Context(stage, Store(tmp_path / "store"), work, RUNTIME, NoRun(RunSpec()))
    assert source_of(ctx, ctx.images()).annotations.captions == [f"picture {i}" for i in range(6)]
    (tmp_path / "2.png").unlink()
    (tmp_path / "2.txt").unlink()
    with pytest.raises(DataError, match="as it was when this was planned"):
        source_of(ctx, ctx.images())
    later = Context(stage, Store(tmp_path / "other"), work, RUNTIME, ctx.run)
    with pytest.raises(DataError, match="as it was when this was planned"):
        later.images()
    assert not list((tmp_path / "other").glob("objects/*/*"))


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "\xff", '{"stage": {}, "store": "s", "runtime": {}}'])
def test_a_spec_that_is_none_is_one_sentence(tmp_path, text, capsys):
    path = tmp_path / "spec.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    assert build_spec(str(path)) == 1
    out = capsys.readouterr().out
    assert "spec.json" in out and "expected" in out and not (tmp_path / "s").exists()


@pytest.mark.parametrize("on_code_change", ["warn", "rebuild"])
def test_a_damaged_mark_of_the_code_counts_as_other_code(tmp_path, code, on_code_change, capsys):
    code["die"] = "with a checkpoint"
    with pytest.raises(KeyboardInterrupt):
        built_by(tmp_path, on_code_change, FIRST)
    (Store(tmp_path).work_folder(FIRST.key) / "code").write_bytes(b"\xff")
    code["die"] = False
    word = built_by(tmp_path, on_code_change, FIRST)[0]
    assert "other code than this began it" in capsys.readouterr().out
    assert word == ["A from A" if on_code_change == "warn" else "A from nothing"]
