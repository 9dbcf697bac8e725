"""The features of a job's own judge in its scores: which stages they bring in, what is refused, what they measure."""

import copy
import json
import re

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from ablatent.core.errors import ConfigError
from ablatent.core.files import write_json
from ablatent.data.prepared import load_images
from ablatent.data.tensors import to_tensor
from ablatent.evaluation.features import extract
from ablatent.evaluation.fid import FID
from ablatent.evaluation.judge_features import JudgeExtractor
from ablatent.evaluation.scores import score_features
from ablatent.evaluation.trained_judge import make_judge
from ablatent.stages.stored import stored_config
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.sweep.combination_rules import apply_rules
from ablatent.sweep.plan import Composed, make_plan
from commands import ROOT, SMALL, built, run
from composing import composed

FIDS = {"fid": FID()}
TASKS = {"reconstruct": "reconstruction", "trajectory": "task"}
"""Tasks whose images are no samples → the stage that takes features."""


def option(group, name):
    return yaml.safe_load((ROOT / "conf" / group / f"{name}.yaml").read_text())


@pytest.fixture(scope="module")
def config():
    """An unconditional job of digits in the tiny preset; below `judges` and `tasks`: name → node."""
    overrides = ["preset=tiny", "data=digits", "runtime=cpu", "judge=classifier", "evaluation=judge"]
    judges = ("classifier", "objects", "segmenter", "none")
    overrides += [f"+judge@judges.{name}={name}" for name in judges]
    overrides += [f"+task@tasks.{name}={name}" for name in TASKS]
    return composed(*overrides, "+evaluation@quick=quick", "+conditioner@by_class=class")


def keys(config, **changes):
    (job,) = make_plan([Composed([], {**copy.deepcopy(config), **changes})]).jobs
    assert job.refused is None, job.refused
    return {role: stage.key for role, stage in job.stages.items()}


def judge_artifact(store, config, seed=0, learns=10):
    """A judge of random weights in a store, as its stage leaves it."""
    torch.manual_seed(seed)
    network = make_judge(config["judge"], learns).eval()

    def write(work):
        save_file(network.state_dict(), str(work.files / "model.safetensors"))
        names = [str(k) for k in range(learns)]
        held_out = {"count": 64, "class_accuracy": 0.75}
        summary = {"names": names, "calibrated": {}, "trained_on": 256, "held_out": held_out}
        write_json(work.files / "summary.json", summary)

    return store.get_or_build(Key(f"judge-{seed:032d}"), write)[0], network


