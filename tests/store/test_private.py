"""Where files cannot be locked: every process builds for itself, the first that is ready is published, none fails."""

import errno
import fcntl
import os
import threading
import time

import pytest

from ablatent.core.progress import warn_once
from ablatent.store import private
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.store.layout import private_work_folder, work_folders, work_keys
from ablatent.store.locks import locked, locks_work, tried
from ablatent.store.work import Work
from ablatent.training.checkpoint import read_checkpoint, write_checkpoint

KEY = Key("toy-0123456789abcdef")


def no_locks(*_):
    raise OSError(errno.ENOLCK, "No locks available")


BROKEN = {"refused": no_locks, "ignored": lambda *_: None}


@pytest.fixture(params=BROKEN)
def without_locks(request, monkeypatch):
    warn_once.cache_clear()
    monkeypatch.setattr(fcntl, "lockf", BROKEN[request.param])


def toy(value, ready=lambda: None):
    def build(work):
        (work.files / "value.txt").write_text(value)
        ready()

    return build


def in_children(*calls):
    """The exit codes of functions that run at the same time, each in a fork of this process."""
    children = []
    for call in calls:
        if (child := os.fork()) == 0:
            code = 1
            try:
                call()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def test_locks_work_here_and_are_seen_to(tmp_path):
    assert locks_work(tmp_path) and not list(tmp_path.iterdir())
    with locked(tmp_path / "x", "x"):
        codes = in_children(lambda: os._exit(7 if taken(tmp_path / "x") else 8))
        assert codes == [8] and not taken(tmp_path / "x")
    assert taken(tmp_path / "x")


def taken(path):
    with tried(path) as held:
        return held


def test_a_store_without_locks_warns_once_and_builds(without_locks, tmp_path, capsys):
    for name in ("toy-01", "toy-02"):
        artifact, built = Store(tmp_path).get_or_build(Key(name), toy("42"))
        assert built and (artifact.path / "value.txt").read_text() == "42"
    assert capsys.readouterr().out.count("cannot be locked") == 1
    assert not list((tmp_path / "work").iterdir())


def test_two_processes_build_the_same_key_and_neither_fails(without_locks, tmp_path):
    """Both are in their builds before either ends, so that one finds the object of the other in its place."""

    def both_begin(mine, other):
        def ready():
            (tmp_path / mine).touch()
            deadline = time.monotonic() + 5
            while not (tmp_path / other).exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)

        artifact, built = Store(tmp_path / "store").get_or_build(KEY, toy(mine, ready))
        assert (artifact.path / "value.txt").read_text() in ("a", "b")
        (tmp_path / f"{mine}-{built}").touch()

    assert in_children(lambda: both_begin("a", "b"), lambda: both_begin("b", "a")) == [0, 0]
    found = Store(tmp_path / "store").open(KEY)
    first = (found.path / "value.txt").read_text()
    assert {p.name for p in tmp_path.glob("*-*")} == {f"{first}-True", f"{'ab'.replace(first, '')}-False"}
    assert not list((tmp_path / "store" / "work").iterdir())


def test_two_threads_of_one_process_build_once(without_locks, tmp_path):
    builds, answers = [], []

    def call():
        build = toy("42", lambda: (builds.append(1), time.sleep(0.1)))
        answers.append(Store(tmp_path).get_or_build(KEY, build)[1])

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1 and sorted(answers) == [False, True]


def left(root, owner, checkpoint, age=0.0):
    """The folder that a process left, with a checkpoint; age: seconds since it was last changed."""
    folder = private_work_folder(root, KEY, owner)
    (folder / "files").mkdir(parents=True)
    (folder / "last.ckpt").write_text(checkpoint)
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (time.time() - age,) * 2)
    return folder


def resumed(root):
    """The checkpoint that the next build goes on from."""
    seen = []

    def build(work):
        seen.append(work.checkpoint.read_text() if work.checkpoint.exists() else None)
        toy("42")(work)

    Store(root).get_or_build(KEY, build)
    return seen[0]


def dead():
    (child := os.fork()) or os._exit(0)
    os.waitpid(child, 0)
    return child


@pytest.mark.parametrize("warned", BROKEN)
def test_the_newest_folder_of_a_dead_process_is_taken_over(monkeypatch, tmp_path, warned):
    monkeypatch.setattr(fcntl, "lockf", BROKEN[warned])
    here = private._host()
    left(tmp_path, f"{here}-{dead()}-aaaa", "older", age=60)
    left(tmp_path, f"{here}-{dead()}-bbbb", "newer", age=30)
    left(tmp_path, "elsewhere-1-cccc", "alive", age=5)
    left(tmp_path, f"{here}-{os.getppid()}-dddd", "alive, too", age=5)
    assert work_keys(tmp_path) == [KEY]
    assert resumed(tmp_path) == "newer"
    assert {p.suffix[-4:] for p in work_folders(tmp_path, KEY)} == {"aaaa", "cccc", "dddd"}


@pytest.mark.parametrize("age, expected", [(private.STALE + 60, "theirs"), (private.STALE - 60, None)])
def test_what_another_host_has_left_is_taken_over_once_nothing_changes(monkeypatch, tmp_path, age, expected):
    monkeypatch.setattr(fcntl, "lockf", no_locks)
    left(tmp_path, "elsewhere-1-aaaa", "theirs", age)
    assert resumed(tmp_path) == expected


def test_a_builder_shows_that_it_is_alive(monkeypatch, tmp_path):
    monkeypatch.setattr(fcntl, "lockf", no_locks)
    monkeypatch.setattr(private, "BEAT", 0.01)

    def build(work):
        deadline = time.monotonic() + 5
        while not (work.path / private.ALIVE).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        toy("42")(work)

    assert Store(tmp_path).get_or_build(KEY, build)[1]


def test_a_checkpoint_is_resumed_from_under_the_name_of_another_owner(tmp_path):
    first, second = (private_work_folder(tmp_path, KEY, f"{name}-1-aaaa") for name in ("here", "there"))
    first.mkdir(parents=True)
    (first / "token").write_text("ab")
    write_checkpoint(Work(KEY, first, "ab", ""), {"step": 3})
    first.rename(second)
    assert read_checkpoint(Work(KEY, second, "ab", ""), "toy")["step"] == 3
    other = private_work_folder(tmp_path, Key("toy-02"), "here-1-aaaa")
    second.rename(other)
    assert read_checkpoint(Work(Key("toy-02"), other, "ab", ""), "toy") is None
