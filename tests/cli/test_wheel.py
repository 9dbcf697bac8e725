"""The built package: a wheel from the sdist, its command in a folder of do=init, completions by a real bash."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from commands import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SOURCES = ("src", "conf", "experiments")
SMALLEST = [
    *("sampler=mine", "sampler.steps=3", "preset.training.steps=4", "preset.judge.steps=8", "preset.samples.count=16"),
    *("preset.evaluation.reference_count=32", "preset.evaluation.reconstruction_count=16", "runtime=cpu"),
    "runtime.threads=1",
]


def test_the_version_of_the_changelog_and_the_citation():
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[0] == VERSION


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the wheel installed, and its command in bin/; all else is that of this Python."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "results")
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for file in ROOT.iterdir():
        if file.is_file() and file.name != ".git":
            shutil.copy(file, source)
    code = "from setuptools import build_meta; print(build_meta.build_sdist('.'))"
    built = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=True)
    sdist = source / built.stdout.split()[-1]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(sdist)]
    subprocess.run(wheel, cwd=folder, check=True)
    (path,) = folder.glob("*.whl")
    target = [*pip, "install", "--no-deps", "--no-compile", "--target", str(folder / "site"), str(path)]
    subprocess.run(target, cwd=folder, check=True)
    return folder / "site", path


def command(site: Path, folder: Path, *words: str):
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "PATH": path_of(site)}
    for name in [name for name in environment if name.startswith("ABLATENT_")]:
        del environment[name]  # of the tests
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def path_of(site: Path) -> str:
    return os.pathsep.join([str(site / "bin"), os.environ["PATH"]])


@pytest.mark.slow
def test_the_wheel_has_what_is_read_at_run_time(site):
    names = set(zipfile.ZipFile(site[1]).namelist())
    for name in ("conf", "experiments"):
        files = {f"ablatent/project/{file.relative_to(ROOT)}" for file in (ROOT / name).rglob("*.yaml")}
        assert files and files <= names
    folders = ("report/templates", "cli/starter")
    files = {
        file.relative_to(ROOT / "src").as_posix() for f in folders for file in (ROOT / "src/ablatent" / f).rglob("*.*")
    }
    assert files <= names and "hydra_plugins/ablatent/places.py" in names
    assert not [name for name in names if name.startswith(("conf/", "tests/")) or "experiments/results" in name]


@pytest.mark.slow
def test_the_command_by_itself(site, tmp_path):
    done = command(site[0], tmp_path, "ablatent", "--version")
    assert done.stdout == f"ablatent {VERSION}\n", done.stderr
    done = command(site[0], tmp_path, "ablatent", "--weights")
    listed = [line for line in (ROOT / "requirements-data.txt").read_text().splitlines() if line[0] != "#"]
    assert done.stdout.split() == listed
    script = 'eval "$(ablatent -sc install=bash)"\n_ablatent\nprintf "%s\\n" "${COMPREPLY[@]}"'
    for line, words in {
        "ablatent first_stage=": "kl vq",
        "ablatent -m first_stage=kl,v": "kl,vq",
        "ablatent pl": "plan",
    }.items():
        before = f'COMP_LINE="{line}" COMP_POINT={len(line)} COMP_WORDS=(ablatent x) COMP_CWORD=1\n'
        done = command(site[0], tmp_path, "bash", "-c", before + script)
        assert set(words.split()) <= set(done.stdout.split()), done.stdout + done.stderr
        assert all("=" not in word for word in done.stdout.split()), "bash replaces what is behind the ="
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_job_with_options_of_ones_own_runs_in_workers_of_the_wheel(site, tmp_path):
    done = command(site[0], tmp_path, "ablatent", "init", "path=mine")
    assert done.returncode == 0 and "Next: cd mine && ablatent experiments=mine" in done.stdout, (
        done.stdout + done.stderr
    )
    project = tmp_path / "mine"
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not planned")  # the run below plans, too
    done = command(site[0], project, sys.executable, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    done = command(site[0], project, "ablatent", "experiments=mine", *SMALLEST, "executor=process", "executor.slots=1")
    assert done.returncode == 0, done.stdout + done.stderr
    (copy,) = (project / "store/code").iterdir()
    assert {"my_data.py", "my_sampler.py", "ablatent"} == {path.name for path in (copy / "src").iterdir()}
    (samples,) = (project / "store/objects/samples").glob("*/manifest.json")
    manifest = json.loads(samples.read_text())
    assert manifest["git"] == {"commit": "unknown", "dirty": False} and manifest["packages"]["ablatent"] == VERSION
    (plan,) = (project / "store/sweeps").glob("*/plan.json")
    assert json.loads(plan.read_text())["command"].startswith("ablatent experiments=mine sampler=mine ")
    (project / "my_sampler.py").write_text((project / "my_sampler.py").read_text().replace("/ (2 * self.r)", "/ 1"))
    done = command(site[0], project, "ablatent", "experiments=mine", *SMALLEST, "store.on_code_change=error")
    assert done.returncode == 1 and "built by other code" in done.stdout, done.stdout + done.stderr
