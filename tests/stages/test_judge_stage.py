"""A judge from the command line to the scores: which stages it brings in, what it refuses, what it finds."""

import copy
import json
import re
from functools import partial

import numpy as np
import pytest
import torch
import yaml

from ablatent.core.errors import ConfigError
from ablatent.core.instantiate import make
from ablatent.core.validation import check_value
from ablatent.data.augment import ShiftMirror
from ablatent.evaluation.judge_verdict import Verdict
from ablatent.evaluation.trained_judge import make_judge
from ablatent.stages.agreement.kind import AgreementKind
from ablatent.stages.check_sampling import check_captions
from ablatent.stages.job_fields import job_fields
from ablatent.stages.judge.check import check_judge
from ablatent.stages.judge.kind import JudgeKind
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.sweep.builder import Builder
from ablatent.sweep.check import check_plan
from ablatent.sweep.combination_rules import apply_rules
from ablatent.sweep.plan import Composed, make_plan
from commands import ROOT, SMALL, built, found, run
from composing import composed
from squares import COLOURS, HELD_OUT, Squares

NAMES = ("classifier", "objects", "segmenter")


@pytest.fixture(scope="module")
def config():
    """A class-conditional job of digits in the tiny preset; below `judges`: name → judge node."""
    overrides = ["preset=tiny", "data=digits", "conditioner=class", "runtime=cpu", "judge=classifier"]
    return composed(*overrides, *(f"+judge@judges.{name}={name}" for name in NAMES))


def changed(config, changes):
    """The configuration with other values at dotted keys."""
    config = copy.deepcopy(config)
    for name, value in changes.items():
        *path, last = name.split(".")
        node = config
        for part in path:
            node = node[part]
        node[last] = value
    return config


def option(group, name):
    return yaml.safe_load((ROOT / "conf" / group / f"{name}.yaml").read_text())


def test_it_adds_two_stages_and_changes_none(config):
    changes = [{"judge": {"verdict": None}}, {}, {"judge.seed": 1}]
    changes += [{"samples.seed": 1}, {"training.steps": 25}, {"first_stage.seed": 1}, {"sampler.steps": 4}]
    jobs = make_plan([Composed([], changed(config, c)) for c in changes]).jobs
    base, got, reseeded, *others = ({r: s.key for r, s in job.stages.items()} for job in jobs)
    assert {role: got[role] for role in base} == base and set(got) - set(base) == {"judge", "agreement"}
    assert reseeded["judge"] != got["judge"] and reseeded["samples"] == got["samples"]
    for other in others:
        assert other["judge"] == got["judge"] and other["agreement"] != got["agreement"]


NONE = option("conditioner", "none")
OPENMOJI = {**option("data", "openmoji"), "size": 32, "limit": None}
SQUARES = {"_target_": "squares.Squares", "size": 16, "limit": None}
REFUSED = {
    "nothing is asked for": (
        "classifier",
        {"conditioner": NONE},
        "Choose conditioner=class or conditioner=text_minilm, another judge",
    ),
    "no labels": (
        "classifier",
        {"conditioner": NONE, "data": OPENMOJI},
        "data with labels",
    ),
    "no boxes": ("objects", {}, "data with boxes"),
    "no maps": ("segmenter", {}, "data with segmentation"),
    "not asked for objects": ("objects", {"data": SQUARES}, "with a condition of: captions, boxes"),
    "no samples": ("classifier", {"task": option("task", "trajectory")}, "Use task=sample"),
    "prompts": ("classifier", {"samples.prompts": ["a shoe"]}, "samples.prompts: expected null with a judge"),
    "steps": ("classifier", {"judge.training.steps": 0}, "judge.training.steps"),
    "levels": ("classifier", {"judge.network.ch_mult": [1] * 7}, "divisible by 128"),
    "unknown": ("classifier", {"judge.verdict.tresh": 1}, "judge.verdict.tresh"),
    "pixels for a class": (
        "classifier",
        {"judge.network._target_": "ablatent.networks.judge.PixelNet"},
        "judge.network: expected answers that fit Classes",
    ),
}


def check(config, judge, changes):
    config = changed({**config, "judge": config["judges"][judge]}, changes)
    check_value("judge", config["judge"], job_fields()["judge"])
    apply_rules(config)
    check_judge(config)


@pytest.mark.parametrize("what", REFUSED)
def test_refused_before_anything_is_trained(config, what):
    judge, changes, message = REFUSED[what]
    with pytest.raises(ConfigError, match=re.escape(message)):
        check(config, judge, changes)


def test_not_refused(config):
    check(config, "classifier", {})
    check(config, "classifier", {"conditioner": NONE, "guidance": option("guidance", "classifier")})


def test_a_metric_of_captions_wants_samples_of_captions(config):
    clip = {"clip": {"_target_": "ablatent.evaluation.clip.ClipScore"}}
    text = {**config, "evaluation": {**config["evaluation"], "metrics": clip, "reconstruction_metrics": []}}
    text["conditioner"] = option("conditioner", "text_minilm")
    check_captions(text)
    others = {
        "evaluation.metrics.clip: expected samples of captions": {"conditioner": option("conditioner", "layout")},
        "evaluation.metrics.clip: expected task=sample": {"task": option("task", "text2img")},
        "evaluation.reconstruction_metrics": {"evaluation": {**text["evaluation"], "reconstruction_metrics": ["clip"]}},
    }
    for message, change in others.items():
        with pytest.raises(ConfigError, match=re.escape(message)):
            check_captions({**text, **change})


@pytest.mark.slow
def test_a_plan_refuses_it(config):
    job = Composed([], changed({**config, "judge": config["judges"]["objects"]}, {}))
    plan = make_plan([job])
    check_plan(plan)
    assert "data with boxes" in plan.jobs[0].refused and not plan.jobs[0].stages


