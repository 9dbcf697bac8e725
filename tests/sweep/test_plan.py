"""The plan: what is shared, and what a change rebuilds. Composed in this process, nothing is built."""

import copy
import itertools

import pytest

from ablatent.core.fields import choices, fits
from ablatent.core.files import read_json, write_json
from ablatent.core.schema import leaves
from ablatent.stages.job_fields import job_fields
from ablatent.store.identity import SweepId
from ablatent.sweep.plan import Composed, counts, make_plan
from composing import composed as compose_job

DATA = ["preset=tiny", "data=digits"]


def composed(*overrides):
    return compose_job(*DATA, *overrides)


def plan_of(*jobs):
    return make_plan([Composed(list(o), composed(*o)) for o in jobs])


def keys(*overrides):
    (job,) = plan_of(overrides).jobs
    assert job.refused is None, job.refused
    return {role: stage.key for role, stage in job.stages.items()}


@pytest.fixture(scope="module")
def base():
    return keys()


def test_the_sweep_of_the_readme_shares_its_stages():
    values = (["kl", "vq"], ["linear", "cosine"], ["ddim", "ddpm"])
    plan = plan_of(*[(f"first_stage={a}", f"schedule={b}", f"sampler={c}") for a, b, c in itertools.product(*values)])
    assert counts(plan) == {
        "first_stage": 2,
        "reconstruction": 2,
        "latents": 2,
        "diffusion": 4,
        "samples": 8,
        "scores": 8,
        "reference": 2,
    }
    assert plan.axes == {"first_stage": values[0], "schedule": values[1], "sampler": values[2]}
    assert plan.jobs[0].name == "first_stage=kl schedule=linear sampler=ddim"


def test_a_job_that_is_refused_for_what_json_has_not_is_recorded(tmp_path):
    plan = plan_of(("sampler.start=inf",), ("sampler.start=0.5",))
    assert [job.refused is None for job in plan.jobs] == [False, True]
    write_json(tmp_path / "plan.json", plan.record(SweepId("s"), "now", "run.py", "run").to_json())
    configs = [job["config"]["sampler"]["start"] for job in read_json(tmp_path / "plan.json")["jobs"]]
    assert configs == ["inf", 0.5]


BELOW = {
    "first_stage": {"first_stage", "reconstruction", "latents", "diffusion", "samples", "scores"},
    "latents": {"latents", "diffusion", "samples", "scores"},
    "diffusion": {"diffusion", "samples", "scores"},
    "samples": {"samples", "scores"},
    "scores": {"scores"},
    "nothing": set(),
}
CHANGES = {
    "sampler.steps=7": "samples",
    "sampler=ddpm": "samples",
    "samples.seed=1": "samples",
    "samples.weights=raw": "samples",
    "first_stage=vq": "first_stage",
    "first_stage.ch=24": "first_stage",
    "first_stage.seed=1": "first_stage",
    "first_stage.loss.disc_weight=0.1": "first_stage",
    "first_stage.training.lr=0.1": "first_stage",
    "latents.normalizer=none": "latents",
    "schedule=linear": "diffusion",
    "diffusion.seed=1": "diffusion",
    "optimizer.lr=0.1": "diffusion",
    "training.steps=25": "diffusion",
    "training.snapshots=[3]": "diffusion",
    "conditioner=class": "diffusion",
    "network.ch=64": "diffusion",
    "evaluation.metrics.kid.seed=1": "scores",
    "runtime.batch_size=3": "nothing",
    "runtime.threads=1": "nothing",
    "runtime=cpu": "nothing",
    "tracking=csv": "nothing",
    "store.on_code_change=error": "nothing",
    "title=x": "nothing",
    "evaluation.extractor.weights.path=/somewhere/else.pt": "nothing",
}


@pytest.mark.parametrize("override", CHANGES)
def test_a_change_rebuilds_what_hangs_below_it(override, base):
    changed = keys(override)
    assert {role for role in base if changed[role] != base[role]} == BELOW[CHANGES[override]]


def changed(config, key, value):
    """The configuration with another value at a dotted key, composed once and not again."""
    config = copy.deepcopy(config)
    node = config
    for name in key.split(".")[:-1]:
        node = node[name]
    node[key.split(".")[-1]] = value
    return config


