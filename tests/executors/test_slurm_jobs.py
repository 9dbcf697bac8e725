"""executor=slurm without a cluster: commands of Slurm are scripts here that say what a test wants.

What a real Slurm does with it: tests/cluster.
"""

import os
import re
from pathlib import Path

import pytest

from ablatent.core.errors import ConfigError
from ablatent.core.schema import Field, fields_of
from ablatent.core.validation import check_value
from ablatent.executors import slurm
from ablatent.executors.slurm import Slurm
from ablatent.executors.slurm_queue import Status, ending, ids_in
from ablatent.executors.slurm_resources import check, resources_of
from ablatent.executors.workers import Build, Over
from ablatent.stages.all_kinds import built_in
from ablatent.stages.stage import Stage
from ablatent.store.identity import Key
from ablatent.store.records import StageState
from composing import composed

RUNTIME = {"device": "cpu", "devices": 1, "threads": None}
KINDS = ("diffusion", "samples")
SCRIPTS = {
    "sbatch": 'test ! -e {0}/refusal || {{ cat {0}/refusal >&2; exit 1; }}; cp "$1" {0}/script\n'
    "n=$(($(cat {0}/number) + 1)); echo $n > {0}/number; echo Submitted batch job $n",
    "squeue": "test ! -e {0}/down || {{ echo squeue: error: no contact >&2; exit 1; }}; cat {0}/queue",
    "sacct": "test -e {0}/accounts || exit 1; cat {0}/accounts",
    "scancel": "echo $@ >> {0}/cancelled",
    "srun": "exit 1",
    "scontrol": "exit 1",
}


