"""Every command of the README runs: as it stands where that is quick, else in the tiny preset and up to the plan.

`make demo` and `make test` are run by .ci/run.
"""

import json
import re
import shlex

import numpy as np
import pytest
import torch
from PIL import Image

from commands import ROOT, python

README = (ROOT / "README.md").read_text()
BLOCKS = [text for language, text in re.findall(r"^```(\w*)\n(.*?)^```", README, re.M | re.S) if not language]
LINES = [line.split("   #")[0].strip().removeprefix("$ ") for block in BLOCKS for line in block.splitlines()]
COMMANDS = sorted({line for line in LINES if re.match(r"(\.venv/bin/)?(python|ablatent) |make ", line)})
SET_UP = ("make demo", "make test", "make test-fast", "make test-cluster", "make docs")


def test_the_readme_has_commands():
    assert len(COMMANDS) > 30 and any("data.captions=" in command for command in COMMANDS)


@pytest.fixture
def folder(tmp_path):
    """What the README's examples speak of: a folder of photos, two of images to compare, a finished sweep."""
    rng = np.random.default_rng(0)
    for name in ("photos", "REAL_DIR", "FAKE_DIR", "CelebA-HQ-img"):
        (tmp_path / name).mkdir()
        for i in range(12):
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / name / f"{i}.png")
    table = "".join(f"{i}.png,picture number {i}\n" for i in range(12))
    (tmp_path / "photos" / "metadata.csv").write_text(f"file_name,text\n{table}")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, folder, request, monkeypatch):
    if command in SET_UP:
        assert command.split()[1] + ":" in (ROOT / "Makefile").read_text()
        return
    program, *words = shlex.split(command.removeprefix(".venv/bin/"))
    if program == "ablatent":  # the same command line; tests/cli/test_wheel.py runs it as it is installed
        words = ["run.py", *words]
    if command == "make bench":
        words = [str(ROOT / "benchmarks" / "bench"), "--quick", "startup:help"]
    if "do=import" in words:  # the README's model.ckpt: a small checkpoint with the released models' names
        monkeypatch.syspath_prepend(ROOT / "tests" / "interop")
        from test_compvis import checkpoint

        torch.save({"state_dict": checkpoint()}, folder / "model.ckpt")
        unet = {"in_channels": 3, "model_channels": 128, "channel_mult": [1, 1], "num_head_channels": 32}
        described = {"model": {"params": {"unet_config": {"params": unet}}}}
        (folder / "config.yaml").write_text(json.dumps(described))
    if words[0] == "run.py":
        if {"do=report", "do=status", "do=resume", "do=verify", "do=du", "do=gc", "do=push", "do=publish"} & set(words):
            folder, _ = request.getfixturevalue("swept")
        elif not any(w.startswith("do=") for w in words):
            words += ["do=plan"]
        of_jobs = "do=plan" in words  # other verbs read no preset
        small = ["preset=tiny"] if of_jobs and not any(w.startswith("preset=") for w in words) else []
        words = [str(ROOT / "run.py"), *words[1:], *small]
    done = python(folder, *words, timeout=600)
    if "ch_multt" in command:
        assert done.returncode == 2 and "Did you mean 'first_stage.ch_mult'?" in done.stdout
    else:
        assert done.returncode == 0, done.stdout + done.stderr