VALUES = (2, 8, 1, 0.5, "x", "f" * 32, [2, 2], [0.5, 0.6], ["x"], None, True, False)


def other_value(value, field):
    """Another value that the field takes."""
    return next(v for v in (*VALUES, *choices(field.hint)) if v != value and fits(v, field.hint))


@pytest.mark.slow
@pytest.mark.parametrize("first_stage", ["kl", "vq"])
def test_every_field_of_first_stage_rebuilds_what_hangs_below_it(first_stage):
    """All of it and nothing else; where pretrained weights are found decides nothing."""
    config, base = composed(f"first_stage={first_stage}"), keys(f"first_stage={first_stage}")
    fields = list(leaves("first_stage", config["first_stage"], job_fields()["first_stage"]))
    assert len(fields) > 40
    for name, value, field in fields:
        (job,) = make_plan([Composed([], changed(config, name, other_value(value, field)))]).jobs
        assert job.refused is None, name
        rebuilt = {role for role in base if job.stages[role].key != base[role]}
        assert rebuilt == (set() if ".weights." in name else BELOW["first_stage"]), name
        assert set(job.stages) == set(base), name


def test_a_size_that_does_not_divide_is_refused():
    (job,) = make_plan([Composed([], composed("data=openmoji", "data.size=30"))]).jobs
    assert job.refused is not None and "data.size" in job.refused


def test_conditions_of_pictures_alone_hang_on_no_annotations():
    """New captions or classes retrain nothing that does not read them."""
    config, label = composed("conditioner=masked_image"), composed("conditioner=class")["conditioner"]
    masked, several = config["conditioner"], "ablatent.conditioning.several.Several"
    both = {"_target_": several, "parts": {"a": masked, "b": label}}
    guided = changed(config, "guidance", composed("guidance=classifier", "guidance.scale=2")["guidance"])
    jobs = {
        "alone": (config, ["images"], ["images"]),
        "part": (changed(config, "conditioner", {"_target_": several, "parts": {"a": masked}}), ["images"], ["images"]),
        "parts": (changed(config, "conditioner", both), ["images", "annotations"], ["images", "annotations"]),
        "class": (changed(config, "conditioner", label), ["images", "annotations"], []),
        "guided": (guided, ["images"], ["images", "annotations"]),
    }
    for name, (cfg, diffusion, samples) in jobs.items():
        stages = make_plan([Composed([], cfg)]).jobs[0].stages
        assert (list(stages["diffusion"].digests), list(stages["samples"].digests)) == (diffusion, samples), name


def test_captions_are_embedded_once_for_all_that_reads_them():
    """The encoder, the length and the annotations decide the cached captions; what is trained on them does not."""
    same = {"conditioner.width": 8, "conditioner.dropout": 0.2, "conditioner.encoder.weights.path": "/somewhere"}
    same |= {"data.size": 64, "diffusion.seed": 1}
    other = {"conditioner.max_length": 20, "conditioner.stored": "float32", "conditioner.encoder.digest": "0" * 32}
    other |= {"data.limit": 99}
    config = composed("conditioner=text_minilm")  # what the data lacks is seen when objects are made
    jobs = [config, *(changed(config, k, v) for k, v in {**same, **other}.items())]
    base, *stages = [job.stages for job in make_plan([Composed([], c) for c in jobs]).jobs]
    assert list(base["embeddings"].digests) == ["annotations"] and base["embeddings"].inputs == {}
    assert all(base[role].inputs["embeddings"] == base["embeddings"].key for role in ("diffusion", "samples"))
    assert [found["embeddings"].key == base["embeddings"].key for found in stages] == [True] * len(same) + [
        False
    ] * len(other)
    assert stages[2]["scores"].key == base["scores"].key, "where the encoder was found decides nothing"
    part = config["conditioner"]
    for second, refused in ((dict(part), False), ({**part, "max_length": 20}, True)):
        node = {"_target_": "ablatent.conditioning.several.Several", "parts": {"a": part, "b": second}}
        (job,) = make_plan([Composed([], {**config, "conditioner": node})]).jobs
        assert (job.refused is not None and "conditioner.parts" in job.refused) == refused