def stage(name: str = "a", kind: str = "diffusion", **options) -> Stage:
    config = {"name": name, **({"training": {}} if kind == "diffusion" else {})}
    return Stage(kind=kind, version=1, config=config, trained=kind == "diffusion", **options)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder with the commands of a Slurm: its queue is the file `queue`."""
    for name, text in SCRIPTS.items():
        script = tmp_path / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/bash\n{text.format(tmp_path)}\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "number").write_text("6")
    (tmp_path / "queue").touch()
    return tmp_path


@pytest.fixture
def jobs(cluster, monkeypatch):
    """The engine, which looks at its jobs at each turn, and waits for nothing."""
    for name in ("SETTLE_SECONDS", "UNKNOWN_SECONDS"):
        monkeypatch.setattr(slurm, name, 0.0)
    return slurm._Jobs(Slurm(poll_seconds=1e-9), RUNTIME, cluster / "slurm", {})


def build(folder: Path, of: Stage) -> Build:
    (folder / "ends").mkdir(exist_ok=True)
    paths = [folder / name for name in ("spec", f"ends/{of.key}.json", "beat", "log")]
    return Build(of, 1, *paths)


def turn(jobs) -> list[Over]:
    return list(jobs.over(0.0))


def submit(jobs) -> list[Over]:
    """A turn that asks nothing about jobs."""
    poll_seconds, jobs.options.poll_seconds = jobs.options.poll_seconds, 1e9
    overs = turn(jobs)
    jobs.options.poll_seconds = poll_seconds
    return overs


def begin(jobs, cluster: Path, *names: str, state: str = "RUNNING") -> list[Key]:
    """Start stages in one turn, while the queue shows nothing; then it shows that they run on n1."""
    stages = [stage(name) for name in names]
    for of in stages:
        jobs.start(build(cluster, of))
    submit(jobs)
    (cluster / "queue").write_text("".join(f"{job.id}|{state}|n1|None\n" for job in jobs.jobs.values()))
    return [of.key for of in stages]


def test_what_begins_in_one_turn_and_asks_for_the_same_is_one_array(jobs, cluster):
    a, b = begin(jobs, cluster, "a", "b")
    jobs.start(build(cluster, c := stage("c", "samples")))
    submit(jobs)
    with (cluster / "queue").open("a") as queue:
        queue.write("8|PENDING||Priority\n")
    assert turn(jobs) == [] and jobs.where(a) == "job 7_0 on n1" and not jobs.waits(a)
    assert jobs.where(c.key) == "job 8 waits (Priority)" and jobs.waits(c.key)
    assert ids_in([jobs.where(a), jobs.where(b), "node3:4711"]) == ["7_0", "7_1"]


def test_the_script_of_a_job(cluster):
    own = {
        "default": {"minutes": 90, "memory": 1.5, "extra": {"mail-type": "FAIL"}},
        "diffusion": {"gpus": 2, "extra": {"exclusive": True}},
    }
    runtime = {**RUNTIME, "device": "gpu", "devices": 2}
    jobs = slurm._Jobs(Slurm(resources=own, signal_seconds=45, requeues=7), runtime, cluster / "slurm", {})
    jobs.start(build(cluster, stage()))
    submit(jobs)
    script = (cluster / "script").read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", script, re.M))
    wanted = {"time": "90", "mem": "1536M", "gpus-per-node": "2", "cpus-per-task": "8", "signal": "USR2@45"}
    assert wanted.items() <= options.items() and options["nodes"] == "1"
    assert {"requeue": "", "exclusive": "", "mail-type": "FAIL"}.items() <= options.items()
    assert "export OMP_NUM_THREADS=4" in script and '"${SLURM_RESTART_COUNT:-0}" -ge 7' in script


def test_an_outcome_counts_whatever_slurm_says(jobs, cluster):
    (key,) = begin(jobs, cluster, "a", state="CANCELLED")
    jobs.jobs[key].build.end.touch()
    assert turn(jobs) == [Over(key)] and not jobs.jobs


@pytest.mark.parametrize(
    ("state", "again", "words"),
    [
        ("COMPLETED", True, "job 7 on n1 ended as COMPLETED"),
        ("FAILED", True, "ended as FAILED"),
        ("NODE_FAIL", True, "ended as NODE_FAIL"),
        ("TIMEOUT", True, "executor.resources.diffusion.minutes"),
        ("CANCELLED", False, "was cancelled"),
        ("OUT_OF_MEMORY", False, "executor.resources.diffusion.memory is to be larger"),
    ],
)
def test_an_end_without_an_outcome(jobs, cluster, state, again, words):
    (key,) = begin(jobs, cluster, "a", state=state)
    (over,) = turn(jobs)
    assert over.key == key and over.again is again and words in over.reason and not jobs.jobs


def test_an_end_may_be_followed_by_an_outcome_or_a_requeue(jobs, cluster, monkeypatch):
    monkeypatch.setattr(slurm, "SETTLE_SECONDS", 60.0)
    (key,) = begin(jobs, cluster, "a", state="NODE_FAIL")
    assert turn(jobs) == []
    (cluster / "queue").write_text("7|PENDING||BeginTime\n")
    assert turn(jobs) == [] and jobs.waits(key) and jobs.where(key) == "job 7 waits (BeginTime)"
    assert jobs.jobs[key].lost is None


def test_what_slurm_wrote_is_in_the_output_of_the_build(jobs, cluster):
    (key,) = begin(jobs, cluster, "a", state="FAILED")
    job = jobs.jobs[key]
    written = "slurmstepd-n1: error: StepId=7.0 exceeded memory limit (9 > 5), being killed\n"
    (cluster / "slurm" / "7_0_log.out").write_text(written)
    (over,) = turn(jobs)
    assert not over.again and "exceeded memory limit (9 > 5)" in over.reason
    assert job.build.log.read_text() == written and not list((cluster / "slurm").glob("7_*log*"))


def test_a_job_that_nobody_knows_is_lost(jobs, cluster):
    begin(jobs, cluster, "a")
    (cluster / "queue").write_text("")
    (over,) = turn(jobs)
    assert over.again and over.reason == "Slurm knows job 7 no more"


def test_accounts_know_what_the_queue_has_forgotten(jobs, cluster):
    begin(jobs, cluster, "a")
    (cluster / "queue").write_text("")
    (cluster / "accounts").write_text("7|CANCELLED by 0|n2\n")
    (over,) = turn(jobs)
    assert not over.again and over.reason == "job 7 on n2 was cancelled"


def test_a_slurm_that_does_not_answer_is_not_waited_for_without_end(jobs, cluster, monkeypatch, capsys):
    (key,) = begin(jobs, cluster, "a")
    (cluster / "down").touch()
    assert turn(jobs) == [] and "squeue: error: no contact" in capsys.readouterr().out
    monkeypatch.setattr(slurm, "DOWN_SECONDS", 0.0)
    (over,) = turn(jobs)
    assert over.key == key and not over.again and "did not answer" in over.reason


def test_a_job_that_slurm_refuses(jobs, cluster, capsys):
    (cluster / "refusal").write_text("sbatch: error: invalid partition specified: nowhere\n")
    key = stage().key
    jobs.start(build(cluster, stage()))
    assert turn(jobs) == [Over(key, "Slurm refused its job: invalid partition specified: nowhere", again=False)]
    (cluster / "refusal").write_text("sbatch: error: Unable to contact slurm controller (connect failure)\n")
    jobs.start(build(cluster, stage()))
    assert turn(jobs) == [] and "takes no job now" in capsys.readouterr().out
    (cluster / "refusal").unlink()
    jobs.submit_at = 0.0
    assert submit(jobs) == [] and [job.id for job in jobs.jobs.values()] == ["7"]


def test_a_silent_job_is_cancelled_and_tried_again(jobs, cluster):
    (key,) = begin(jobs, cluster, "a")
    jobs.kill(key)
    assert (cluster / "cancelled").read_text() == "--quiet 7\n"
    (cluster / "queue").write_text("7|CANCELLED|n1|None\n")
    assert turn(jobs) == [Over(key, "it was silent", again=True)]


def test_no_more_jobs_than_wanted_are_in_the_queue(cluster):
    jobs = slurm._Jobs(Slurm(jobs=2), RUNTIME, cluster / "slurm", {})
    begin(jobs, cluster, "a")
    assert jobs.room(stage("b"))
    jobs.start(build(cluster, stage("b")))
    assert not jobs.room(stage("c"))


def test_what_a_killed_command_left_is_cancelled(cluster):
    (cluster / "queue").write_text("7_0|RUNNING|n1|None\n7_1|COMPLETED|n1|None\n9|PENDING||Priority\n")
    places = {
        "diffusion-0a": "job 7_0 on n1",
        "diffusion-0b": "job 7_1 on n1",
        "diffusion-0c": "job 9 waits (Priority)",
    }
    states = {Key(key): StageState(status="running", where=where) for key, where in places.items()}
    states[Key("diffusion-0d")] = StageState(status="built", where="job 8 on n1")
    assert Slurm().cancel_left(states) == 2
    assert (cluster / "cancelled").read_text() == "--quiet 7_0 9\n"


@pytest.mark.parametrize(
    ("resources", "key", "words"),
    [
        ({"difusion": {}}, "executor.resources.difusion", "'diffusion'"),
        ({"samples": {"minutes": 1}}, "executor.resources.samples.minutes", "executor.signal_seconds=60"),
        ({"default": {"extra": {"nodes": 2}}}, "executor.resources.default.extra.nodes", "one process of one node"),
        ({"default": {"extra": {"--mem": "4G"}}}, "executor.resources.default.extra.--mem", "default.memory"),
    ],
)
def test_refused_resources(resources, key, words):
    with pytest.raises(ConfigError, match=re.escape(words)) as refused:
        check(resources, KINDS, 60)
    assert refused.value.key == key


def test_resources_by_kind():
    resources = {"default": {"minutes": 30, "memory": 8, "partition": "cpu"}, "diffusion": {"partition": "long"}}
    training, drawing = (resources_of(resources, stage(kind=kind), {**RUNTIME, "threads": 3}) for kind in KINDS)
    assert (training.partition, training.minutes, training.memory, training.cpus) == ("long", 30, 8, 3)
    assert (drawing.partition, drawing.gpus, drawing.account) == ("cpu", 0, None)
    on_gpus = {**RUNTIME, "device": "gpu", "devices": 4}
    assert [resources_of({}, stage(kind=kind), on_gpus).gpus for kind in KINDS] == [4, 1]
    with pytest.raises(ConfigError, match="at least 4"):
        resources_of({"diffusion": {"gpus": 1}}, stage(), on_gpus)


@pytest.mark.parametrize(
    "given", [{"minutes": "soon"}, {"minutes": 0}, {"memory": -1}, {"disk": 4}, {"extra": {"exclusive": [1]}}]
)
def test_values_are_checked_before_anything_is_planned(given):
    resources = composed("executor=slurm")["executor"]["resources"]
    field: Field = fields_of(Slurm.__module__, "Slurm")["resources"]
    check_value("executor.resources", resources, field)
    with pytest.raises(ConfigError, match=r"executor\.resources\.diffusion\."):
        check_value("executor.resources", {**resources, "diffusion": given}, field)


def test_every_kind_can_be_given_on_the_command_line():
    node = composed("executor=slurm", "executor.resources.scores.minutes=20")["executor"]
    assert set(node["resources"]) == {"default", *(kind.name for kind in built_in())}
    assert resources_of(node["resources"], stage(kind="scores"), RUNTIME).minutes == 20
    assert resources_of(node["resources"], stage(), RUNTIME).minutes == 240


def test_without_slurm_the_command_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no sbatch, srun, squeue, scancel, scontrol.*executor=process"):
        slurm._check_cluster()


def test_a_training_that_never_gets_on_is_given_up():
    written = "ablatent: error: was requeued 7 times, and is not finished\n"
    end = ending("7", Status("FAILED", "n1"), written, "diffusion")
    assert not end.again and end.reason.endswith("executor.resources.diffusion.minutes is to be larger")
