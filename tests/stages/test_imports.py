"""What a job on a found model imports: nothing that only trainings or the compiler need, which takes seconds."""

import subprocess
import sys

import pytest

from commands import SMALL, python, run, words

CODE = """
import importlib
import sys

import ablatent.cli.verbs, ablatent.report.finish, ablatent.sweep.check
import ablatent.evaluation.fid, ablatent.evaluation.inception, ablatent.evaluation.kid
import ablatent.evaluation.intervals, ablatent.evaluation.precision_recall
from ablatent.data.digits import Digits
from ablatent.stages.all_kinds import built_in
from ablatent.stages.context import compute_of, set_up_torch

for kind in built_in():
    if not kind.trained:
        importlib.import_module(kind.builder)
runtime = {"threads": 1, "device": "cpu", "deterministic": True, "checkpoint_seconds": 10.0}
set_up_torch(runtime)
compute_of(runtime, "32-true")
Digits(8).fingerprint()
needless = "pytorch_lightning torch._inductor torch._dynamo transformers torchmetrics torch_fidelity torchvision"
needless += " sklearn scipy matplotlib wandb"
found = set(needless.split()) & set(sys.modules)
ablatent.evaluation.intervals.around(0.5, 0.1, 19)
sys.exit(" ".join(found | {"scipy.stats"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_a_job_on_a_found_model_imports_no_training_and_no_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.slow
def test_verbs_that_only_read_a_store_import_no_torch():
    """A report of a found sweep does not wait for it."""
    code = "import sys, ablatent.cli.verbs, ablatent.report.finish; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


FOUND = """
import runpy, sys

sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("torch imported:", "torch" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "process"])
def test_a_sweep_that_is_found_imports_no_torch(tmp_path, executor):
    """It would take longer than all the rest, also to know how long stages would take, or how many GPUs there are."""
    job = [*SMALL, "runtime.device=auto", "task=reconstruct", "first_stage.training.steps=4", f"executor={executor}"]
    assert run(tmp_path, *job).returncode == 0
    again = python(tmp_path, "-c", FOUND, *words(*job)[1:], cold=True)
    assert "1 of 1 job finished" in again.stdout, again.stdout + again.stderr
    assert "torch imported: False" in again.stdout
