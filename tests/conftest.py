"""Shapes written in the signatures are checked while the tests run (jaxtyping with beartype)."""

import fcntl
import gc
import os
import pickle
import shutil
import sys
from pathlib import Path

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


def _unit(item: pytest.Item) -> str:
    """What one test process runs as a whole (--dist loadgroup): a file, or a long test that shares nothing with it."""
    file = str(item.path.relative_to(item.config.rootpath))
    fixtures = item._fixtureinfo.name2fixturedefs.values()  # type: ignore[attr-defined]
    shares = any(definition.scope in ("module", "package") for definitions in fixtures for definition in definitions)
    return item.nodeid if item.get_closest_marker("long") and not shares else file


def pytest_collection_modifyitems(items: list[pytest.Item]):
    """Long units first, so that no test process is left alone with one at the end."""
    lengths: dict[str, float] = {}
    units = {item: _unit(item) for item in items}
    for item, unit in units.items():
        item.add_marker(pytest.mark.xdist_group(unit))
        marker = item.get_closest_marker("long")
        lengths[unit] = lengths.get(unit, 0.0) + (marker.args[0] if marker else 0.5)
    places = {unit: place for place, unit in enumerate(lengths)}
    items.sort(key=lambda item: (-lengths[units[item]], places[units[item]]))


def pytest_collection_finish():
    """What the imports left is looked at by the garbage collector no more."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def small_sweep(tmp_path_factory):
    """(folder, finished process) of a small sweep with W&B offline, made once for all test processes; to be copied."""
    from commands import SMALL, run

    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "small_sweep"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        if not (finished := folder.with_suffix(".finished")).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            done = run(folder, "-m", "first_stage=kl,vq", *SMALL, "tracking=wandb")
            assert done.returncode == 0, done.stdout + done.stderr
            finished.write_bytes(pickle.dumps(done))
    return folder, pickle.loads(finished.read_bytes())


@pytest.fixture(scope="session")
def swept(small_sweep, tmp_path_factory):
    """(folder, finished process) of the small sweep, for all tests that look at a store."""
    folder, done = small_sweep
    copy = tmp_path_factory.mktemp("swept")
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    return copy, done


@pytest.fixture(scope="session")
def first_stages(small_sweep):
    """Puts the small sweep's first stages, and what hangs on nothing else, into a folder's store."""

    def put(folder: Path) -> None:
        for kind in ("data", "features", "first_stage", "latents", "reconstruction", "reference"):
            source = small_sweep[0] / "store" / "objects" / kind
            shutil.copytree(source, folder / "store" / "objects" / kind)

    return put
