"""Types and shapes written in the signatures are checked while the tests run (jaxtyping with beartype), but with
CHECK_TYPES=0, as make test sets it for the slow set: a training takes a third less without."""

import contextlib
import fcntl
import gc
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("WANDB_MODE", "offline")
# Configurations of tests may name classes of test modules, as a user's may those beside their conf/.
HERE = Path(__file__).parent
os.environ["ABLATENT_SEARCHPATH"] = os.pathsep.join(str(folder / "conf") for folder in (HERE, HERE / "stages"))
if os.environ.get("CHECK_TYPES") != "0":
    install_import_hook("ablatent", "beartype.beartype")

# Seconds, roughly: of long tests that share nothing with the rest of their file, and of long files.
LONG = {
    "tests/cluster/test_ray.py": 180,
    "tests/executors/test_process.py": 150,
    "tests/sweep/test_combinations.py::test_every_combination_runs_or_is_refused": 120,
    "tests/sweep/test_paper_step.py": 120,
    "tests/behaviour/test_partition.py": 90,
    "tests/behaviour/test_bits.py": 90,
    "tests/stages/test_task_stage.py": 90,
    "tests/stages/test_guidance_stage.py": 90,
    "tests/sweep/test_sweep.py::test_kill_9_and_resume_gives_the_same_bits": 90,
    "tests/cluster/test_slurm.py": 110,
    "tests/sweep/test_devices.py": 80,
    "tests/cli/test_launchers.py::test_a_sweep_by": 60,
    "tests/cli/test_signals.py": 60,
    "tests/cli/test_wheel.py": 60,
    "tests/stages/test_judge_stage.py::test_one_judge_for_a_curve_over_guidance": 80,
    "tests/stages/test_judge_features.py::test_two_judges_score_apart_and_a_second_look_gives_the_same_bits": 60,
    "tests/training/test_ranks.py": 80,
    "tests/sweep/test_sweep.py::test_the_2048_features_and_the_default_data": 70,
    "tests/sweep/test_sweep.py::test_fashion_mnist_by_class_with_guidance": 60,
    "tests/sweep/test_sweep.py::test_a_pickled_checkpoint_is_refused_and_not_run": 60,
    "tests/stages/test_conditioners.py::test_conditions_of_scenes_train_and_sample": 50,
    "tests/extending/test_extending.py": 40,
    "tests/tracking/test_publish.py": 100,
    "tests/cli/test_own_folder.py::test_options_of_the_pages_in_an_empty_folder": 50,
    "tests/docs/test_docs_commands.py": 60,
    "tests/stages/test_ema_width.py": 60,
    "tests/stages/test_lengthen.py": 30,
    "tests/training/test_compile.py": 30,
    "tests/sweep/test_sweep.py::test_a_job_made_to_fail_fails_alone": 25,
    "tests/training/test_precision.py": 20,
    "tests/sweep/test_experiments.py::test_an_experiment_is_planned": 8,
    "tests/test_readme.py::test_command": 5,
}

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


def _unit(nodeid: str) -> str:
    """What one test process runs as a whole: a long test of a file, or the file of any other test."""
    return nodeid if nodeid.partition("[")[0] in LONG else nodeid.partition("::")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]):
    """Long units first, so that no test process is left alone with one at the end."""
    items.sort(key=lambda item: -LONG.get(_unit(item.nodeid).partition("[")[0], 0))


def pytest_xdist_make_scheduler(config, log):
    """--dist loadfile, but of units, in their order."""
    from xdist.scheduler import LoadFileScheduling

    class Units(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _unit(nodeid)

    config.option.loadscopereorder = False
    return Units(config, log) if config.option.dist == "loadfile" else None


def pytest_collection_finish():
    """What the imports left is looked at by the garbage collector no more."""
    gc.collect()
    gc.freeze()


def _mounted(folder: Path, *words: str):
    """The folder, with a file system on it. Whoever may mount nothing cannot try this."""
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount here")
    done = subprocess.run(["mount", *words, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path, request):
    """A disk of 1 MiB, or of the size that the test's parameter says."""
    size = getattr(request, "param", "1m")
    yield from _mounted(tmp_path / "small_disk", "-t", "tmpfs", "-o", f"size={size}", "tmpfs")


@pytest.fixture
def read_only(tmp_path):
    """FOLDER → the same folder at a path where nothing can be written, not even by root."""
    mounted = contextlib.contextmanager(_mounted)
    with contextlib.ExitStack() as stack:
        yield lambda folder: stack.enter_context(mounted(tmp_path / "read_only", "-o", "bind,ro", str(folder)))


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
    return copied(small_sweep, tmp_path_factory)


@pytest.fixture(scope="module")
def own_sweep(small_sweep, tmp_path_factory):
    """As `swept`, for the tests of one file alone: those that leave other sweeps, or half of one, in the store."""
    return copied(small_sweep, tmp_path_factory)


def copied(sweep, tmp_path_factory):
    """(folder, finished process) of a copy of a finished sweep."""
    folder, done = sweep
    copy = tmp_path_factory.mktemp("swept")
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    return copy, done


@pytest.fixture(scope="session")
def first_stages(small_sweep):
    """Puts the small sweep's first stages, and what hangs on nothing else, into a folder's store."""

    def put(folder: Path) -> None:
        (folder / "store").mkdir(exist_ok=True)
        shutil.copy(small_sweep[0] / "store" / "FORMAT", folder / "store" / "FORMAT")
        for kind in ("data", "features", "first_stage", "latents", "reconstruction", "reference"):
            source = small_sweep[0] / "store" / "objects" / kind
            shutil.copytree(source, folder / "store" / "objects" / kind)

    return put
