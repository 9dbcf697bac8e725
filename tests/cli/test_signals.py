"""Signals in every phase of a command: 128 + signal, one line with what is kept and how to go on, no traceback."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ablatent.core.signals import ENDING
from commands import ROOT, SMALL, python, run, words
from processes import descendants, gone, working_in

pytestmark = pytest.mark.slow

LINE = r"^ended by {}\. Kept: (.*)\. To go on: \S*python\S* .+$"
# A command that gets a signal where it calls a function, which then keeps the main thread busy.
AT = """
import importlib, os, signal, sys
from pathlib import Path
from ablatent.core.signals import ENDING, end_on_signals
for number in ENDING:
    signal.signal(number, signal.SIG_DFL)  # whatever the tests were started with
end_on_signals()
command = os.getpid()
main, place, number, *sys.argv[1:] = sys.argv[1:]
def busy(*_, **__):
    os.kill(command, int(number))
    while True:
        pass
module, _, name = place.partition(":")
setattr(importlib.import_module(module), name, busy)
if main == "build":
    from ablatent.build import main
    main(sys.argv[1])
else:
    sys.argv[0] = "run.py"
    from ablatent.cli.main import main as run
    run(Path(main))
"""
KL = ["first_stage=kl", *SMALL]
PHASES = {
    "checking the command": ("ablatent.cli.main:preflight", KL),
    "composing": ("ablatent.cli.main:composed", KL),
    "composing in several processes": ("ablatent.cli.main:composed", ["-m", "seed=0,1,2,3", *KL]),
    "planning": ("ablatent.cli.checked_plan:make_plan", KL),
    "checks": ("ablatent.sweep.check:check_plan", ["do=plan", *KL]),
    "latents": ("ablatent.stages.latents.build:build", [*KL, "latents.normalizer=scalar"]),
    "reference": ("ablatent.stages.reference.build:build", [*KL, "evaluation.reference_count=31"]),
    "samples": ("ablatent.stages.samples.build:build", [*KL, "samples.count=15"]),
    "scores": ("ablatent.stages.scores.build:build", [*KL, "samples.count=14"]),
    "report": ("ablatent.report.finish:write_report", KL),
    "do=report": ("ablatent.report.finish:write_report", ["do=report"]),
    "do=verify": ("ablatent.cli.verbs:verify", ["do=verify"]),
}


def ended(done: "subprocess.CompletedProcess[str]", number: int) -> str:
    """What was kept, of a command that ended by this signal."""
    text = done.stdout + done.stderr
    assert done.returncode == 128 + number, text
    assert "Traceback" not in text and "Error" not in text, text
    (kept,) = re.findall(LINE.format(signal.Signals(number).name), text, re.M)
    return kept


def wait_until(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("phase", PHASES)
def test_a_signal_in(own_sweep, phase):
    folder, _ = own_sweep
    place, overrides = PHASES[phase]
    number = ENDING[list(PHASES).index(phase) % len(ENDING)]
    done = python(folder, "-c", AT, str(ROOT), place, str(int(number)), *overrides, timeout=60)
    assert ended(done, number) == "what was finished"
    wait_until(lambda: not working_in(folder), 5)


def test_a_signal_while_a_model_is_used(own_sweep):
    folder, _ = own_sweep
    sweep = sorted(p.name for p in (folder / "store" / "sweeps").iterdir())[0]
    place, overrides = "ablatent.stages.generator:generate", ["do=sample", f"model={sweep}:0", "runtime=cpu"]
    done = python(folder, "-c", AT, str(ROOT), place, str(int(signal.SIGHUP)), *overrides, timeout=60)
    ended(done, signal.SIGHUP)


def test_a_signal_while_one_stage_is_built(own_sweep):
    folder, _ = own_sweep
    plan = json.loads(sorted((folder / "store" / "sweeps").glob("*/plan.json"))[0].read_text())
    stage = plan["stages"][plan["jobs"][0]["stages"]["samples"]]
    spec = {"stage": {**stage, "config": {**stage["config"], "count": 13}}, "store": "store"}
    (folder / "spec.json").write_text(json.dumps({**spec, "runtime": plan["jobs"][0]["config"]["runtime"]}))
    place = "ablatent.stages.samples.build:build"
    done = python(folder, "-c", AT, "build", place, str(int(signal.SIGUSR2)), "spec.json", timeout=60)
    ended(done, signal.SIGUSR2)


def started(folder: Path, *overrides: str) -> "subprocess.Popen[str]":
    # a shell without a terminal starts what is in its background with SIGINT ignored
    handled = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            words(*overrides), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    finally:
        signal.signal(signal.SIGINT, handled)


def signalled(child: "subprocess.Popen[str]", number: int, seconds: float) -> "subprocess.CompletedProcess[str]":
    child.send_signal(number)
    try:
        out, _ = child.communicate(timeout=seconds)
    finally:
        child.kill()
    return subprocess.CompletedProcess([], child.returncode, out, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", [0.3, 1.0, 3.0])
def test_a_signal_while_python_starts(tmp_path, number, after):
    child = started(tmp_path, *KL, "do=plan")
    time.sleep(after)
    if child.poll() is None:
        done = signalled(child, number, 10)
        # On its way out, with all of its output there, Python has put back the system's handlers: -number.
        if "networks" not in done.stdout or done.returncode not in (0, -number):
            assert ended(done, number) == "what was finished"


def until_it_trains(child: "subprocess.Popen[str]", folder: Path, kind: str) -> None:
    work = folder / "store" / "work"
    wait_until(lambda: list(work.glob(f"{kind}-*/files/curves.csv")) or child.poll() is not None, 300)
    time.sleep(2)


LONG = [*KL, "first_stage.training.steps=150", "training.steps=150", "runtime.checkpoint_seconds=1000"]


def trained(folder: Path) -> dict[str, bytes]:
    objects = (folder / "store" / "objects").glob("*/*/*")
    return {
        f"{p.parts[-3]}/{p.name}": p.read_bytes() for p in objects if p.suffix == ".safetensors" or "curves" in p.name
    }


def test_a_signalled_training_leaves_a_checkpoint_and_ends_with_the_same_bits(tmp_path):
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    for kind, number in (("first_stage", signal.SIGTERM), ("diffusion", signal.SIGUSR1)):
        child = started(tmp_path / "killed", *LONG)
        until_it_trains(child, tmp_path / "killed", kind)
        kept = ended(signalled(child, number, 15), number)
        assert re.search(r"a checkpoint at step [1-9]\d* of 150", kept), kept
    done = run(tmp_path / "killed", *LONG)
    assert done.returncode == 0 and "resumed at step" in done.stdout, done.stdout + done.stderr
    whole = run(tmp_path / "whole", *LONG)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert trained(tmp_path / "killed") == trained(tmp_path / "whole")


def test_the_ranks_of_a_signalled_training_leave_a_checkpoint_and_end(tmp_path):
    two = ["first_stage=vq", *SMALL, "runtime.devices=2", "first_stage.training.steps=4000"]
    child = started(tmp_path, *two, "runtime.checkpoint_seconds=1000")
    until_it_trains(child, tmp_path, "first_stage")
    ranks = descendants(child.pid)
    assert len(ranks) >= 3, "an agent and two ranks"
    ended(signalled(child, signal.SIGINT, 20), signal.SIGINT)
    wait_until(lambda: all(map(gone, ranks)), 10)
    assert list((tmp_path / "store" / "work").glob("first_stage-*/last.ckpt"))


PARALLEL = """
import os, signal, sys, threading, time
from joblib import Parallel, delayed
from ablatent.core.signals import end_on_signals
signal.signal(signal.SIGTERM, signal.SIG_DFL)
end_on_signals()
threading.Timer(3, os.kill, (os.getpid(), signal.SIGTERM)).start()
Parallel(n_jobs=2, backend="loky")(delayed(time.sleep)(60) for _ in range(2))
"""


def test_the_workers_of_joblib_end_with_the_command(tmp_path):
    """Those of hydra/launcher=joblib; they would go on alone."""
    ended(python(tmp_path, "-c", PARALLEL, timeout=60), signal.SIGTERM)
    wait_until(lambda: not working_in(tmp_path), 10)


def test_a_killed_command_takes_along_the_processes_that_compose(tmp_path):
    """They are forked, so each holds the pipes by which another would notice the end."""
    seeds = ",".join(map(str, range(400)))
    process = subprocess.Popen(
        words("-m", *KL, f"seed={seeds}", "do=plan"), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: len(descendants(process.pid)) >= 1, 60)
    composing = descendants(process.pid)
    process.kill()
    process.wait()
    wait_until(lambda: all(map(gone, composing)), 20)
