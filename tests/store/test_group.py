"""A store that several users of a group share."""

import os
import shutil
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ablatent.core.errors import ConfigError
from ablatent.core.files import write_json
from ablatent.core.tensor_files import write_tensors
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key

GROUP, OTHER = 54321, 54322  # ids that nobody has
ROOT_ALONE = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(autouse=True)
def umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def build(work):
    work.check()
    write_json(work.files / "a.json", {})
    np.save(work.files / "b.npy", np.zeros(3))
    write_tensors(work.files / "c.safetensors", {"a": torch.zeros(3)})
    torch.save({}, work.path / "last.ckpt")
    (work.files / "folder").mkdir()
    (work.files / "folder" / "d.txt").write_text("d")


def fail(work):
    build(work)
    raise ValueError("no luck")


def modes(root: Path) -> dict[str, int]:
    return {str(p.relative_to(root)): stat.S_IMODE(p.stat().st_mode) for p in (root, *root.rglob("*"))}


def fill(root: Path) -> None:
    """A store with an object, a build that failed, an object that was set aside."""
    store = Store(root)
    store.get_or_build(Key("toy-01"), build)
    store.get_or_build(Key("toy-02"), build)
    store.set_aside(Key("toy-02"), "unwanted", lambda there: True)
    with pytest.raises(Exception, match="no luck"):
        store.get_or_build(Key("toy-03"), fail)


@pytest.mark.parametrize("mask", [0o002, 0o022])
def test_the_umask_alone_decides_who_may_read_and_write(tmp_path, mask):
    os.umask(mask)
    fill(tmp_path / "store")
    wrong = {name: oct(mode) for name, mode in modes(tmp_path / "store").items() if mode & 0o666 != 0o666 & ~mask}
    assert not wrong


def test_a_folder_that_belongs_to_a_group_is_written_for_the_group(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o2775)
    fill(tmp_path / "store")
    wrong = {name: oct(mode) for name, mode in modes(tmp_path / "store").items() if mode & 0o060 != 0o060}
    assert not wrong
    assert modes(tmp_path / "store")["objects/toy"] & stat.S_ISGID


@pytest.fixture
def shared():
    """A folder of the group, where others of it can go."""
    folder = Path(tempfile.mkdtemp(prefix="ablatent-group-"))
    os.chown(folder, -1, GROUP)
    folder.chmod(0o2775)
    yield folder
    shutil.rmtree(folder)


def as_other(call) -> int:
    """The exit code of a function that runs in a fork of this process as another user of the group."""
    if (child := os.fork()) == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(GROUP)
            os.setuid(OTHER)
            call()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@ROOT_ALONE
def test_another_user_of_the_group_reads_resumes_publishes_and_mends(shared):
    fill(shared)

    def work_on() -> None:
        store = Store(shared)
        assert store.find(Key("toy-01")) is not None

        def resume(work):
            assert work.checkpoint.exists()
            (work.files / "a.json").write_text("{}")

        assert store.get_or_build(Key("toy-03"), resume)[1]
        assert store.get_or_build(Key("toy-04"), build)[1]
        store.set_aside(Key("toy-01"), "unwanted", lambda there: True)
        assert store.get_or_build(Key("toy-01"), build)[1]

    assert as_other(work_on) == 0
    assert (shared / "objects" / "toy" / "toy-04").stat().st_uid == OTHER


@ROOT_ALONE
def test_a_lock_that_the_group_may_not_write_is_one_sentence(shared):
    fill(shared)
    (shared / "locks" / "toy-03").chmod(0o644)

    def refused() -> None:
        with pytest.raises(ConfigError, match=r"^store.path: expected a store whose files .* chmod -R g\+rwX"):
            Store(shared).get_or_build(Key("toy-03"), build)

    assert as_other(refused) == 0
