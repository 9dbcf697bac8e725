"""The store: whole or not there, built once, checked when opened."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ablatent.core.errors import ConfigError, StageError
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.store.verify import Damaged, verify
from ablatent.store.work import Superseded

KEY = Key("toy-0123456789abcdef")
CHILD = """
import sys, time, os
sys.modules["torch"] = None  # the store must not need it
from pathlib import Path
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.store.verify import Damaged, verify
def build(work):
    with open(sys.argv[2], "a") as f:
        f.write(f"{os.getpid()}\\n")
    time.sleep(float(sys.argv[3]))
    (work.files / "value.txt").write_text("42")
artifact, built = Store(Path(sys.argv[1])).get_or_build(Key(sys.argv[4]), build)
print(int(built), (artifact.path / "value.txt").read_text())
"""


def start(tmp_path, seconds):
    words = [sys.executable, "-c", CHILD, str(tmp_path / "store"), str(tmp_path / "log"), str(seconds), KEY]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def toy(value="42", **files):
    def build(work):
        for name, text in {"value.txt": value, **files}.items():
            (work.files / name).write_text(text)

    return build


@pytest.mark.slow
def test_twelve_processes_build_once(tmp_path):
    children = [start(tmp_path, 0.5) for _ in range(12)]
    answers = [child.communicate(timeout=60) for child in children]
    assert all(child.returncode == 0 for child in children), answers
    assert sum(int(out.split("\n")[-2].split()[0]) for out, _ in answers) == 1
    assert len((tmp_path / "log").read_text().split()) == 1


def test_found_again_and_manifest(tmp_path):
    store = Store(tmp_path)
    first, built = store.get_or_build(KEY, toy(), lambda work: {"config": {"a": 1}})
    again, rebuilt = Store(tmp_path).get_or_build(KEY, toy("43"))
    assert built and not rebuilt
    assert again.manifest.config == {"a": 1} and again.manifest.files["value.txt"].size == 2
    assert first.path == again.path and not store.work_folder(KEY).exists()


@pytest.mark.parametrize("victim", ["value.txt", "manifest.json"])
def test_one_flipped_byte_is_detected_said_and_rebuilt(tmp_path, victim, capsys):
    artifact, _ = Store(tmp_path).get_or_build(KEY, toy("hello"))
    data = bytearray((artifact.path / victim).read_bytes())
    data[len(data) // 2] ^= 1
    (artifact.path / victim).write_bytes(data)
    again, built = Store(tmp_path).get_or_build(KEY, toy("hello"))
    assert built and (again.path / "value.txt").read_text() == "hello"
    assert "damaged" in capsys.readouterr().out
    assert len(list((tmp_path / "damaged").iterdir())) == 1


def test_what_another_process_has_mended_is_not_set_aside(tmp_path):
    store = Store(tmp_path)
    store.get_or_build(KEY, toy())
    store.set_aside(KEY, "thought to be damaged")
    assert store.find(KEY) is not None
    store.set_aside(KEY, "unwanted", lambda there: there.manifest.files["value.txt"].size == 2)
    assert store.find(KEY) is None and len(list((tmp_path / "damaged").iterdir())) == 1


def test_a_large_array_is_set_aside_by_verify_alone(tmp_path, monkeypatch, capsys):
    from ablatent.cli.verbs import VerifyVerb

    monkeypatch.setattr("ablatent.store.verify.HASH_LIMIT", 4)
    artifact, _ = Store(tmp_path).get_or_build(KEY, toy(**{"mean.npy": "hello"}))
    (artifact.path / "mean.npy").write_text("hallo")
    assert Store(tmp_path).find(KEY) is not None, "checked by size"
    assert VerifyVerb()([], Store(tmp_path), {}, "") == 1 and "0 of 1 object whole" in capsys.readouterr().out
    assert Store(tmp_path).find(KEY) is None and len(list((tmp_path / "damaged").iterdir())) == 1


def test_what_a_publisher_left_over_is_not_resumed_from(tmp_path):
    """One that was killed between the rename and the end leaves its checkpoint, without the files that belong to it."""
    store = Store(tmp_path)
    work = store.work_folder(KEY)
    work.mkdir(parents=True)
    for name in ("token", "attempt", "last.ckpt"):
        (work / name).write_text("old")

    def build(work):
        assert not work.checkpoint.exists() and work.attempt != "old"
        toy()(work)

    assert store.get_or_build(KEY, build)[1]


def test_missing_and_additional_bytes(tmp_path):
    artifact, _ = Store(tmp_path).get_or_build(KEY, toy())
    (artifact.path / "value.txt").write_text("421")
    with pytest.raises(Damaged, match="another size"):
        verify(artifact.path, KEY)


@pytest.mark.slow
def test_a_killed_build_leaves_its_work_and_frees_the_lock(tmp_path):
    child = start(tmp_path, 60)
    while not (tmp_path / "log").exists():
        assert child.poll() is None, child.communicate()
        time.sleep(0.05)
    store = Store(tmp_path / "store")
    (store.work_folder(KEY) / "last.ckpt").write_text("half way")
    attempt = (store.work_folder(KEY) / "attempt").read_text()
    child.send_signal(signal.SIGKILL)
    child.wait()
    seen = {}

    def build(work):
        seen["checkpoint"], seen["attempt"] = work.checkpoint.read_text(), work.attempt
        toy()(work)

    artifact, built = store.get_or_build(KEY, build)
    assert built and seen == {"checkpoint": "half way", "attempt": attempt}
    assert sorted(p.name for p in artifact.path.iterdir()) == ["manifest.json", "value.txt"]


def test_an_orphan_cannot_write(tmp_path):
    def build(work):
        (work.path / "token").write_text("somebody else")
        toy()(work)

    with pytest.raises(Superseded):
        Store(tmp_path).get_or_build(KEY, build)
    assert not Store(tmp_path).folder(KEY).exists()


def test_an_error_is_kept_and_a_new_invocation_tries_again(tmp_path):
    def fail(work):
        raise ValueError("no luck")

    store = Store(tmp_path)
    with pytest.raises(StageError, match="no luck"):
        store.get_or_build(KEY, fail, invocation="one")
    left = json.loads((store.work_folder(KEY) / "error.json").read_text())
    assert left["invocation"] == "one" and "ValueError" in left["traceback"]
    _, built = store.get_or_build(KEY, toy(), invocation="two")
    assert built


def test_a_waiter_of_the_same_sweep_gets_the_same_error(tmp_path):
    store = Store(tmp_path)
    store.work_folder(KEY).mkdir(parents=True)
    note = {"invocation": "one", "time": time.time() + 60, "message": "no luck", "traceback": ""}
    (store.work_folder(KEY) / "error.json").write_text(json.dumps(note))
    with pytest.raises(StageError, match="no luck"):
        store.get_or_build(KEY, toy(), invocation="one")
    assert store.get_or_build(KEY, toy(), invocation="two")[1]


def test_a_store_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"store\.path"):
        Store(tmp_path / "file" / "store").check_writable()


@pytest.mark.slow
def test_the_lock_is_not_inherited_by_a_fork(tmp_path):
    """A data-loader worker that outlives its killed parent must not hold the lock."""
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from ablatent.store.locks import locked\n"
        "with locked(Path(sys.argv[1]), 'x'):\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(20)\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline().strip() == "held"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    began = time.monotonic()
    from ablatent.store.locks import locked

    with locked(tmp_path / "lock", "x"):
        assert time.monotonic() - began < 10


def test_a_store_of_another_format_is_refused_in_one_sentence(tmp_path):
    store = Store(tmp_path / "new")
    store.check_writable()
    store.get_or_build(KEY, toy())
    assert Store(tmp_path / "new").find(KEY) is not None
    (tmp_path / "old" / "objects" / "diffusion").mkdir(parents=True)  # as it was before formats had numbers
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "FORMAT").write_text("99\n")
    for name, number in (("old", "1"), ("later", "99")):
        with pytest.raises(ConfigError, match=f"expected a store of format 2; got 'one of format {number}") as error:
            Store(tmp_path / name)
        assert error.value.key == "store.path" and "store.path=…" in str(error.value)
