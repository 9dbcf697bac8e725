"""What executor=ray asks Ray for, from its keys; what it refuses. Needs no ray."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest

from ablatent.core.errors import ConfigError
from ablatent.executors.kind_resources import check_kinds
from ablatent.executors.ray_cluster import Ray
from ablatent.executors.ray_resources import GIB, bound, fits, taken
from ablatent.stages.all_kinds import built_in
from ablatent.stages.stage import Stage
from ablatent.store.artifacts import Store
from ablatent.sweep.builder import Builder
from ablatent.sweep.executor import SweepRun
from ablatent.sweep.journal import Journal
from ablatent.sweep.plan import Plan
from commands import SMALL, inline
from composing import composed

RUNTIME = {"device": "cpu", "devices": 1, "threads": None}
DIFFUSION = Stage(kind="diffusion", version=1, config={"training": {}}, inputs={}, trained=True)
SAMPLES = Stage(kind="samples", version=1, config={}, inputs={})


def test_a_kind_takes_what_default_says_and_what_differs():
    resources = {"default": {"cpus": 2, "memory": 4, "custom": {"a": 1}}, "diffusion": {"gpus": 1, "custom": {"b": 2}}}
    assert taken(resources, SAMPLES, RUNTIME).wanted() == {"CPU": 2, "memory": 4 * GIB, "a": 1}
    assert taken(resources, DIFFUSION, RUNTIME).wanted() == {"CPU": 2, "GPU": 1, "memory": 4 * GIB, "a": 1, "b": 2}


def test_what_is_null_follows_from_the_runtime():
    nothing = {"default": {"cpus": None, "gpus": None, "memory": None, "custom": {}}}
    assert taken(nothing, DIFFUSION, RUNTIME).wanted() == {"CPU": 1}
    several = {"device": "gpu", "devices": 2, "threads": 3}
    assert taken(nothing, DIFFUSION, several).wanted() == {"CPU": 6, "GPU": 2}
    assert taken(nothing, SAMPLES, several).wanted() == {"CPU": 3, "GPU": 1}


@pytest.mark.parametrize("gpus, devices", [(0, 1), (1, 2)])
def test_fewer_gpus_than_a_training_computes_on_are_refused(gpus, devices):
    runtime = {"device": "gpu", "devices": devices, "threads": 1}
    with pytest.raises(ConfigError, match=f"executor.resources.diffusion.gpus: expected at least {devices}"):
        taken({"diffusion": {"gpus": gpus}}, DIFFUSION, runtime)


def test_stages_may_share_a_gpu():
    runtime = {"device": "gpu", "devices": 1, "threads": 1}
    assert taken({"samples": {"gpus": 0.25}}, SAMPLES, runtime).wanted()["GPU"] == 0.25


def test_an_entry_of_no_kind_is_refused_with_the_nearest():
    kinds = {kind.name for kind in built_in()}
    check_kinds({"default": {}, "diffusion": {}}, kinds)
    with pytest.raises(ConfigError, match=r"executor\.resources\.difusion: .*Did you mean 'diffusion'"):
        check_kinds({"difusion": {"gpus": 1}}, kinds)


@pytest.mark.parametrize(
    "typed, named",
    [
        ("executor.resources.diffusion={gpu: 1}", "executor.resources.diffusion.gpu"),
        ("executor.resources.default.cpus=0", "executor.resources.default.cpus"),
        ("executor.resources.default.memory=much", "executor.resources.default.memory"),
        ("executor.resources.default.custom={a100: -1}", "executor.resources.default.custom"),
        ("executor.pending=0", "executor.pending"),
        ("executor.address=1", "executor.address"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(tmp_path, typed, named):
    done = inline(tmp_path, *SMALL, "first_stage=kl", "executor=ray", typed, "do=plan")
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"{named}: expected" in done.stdout.replace("\n", "") + done.stderr


def test_every_kind_has_its_place_in_the_configuration():
    node = composed("executor=ray", "executor.resources.scores.memory=2")["executor"]["resources"]
    assert set(node) == {"default", *(kind.name for kind in built_in())}
    assert taken(node, dataclasses.replace(SAMPLES, kind="scores"), RUNTIME).memory == 2


def test_messages_name_the_key_that_bounds_the_memory():
    resources = {"default": {"memory": 2}, "samples": {"memory": 0.5}, "diffusion": {"memory": None}}
    assert bound(resources, "samples") == "executor.resources.samples.memory=0.5"
    assert bound(resources, "diffusion") == "executor.resources.default.memory=2"
    assert bound({}, "diffusion") == "executor.resources.default.memory=null"


def test_one_node_must_have_all_that_a_stage_takes():
    nodes = [{"CPU": 4, "memory": 8 * GIB}, {"CPU": 1, "GPU": 1}]
    assert fits({"CPU": 4}, nodes) and fits({"GPU": 0.5}, nodes)
    assert not fits({"CPU": 2, "GPU": 1}, nodes) and not fits({"a100": 1}, nodes)


def test_without_ray_the_message_has_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install .*\[ray\]"):
        Ray().workers(SweepRun(Plan([]), Builder(Store("."), RUNTIME, "sweep"), Journal(Path()), lambda *_: None))
