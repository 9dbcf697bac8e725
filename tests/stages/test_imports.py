"""What a job on a found model imports: nothing that only trainings or the compiler need, which takes seconds."""

import subprocess
import sys

import pytest

CODE = """
import importlib
import sys

import ablatent.cli.verbs, ablatent.report.finish, ablatent.sweep.check
import ablatent.evaluation.fid, ablatent.evaluation.inception, ablatent.evaluation.kid
import ablatent.evaluation.precision_recall
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
sys.exit(" ".join(set(needless.split()) & set(sys.modules)))
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
