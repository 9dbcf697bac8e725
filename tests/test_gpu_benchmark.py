"""benchmarks/gpu.py: it ends well without a GPU, and its parts run on a CPU."""

import json
import subprocess
import sys

import pytest
import torch

from commands import ROOT

pytestmark = pytest.mark.slow


def gpu(*arguments):
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so():
    done = gpu()
    assert done.returncode == 0 and "No GPU here" in done.stdout


def test_it_rehearses_on_a_cpu_and_leaves_out_what_there_is_no_time_for(tmp_path):
    done = gpu("--device", "cpu", "--only", "machine", "steps", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert {row["outcome"] for row in found["steps"]["steps"]} == {"no wait"} and len(found["steps"]["steps"]) == 6
    assert "| vq | bf16-mixed | no wait |" in (tmp_path / "gpu.md").read_text()
    done = gpu("--device", "cpu", "--only", "demo", "--minutes", 0.5, "--out", tmp_path)
    assert done.returncode == 0 and "demo: skipped: " in done.stdout
