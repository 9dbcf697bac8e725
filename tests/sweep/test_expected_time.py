"""Expected times of a plan by what is in the store: of the same work, or of the same network, in proportion to steps,
batch size and count. Nothing is built."""

import json

import pytest
from report_store import sealed

from ablatent.stages.stage import Stage
from ablatent.store.artifacts import Store
from ablatent.sweep.expected_time import ExpectedTime, TimeSource
from ablatent.sweep.plan import Composed, make_plan
from ablatent.sweep.plan_cost import PlanCost
from composing import composed

BASE = ("preset=tiny", "data=digits")


def stages(*overrides: str) -> dict[str, Stage]:
    """Role → stage of a job."""
    (job,) = make_plan([Composed([], composed(*BASE, *overrides))]).jobs
    assert job.refused is None, job.refused
    return job.stages


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store in which each stage of the job BASE took 10 s."""
    root = tmp_path_factory.mktemp("store")
    store = Store(root)
    for stage in stages().values():
        folder = root / "objects" / stage.kind / stage.key
        folder.mkdir(parents=True)
        manifest = {
            **{"kind": stage.kind, "key": stage.key, "attempt": "a", "files": {}, "created": "now"},
            **{"wall_seconds": 10.0, "version": stage.version, "config": stage.config, "inputs": stage.inputs},
            "data": {**stage.digests, "source": "x"},
        }
        (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    return store


def expected(store: Store, *overrides: str, source: TimeSource = TimeSource.WORK) -> dict[str, float | None]:
    """Role → seconds by that source, None where it tells nothing."""
    job = stages(*overrides)
    times = ExpectedTime(store, {stage.key: stage for stage in job.values()})
    found = {role: times(stage) for role, stage in job.items()}
    return {role: None if e is None or e.source is not source else e.seconds for role, e in found.items()}


SAME = ("seed=1", "first_stage.seed=3", "optimizer.lr=0.1", "optimizer.betas=[0.5,0.9]", "training.decay=linear")


@pytest.mark.parametrize("override", SAME)
def test_what_takes_no_time_changes_no_estimate(override: str, store: Store) -> None:
    assert set(expected(store, override).values()) == {10.0}


def test_steps_and_counts_are_in_proportion(store: Store) -> None:
    assert expected(store, "training.steps=48")["diffusion"] == pytest.approx(20)
    assert expected(store, "training.steps=48")["samples"] == pytest.approx(10), "a longer training samples no slower"
    assert expected(store, "first_stage.training.steps=10")["first_stage"] == pytest.approx(5)
    assert expected(store, "first_stage.training.steps=10")["latents"] == pytest.approx(10)
    assert expected(store, "sampler.steps=10")["samples"] == pytest.approx(20)
    assert expected(store, "samples.count=32")["samples"] == pytest.approx(5)
    assert expected(store, "samples.count=32")["scores"] is None, "not in proportion: extractor and statistics"


OTHER = {
    "training.batch_size=8": {"diffusion"},
    "network.ch=64": {"diffusion", "samples"},
    "network=dit": {"diffusion", "samples"},
    "first_stage.ch=24": {"first_stage", "latents", "reconstruction", "diffusion", "samples"},
    "first_stage=vq": {"first_stage", "latents", "reconstruction", "diffusion", "samples"},
    "data.size=16": {"first_stage", "latents", "reconstruction", "diffusion", "samples", "reference_train"},
    "evaluation.reference_count=null": {"reference_train"},
    "training.validate_every=6": {"diffusion"},
    "runtime.precision=bf16-mixed": {"first_stage", "diffusion"},
}


@pytest.mark.parametrize("override", OTHER)
def test_other_work_is_unknown(override: str, store: Store) -> None:
    assert OTHER[override] <= {role for role, time in expected(store, override).items() if time is None}


def test_the_presets_do_not_share_their_times(store: Store) -> None:
    for preset in ("demo", "cpu"):
        found = expected(store, f"preset={preset}")
        assert {found[role] for role in ("first_stage", "latents", "diffusion", "samples", "scores")} == {None}


SAME_NETWORK = {
    "training.batch_size=8": {"diffusion": 5.0},
    "parameterization=eps": {"diffusion": 10.0, "samples": 10.0, "scores": 10.0},
    "schedule=linear": {"diffusion": 10.0, "samples": 10.0},
    "optimizer=adam": {"diffusion": 10.0},
    "sampler=heun": {"samples": 10.0, "scores": 10.0},
    "first_stage.training.batch_size=32": {"first_stage": 20.0},
    "first_stage.loss.disc_start=null": {"latents": 10.0, "diffusion": 10.0, "samples": 10.0},
    "training.validate_every=6": {"diffusion": 10.0},
}


@pytest.mark.parametrize("override", SAME_NETWORK)
def test_the_same_network_is_as_fast_for_each_sample(override: str, store: Store) -> None:
    found = expected(store, override, source=TimeSource.NETWORK)
    assert {role: found[role] for role in SAME_NETWORK[override]} == SAME_NETWORK[override]


def test_steps_batch_and_samples_multiply(store: Store) -> None:
    found = expected(store, "training.steps=48", "training.batch_size=64", source=TimeSource.NETWORK)
    assert found["diffusion"] == pytest.approx(80) and found["samples"] == 10
    found = expected(store, "schedule=linear", "sampler.steps=10", "samples.count=128", source=TimeSource.NETWORK)
    assert found["samples"] == pytest.approx(40)


OTHER_NETWORK = {
    "network.ch=64": {"diffusion", "samples"},
    "runtime.precision=bf16-mixed": {"first_stage", "diffusion"},
    "first_stage.ch=24": {"first_stage", "latents", "diffusion", "samples"},
    "first_stage.loss.disc_start=null": {"first_stage"},
    "conditioner=class": {"diffusion", "samples"},
    "data.size=16": {"first_stage", "latents", "diffusion", "samples"},
}


@pytest.mark.parametrize("override", OTHER_NETWORK)
def test_another_network_is_unknown(override: str, store: Store) -> None:
    found = expected(store, override, source=TimeSource.NETWORK)
    assert {found[role] for role in OTHER_NETWORK[override]} == {None}


def test_the_table_says_what_is_unknown(store: Store) -> None:
    jobs = [Composed([o], composed(*BASE, o)) for o in ("training.steps=48", "network.ch=64")]
    table = PlanCost(make_plan(jobs), store).table()
    cells = dict(zip(table.columns[1].cells, table.columns[4].cells, strict=True))
    assert cells["diffusion"] == "20s + 1 unknown" and cells["first_stage"] == "–"