def publish(store, key, files):
    def write(work):
        for name, value in files.items():
            path = work.files / name
            np.save(path, value) if name.endswith(".npy") else path.write_text(json.dumps(value))

    store.get_or_build(key, write)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("judge", "names"),
    [
        ("objects", {"object_recall", "scene_accuracy", "several_accuracy"}),
        ("segmenter", {"pixel_accuracy", "miou", "box_hit_rate"}),
    ],
)
def test_real_pictures_get_their_own_scores_and_other_conditions_get_chance(tmp_path, config, judge, names):
    """Held-out pictures stand in for samples: asked for what they show, and for what another one shows."""
    data, store = Squares(size=16), Store(tmp_path / "store")
    prints = data.fingerprint()
    digests = {"images": prints.images, "annotations": prints.annotations}
    node = changed(config["judges"][judge], {"training.steps": 250, "training.validate_every": 125})
    made = JudgeKind().stage(node, {}, digests, SQUARES)
    builder = Builder(store, {**config["runtime"], "threads": 1, "checkpoint_seconds": 10.0}, "test")
    summary = builder(made)[0].json("summary.json")
    assert summary["held_out"][summary["headline"]] > 0.9 and summary["trained_on"] == 256
    assert summary["names"] == (list(COLOURS) if judge == "objects" else ["background", *COLOURS])
    rows = [r for r in data.all_rows() if r.split]
    known, pixels = data.annotate(rows), np.stack(list(data.images(rows)))
    order = np.random.default_rng(0).permutation(HELD_OUT)
    for key, conditions in {"own": known, "other": known.rows(order)}.items():
        files = {"images.npy": pixels, "conditions_segmentation.npy": conditions.segmentation}
        files |= {"conditions.json": {"boxes": conditions.boxes}, "summary.json": {"labels": None, "captions": None}}
        samples = Key(f"samples-{key.encode().hex():0>32}")
        publish(store, samples, files)
        scored = builder(AgreementKind().stage({}, {"samples": samples, "judge": made.key}))[0]
        scores = scored.json("scores.json")["metrics"]
        assert set(scores) == names | {f"{name}_chance" for name in names}
        for name in names:
            score, chance = scores[name], scores[f"{name}_chance"]["value"]
            if key == "own" and judge == "segmenter":
                assert score["value"] == pytest.approx(summary["held_out"][name]), "the same pictures, the same facts"
            if key == "own":
                assert score["value"] > 0.85 > chance
            else:
                assert abs(score["value"] - chance) < max(0.1, 2 * score["std"])


def only(folder, kind):
    (path,) = (folder / "store" / "objects" / kind).iterdir()
    return path


@pytest.mark.slow
def test_one_judge_for_a_curve_over_guidance(tmp_path, first_stages):
    first_stages(tmp_path)
    job = [*SMALL, "conditioner=class", "judge=classifier", "guidance=classifier_free"]
    done = run(tmp_path, "-m", *job, "guidance.scale=1,2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert built(done.stdout).count("judge") == 1 and built(done.stdout).count("agreement") == 2
    summary = json.loads((only(tmp_path, "judge") / "summary.json").read_text())
    assert summary["held_out"]["class_accuracy"] > 0.5 and summary["held_out"]["count"] == 64
    (report,) = (tmp_path / "store" / "sweeps").glob("*/report/report.md")
    text = report.read_text()
    assert "## Judges" in text and "class accuracy ↑" in text and "class accuracy by chance" in text
    assert "class accuracy" in done.stdout, "in the last table, too"
    again = run(tmp_path, *job, "guidance.scale=2", "judge.seed=1")
    assert again.returncode == 0 and set(built(again.stdout)) == {"judge", "agreement"} and found(again.stdout)


@pytest.mark.slow
def test_a_judge_that_was_stopped_ends_with_the_same_bits(tmp_path, config):
    from test_guidance_stage import Folder

    from ablatent.training.judge import JudgeBatches, JudgeTrainee, JudgeTraining
    from ablatent.training.loop import fit
    from ablatent.training.record import Recorder
    from ablatent.training.settings import Runtime

    config, data = config["judges"]["segmenter"], Squares(size=16)
    rows = data.all_rows()
    known, verdict = data.annotate(rows), make(config["verdict"], Verdict)
    how = JudgeTraining(**{**config["training"], "steps": 20, "validate_every": 10, "batch_size": 8})
    pixels, augment = np.stack(list(data.images(rows))), make(config["augment"], ShiftMirror)
    batches = JudgeBatches(pixels, verdict.targets(known), np.arange(HELD_OUT, len(rows)), augment, 8, 0)

    def train(folder, batch_at):
        torch.manual_seed(0)
        network = make_judge(config, len(known.segments))
        watched = batches.validation(np.arange(16))
        trainee = JudgeTrainee(network, verdict, how, 0, partial(torch.optim.AdamW, lr=1e-3), watched)
        fit(trainee, batch_at, folder, Recorder(folder.path, folder), Runtime(checkpoint_seconds=0.0), "judge")
        return network.state_dict(), (folder.path / "curves.csv").read_text()

    def stopping(step, share):
        if step == 15:
            raise RuntimeError("stop")
        return batches(step, share)

    whole, stopped = Folder(tmp_path / "whole"), Folder(tmp_path / "stopped")
    with pytest.raises(RuntimeError, match="stop"):
        train(stopped, stopping)
    (state, curves), (expected, summary) = train(stopped, batches), train(whole, batches)
    assert curves == summary and all(torch.equal(v, expected[name]) for name, v in state.items())
