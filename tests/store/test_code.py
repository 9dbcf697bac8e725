"""The code digest: what changes it and what does not."""

import sys

import pytest

from ablatent.store import code


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules; returns a function that rewrites one and gives the digest of the other."""
    folder = tmp_path / "toypackage"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "top.py").write_text("def f():\n    from toypackage import low\n    return low.x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(code, "PACKAGE", "toypackage")

    def digest(low, imported="toypackage.low"):
        (folder / "low.py").write_text(low)
        (folder / "top.py").write_text(f"def f():\n    import {imported}\n    return 1\n")
        code._module.cache_clear()
        for name in [m for m in sys.modules if m.startswith("toypackage")]:
            del sys.modules[name]
        return code.code_digest(["toypackage.top"])

    yield digest
    code._module.cache_clear()


def test_comments_and_docstrings_do_not_count(package):
    assert package("x = 1\n") == package('"""Doc."""\n# a comment\nx = 1\n')


def test_code_reached_through_a_function_counts(package):
    assert package("x = 1\n") != package("x = 2\n")


def test_code_that_is_not_reached_does_not_count(package):
    assert package("x = 1\n", "json") == package("x = 2\n", "json")


def test_code_of_a_user_counts_with_what_it_imports_and_installed_code_does_not(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    def digest(helper, uses="import toyhelper, json, numpy"):
        (tmp_path / "toyhelper.py").write_text(helper)
        (tmp_path / "toystage.py").write_text(f"{uses}\n")
        code._module.cache_clear()
        code._users.cache_clear()
        return code.code_digest(["toystage", "torch.optim"])

    assert digest("x = 1\n") == digest("# a comment\nx = 1\n") != digest("x = 2\n")
    assert digest("x = 1\n", "import json") == digest("x = 2\n", "import json") != code.code_digest([])
    assert code.code_digest(["torch.optim", "json.decoder"]) == code.code_digest([])
    code._module.cache_clear()