def test_features_are_what_the_last_layer_is_given(tmp_path, config):
    artifact, network = judge_artifact(Store(tmp_path), config)
    extractor = JudgeExtractor("_judge")
    extractor.read(artifact, config["judge"])
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    seen = []
    network.head.register_forward_pre_hook(lambda head, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(to_tensor(images))
    found = extract(extractor, images, "cpu", 5)
    assert np.array_equal(found, seen[0].numpy()) and found.shape[1] == extractor.dim
    grey = images[..., :1]
    assert np.array_equal(extract(extractor, grey, "cpu", 5), extract(extractor, grey.repeat(3, axis=3), "cpu", 5))


def test_the_protocol_names_the_judge_and_scores_are_not_called_fid(tmp_path, config):
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    protocols = []
    for seed in (0, 1):
        artifact, _ = judge_artifact(Store(tmp_path), config, seed)
        extractor = JudgeExtractor("_judge")
        extractor.read(artifact, config["judge"])
        features = extract(extractor, images, "cpu", 8)
        scores = score_features(FIDS, extractor, lambda used, f=features: f[:4], lambda used, f=features: f[4:])
        assert list(scores) == ["fd_judge"] and scores["fd_judge"].label == "FD(judge)"
        assert "(judge)" in scores["fd_judge"].remark
        protocols.append(scores["fd_judge"].protocol)
        assert artifact.key in protocols[-1]["extractor"] and protocols[-1]["judge_class_accuracy"] == 0.75
    assert {name for name in protocols[0] if protocols[0][name] != protocols[1][name]} == {
        "extractor",
        "extractor_digest",
    }


def test_an_extractor_without_its_judge_says_so():
    with pytest.raises(ConfigError, match="a trained judge"):
        JudgeExtractor("_judge").load()


BY_JUDGE = {"reference_validation", "reference_train", "reconstruction", "scores"}


def test_one_judge_is_read_by_all_that_takes_features(config):
    (job,) = make_plan([Composed([], copy.deepcopy(config))]).jobs
    judge = job.stages["judge"].key
    assert {role for role, stage in job.stages.items() if stage.inputs.get("judge") == judge} == BY_JUDGE
    assert "agreement" not in job.stages, "digits are drawn without a condition"
    order = list(job.stages)
    assert all(order.index("judge") < order.index(role) for role in BY_JUDGE)


def test_what_changes_with_the_judge(config):
    base, node = keys(config), config["judge"]
    other = keys(config, judge={**node, "seed": 1})
    assert {role for role in base if base[role] != other[role]} == {"judge", *BY_JUDGE}
    for changes in ({"classifier": {**config["classifier"], "seed": 1}}, {"runtime": {**config["runtime"]}}):
        assert keys(config, **changes) == base
    quick = keys(config, evaluation=config["quick"], judge=config["judges"]["none"])
    assert {role for role in quick if quick[role] != base[role]} == BY_JUDGE and set(base) - set(quick) == {"judge"}


def test_a_judge_beside_other_features_changes_none_of_their_keys(config):
    config = {**config, "conditioner": config["by_class"], "evaluation": config["quick"]}
    without, beside = (keys(config, judge=config["judges"][name]) for name in ("none", "classifier"))
    assert {role: beside[role] for role in without} == without and set(beside) - set(without) == {"judge", "agreement"}


@pytest.mark.parametrize("task", TASKS)
def test_other_tasks_have_the_judge_too(config, task):
    (job,) = make_plan([Composed([], {**copy.deepcopy(config), "task": config["tasks"][task]})]).jobs
    assert job.refused is None and job.stages[TASKS[task]].inputs["judge"] == job.stages["judge"].key
    assert "agreement" not in job.stages


def test_samples_with_conditions_are_judged_as_well(config):
    assert "agreement" in keys(config, conditioner=config["by_class"])


OPENMOJI = {**option("data", "openmoji"), "size": 32, "limit": None}
REFUSED = {
    "no judge": ("none", {}, r"judge: .*evaluation\.extractor.*got 'judge=none'.*Write judge=classifier, or another"),
    "no labels": ("none", {"data": OPENMOJI}, r"judge: .*evaluation\.extractor.*use data=fashion_mnist"),
    "no vector": ("segmenter", {}, r"judge\.network: .*evaluation\.extractor.*PixelNet.*judge=classifier"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_before_anything_is_trained(config, what):
    judge, changes, message = REFUSED[what]
    with pytest.raises(ConfigError, match=message):
        apply_rules({**copy.deepcopy(config), "judge": config["judges"][judge], **changes})


def test_a_metric_of_its_own_extractor_has_no_judge(config):
    config = copy.deepcopy(config)
    config["evaluation"]["metrics"]["is"] = {**option("metric", "is"), "extractor": option("extractor", "judge")}
    with pytest.raises(ConfigError, match=re.escape("evaluation.metrics.is.extractor")):
        apply_rules(config)


def stored(folder, kind):
    """key → folder of the artifacts of a kind."""
    return {path.name: path for path in (folder / "store" / "objects" / kind).iterdir()}


def score(path):
    return json.loads((path / "scores.json").read_text())["metrics"]


@pytest.mark.slow
def test_two_judges_score_apart_and_a_second_look_gives_the_same_bits(tmp_path, first_stages):
    first_stages(tmp_path)
    job = [*SMALL, "evaluation=judge", "judge=classifier"]
    done = run(tmp_path, "-m", *job, "judge.seed=0,1")
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = built(done.stdout)
    assert [kinds.count(kind) for kind in ("judge", "reference", "scores", "samples")] == [2, 4, 2, 1]
    scores = {key: (path / "scores.json").read_bytes() for key, path in stored(tmp_path, "scores").items()}
    (one, other) = (score(path) for path in stored(tmp_path, "scores").values())
    assert {"fd_judge", "kd_judge", "precision_judge", "recall_judge"} <= set(one) and "fid_judge" not in one
    assert one["fd_judge"]["value"] != other["fd_judge"]["value"]
    assert one["fd_judge"]["protocol"]["extractor"] != other["fd_judge"]["protocol"]["extractor"]
    assert sum("rfd_judge" in score(path) for path in stored(tmp_path, "reconstruction").values()) == 2
    for kind in ("scores", "reference", "features"):
        (tmp_path / "store" / "objects" / kind).rename(tmp_path / kind)
    again = run(tmp_path, "-m", *job, "judge.seed=0,1")
    assert again.returncode == 0 and set(built(again.stdout)) == {"scores", "reference"}, again.stdout + again.stderr
    assert {key: (path / "scores.json").read_bytes() for key, path in stored(tmp_path, "scores").items()} == scores

    store = Store(tmp_path / "store")
    images = load_images(next(iter(stored(tmp_path, "data").values())))
    for key in stored(tmp_path, "judge"):
        extractor, judge = JudgeExtractor("_judge"), store.open(Key(key))
        extractor.read(judge, stored_config(judge))
        real, held_out = (images.pixels[images.indices(split)] for split in ("train", "validation"))
        noise = np.random.default_rng(0).integers(0, 256, held_out.shape, dtype=np.uint8)
        against = extract(extractor, real, "cpu", 64)
        near, far = (FID()(extract(extractor, x, "cpu", 64), against)["fid"].value for x in (held_out, noise))
        assert far > 5 * near
