"""Claims in configurations: what is refused before anything is planned, and that no stage depends on them."""

import copy

import pytest

from ablatent.claims.claim import claims_of
from ablatent.cli.claims_page import LETTERS, page, rows
from ablatent.core.errors import ConfigError
from ablatent.stages.job_fields import JobCheck
from ablatent.store.identity import SweepId
from ablatent.sweep.plan import Composed, make_plan
from claim_nodes import claim
from commands import ROOT
from composing import composed

EXPERIMENTS = sorted({row["experiment"] for row in rows(ROOT)})


def without(name):
    node = claim()
    del node[name]
    return node


WRONG = {
    "claims.a.contrasts.x.expect": claim(expect="less"),
    "claims.a.contrasts.x.margin": claim(margin=-1),
    "claims.a.contrasts.x.scale": claim(scale="log"),
    "claims.a.contrasts.x.expekt": claim(expekt="lower"),
    "claims.a.contrasts.x.of": claim(of="vq"),
    "claims.a.source": without("source"),
    "claims.a.contrasts": without("contrasts"),
    "claims.a.id": {**claim(), "id": "AB"},
    "claims.a.unit": {**claim(), "unit": 3},
    "claims.a": "VQ is better.",
}


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_key_or_value_is_refused_by_its_name(key):
    config = composed() | {"claims": {"a": WRONG[key]}}
    with pytest.raises(ConfigError) as error:
        JobCheck()(config)
    assert error.value.key == key
    (job,) = make_plan([Composed([], config)]).jobs
    assert job.refused is not None and job.refused.startswith(f"{key}:") and not job.stages


UNTESTABLE = {
    "claims.A b": {"A b": claim()},
    "claims.a.contrasts": {"a": {**claim(), "contrasts": {}}},
    "claims.a.contrasts.x.against": {"a": claim(of={"first_stage": ["kl", "vq"]})},
    "claims.a.contrasts.x.at.first_stage": {"a": claim(at={"first_stage": "vq"})},
    "claims.a.contrasts.x.margin": {"a": claim(expect="equal")},
}


@pytest.mark.parametrize("key", UNTESTABLE)
def test_a_claim_that_no_sweep_could_test_is_refused(key):
    with pytest.raises(ConfigError) as error:
        claims_of({"claims": UNTESTABLE[key]})
    assert error.value.key == key
    (job,) = make_plan([Composed([], composed() | {"claims": UNTESTABLE[key]})]).jobs
    assert job.refused is not None and job.refused.startswith(f"{key}:")


def test_a_unit_that_is_no_kind_of_stage_is_refused():
    (job,) = make_plan([Composed([], composed() | {"claims": {"a": {**claim(), "unit": "frist_stage"}}})]).jobs
    assert job.refused is not None and job.refused.startswith("claims.a.unit: expected a kind of stage (")
    assert "Did you mean 'first_stage'?" in job.refused


def test_arms_of_the_same_jobs_want_another_score():
    about = claim(against={"first_stage": "vq"}, against_metric="fid_192_baseline")
    assert claims_of({"claims": {"a": about}})["a"].contrasts["x"].against_metric == "fid_192_baseline"
    with pytest.raises(ConfigError):
        claims_of({"claims": {"a": claim(against={"first_stage": "vq"}, against_metric="fid_192")}})


def test_no_stage_depends_on_claims():
    plain = composed("data=digits", "preset=tiny")
    stating = copy.deepcopy(plain) | {"claims": {"a": claim()}}
    jobs = make_plan([Composed([], plain), Composed([], stating)]).jobs
    assert [job.refused for job in jobs] == [None, None]
    first, second = ({role: stage.key for role, stage in job.stages.items()} for job in jobs)
    assert first == second and len(first) > 5


def test_a_plan_has_the_claims_once():
    plan = make_plan([Composed([], composed("data=digits") | {"claims": {"a": claim()}})])
    record = plan.record(SweepId("s"), "now", "run.py", "run").to_json()
    assert record["claims"] == {"a": claim()}
    assert "claims" not in record["jobs"][0]["config"]
    bare = make_plan([Composed([], composed("data=digits"))]).record(SweepId("s"), "now", "run.py", "run").to_json()
    assert "claims" not in bare, "as in plans without any"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_claims_of_every_experiment_are_testable(name):
    config = composed(f"experiments={name}")
    JobCheck()(config)
    found = claims_of(config)
    assert found and {about.id for about in found.values()} - {None} <= set(LETTERS)


def test_the_page_of_claims_is_as_the_experiments_say():
    written = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert written == page(), "write it again: python -m ablatent.cli.claims_page > docs/claims.md"
    assert {"A", "D", "E", "F", "H", "I"} <= {row["id"] for row in rows(ROOT)}


def test_the_page_shows_recorded_verdicts(tmp_path):
    (tmp_path / "experiments" / "results" / "one").mkdir(parents=True)
    (tmp_path / "experiments" / "one.yaml").write_text("claims: {a: {statement: s, source: t}, b: {statement: s}}\n")
    (tmp_path / "experiments" / "results" / "one" / "verdicts.json").write_text(
        '{"claims": {"a": {"verdict": "agree"}}}'
    )
    assert {row["name"]: row["verdict"] for row in rows(tmp_path)} == {"a": "agree", "b": "not run"}
