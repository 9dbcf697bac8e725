"""The copy of the code that workers run."""

import os
import sys
from pathlib import Path

import pytest

from ablatent.core.files import read_json
from ablatent.executors import snapshot as module
from ablatent.executors.snapshot import snapshot, worker_environment
from ablatent.stages.latents.kind import LatentsKind
from ablatent.stages.provenance import git_state
from ablatent.store import code


@pytest.fixture
def own_package(tmp_path, monkeypatch):
    """A user's package `mine`, of which a stage's data set is made."""
    package = tmp_path / "project" / "mine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "data.py").write_text("NUMBER = 1\n")
    (package / "words.txt").write_text("beside it\n")
    monkeypatch.syspath_prepend(str(package.parent))
    for cached in (code._module, code._users, module.file_of):
        cached.cache_clear()
    yield package
    for name in [n for n in sys.modules if n.partition(".")[0] == "mine"]:
        del sys.modules[name]
    for cached in (code._module, code._users, module.file_of):
        cached.cache_clear()


def test_the_same_code_has_one_copy_and_later_edits_another(tmp_path, own_package):
    stage = LatentsKind().stage({}, {}, {"images": "0" * 32}, {"_target_": "mine.data.Pictures"})
    first = snapshot(tmp_path / "store", [stage])
    assert snapshot(tmp_path / "store", [stage]) == first
    assert (first / "mine" / "data.py").read_text() == "NUMBER = 1\n" and (first / "mine" / "words.txt").exists()
    assert (first / "ablatent" / "build.py").exists() and not list(first.rglob("*.pyc"))
    assert read_json(first.parent / "git.json") == git_state()
    (own_package / "data.py").write_text("NUMBER = 2\n")
    second = snapshot(tmp_path / "store", [stage])
    assert second != first and (first / "mine" / "data.py").read_text() == "NUMBER = 1\n"


def test_only_code_that_is_used_is_copied(tmp_path, own_package):
    folder = snapshot(tmp_path / "store", [LatentsKind().stage({}, {}, {}, {})])
    assert not (folder / "mine").exists()


def test_a_package_that_is_too_large_is_named_and_left_where_it_is(tmp_path, own_package, monkeypatch, capsys):
    monkeypatch.setattr(module, "LARGEST", 5)
    stage = LatentsKind().stage({}, {}, {}, {"_target_": "mine.data.Pictures"})
    folder = snapshot(tmp_path / "store", [stage])
    assert not (folder / "mine").exists() and "is not copied" in capsys.readouterr().out


def test_workers_import_from_the_copy_first(tmp_path, own_package, monkeypatch):
    monkeypatch.setenv("ABLATENT_SEARCHPATH", "/elsewhere/conf")
    stage = LatentsKind().stage({}, {}, {}, {"_target_": "mine.data.Pictures"})
    variables = worker_environment(tmp_path / "store", [stage])
    first, *others = variables["PYTHONPATH"].split(os.pathsep)
    assert Path(first) == snapshot(tmp_path / "store", [stage]) and str(own_package.parent) in others
    # classes of the user's package are allowed where the copy is the project
    assert variables["ABLATENT_SEARCHPATH"].split(os.pathsep) == [f"{first}/conf", "/elsewhere/conf"]
