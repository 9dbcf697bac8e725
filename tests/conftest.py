"""Shapes written in the signatures are checked while the tests run (jaxtyping with beartype)."""

import os

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("WANDB_MODE", "offline")
install_import_hook("ablatent", "beartype.beartype")


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """(folder, finished process) of one small sweep with W&B offline, made once for all tests that look at a store."""
    from commands import SMALL, run

    folder = tmp_path_factory.mktemp("swept")
    done = run(folder, "-m", "first_stage=kl,vq", *SMALL, "tracking=wandb")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done
