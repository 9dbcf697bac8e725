"""Shapes written in the signatures are checked while the tests run (jaxtyping with beartype)."""

import gc
import os
import sys

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("WANDB_MODE", "offline")
install_import_hook("ablatent", "beartype.beartype")


_fast: list[pytest.Item] = []
"""The test of the fast set that is running, if one is."""


def _no_interpreter(event: str, arguments: tuple) -> None:
    """Audit hook: an interpreter takes ten seconds to import what a test here has at hand."""
    if event == "subprocess.Popen" and _fast and sys.executable in map(str, (arguments[0], *arguments[1])):
        pytest.fail(f"{_fast[-1].nodeid} starts an interpreter: run it in this process, or mark it slow")


sys.addaudithook(_no_interpreter)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    if not item.get_closest_marker("slow"):
        _fast.append(item)
    try:
        return (yield)
    finally:
        _fast.clear()


def pytest_collection_finish():
    """What the imports left is looked at by the garbage collector no more."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """(folder, finished process) of one small sweep with W&B offline, made once for all tests that look at a store."""
    from commands import SMALL, run

    folder = tmp_path_factory.mktemp("swept")
    done = run(folder, "-m", "first_stage=kl,vq", *SMALL, "tracking=wandb")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done
