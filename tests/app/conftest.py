"""One small sweep, made once for all tests that look at its store."""

import pytest
from commands import SMALL, run


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """(folder, finished process) of `first_stage=kl,vq` with W&B offline."""
    folder = tmp_path_factory.mktemp("swept")
    done = run(folder, "-m", "first_stage=kl,vq", *SMALL, "tracking=wandb")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done
