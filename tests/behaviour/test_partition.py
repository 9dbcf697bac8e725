"""Moves and renames change neither which stages are the same, nor their keys."""

import json

import pytest

import behaviour

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def known():
    return json.loads(behaviour.PARTITION.read_text())


@pytest.fixture(scope="module")
def planned(known):
    """Every job of the fixture, planned once."""
    return behaviour.planned([job for part in known["jobs"].values() for job in part])


def test_the_same_jobs_share_the_same_stages(known, planned):
    jobs = [job for part in known["jobs"].values() for job in part]
    pairs = zip(jobs, known["stages"], behaviour.partition(planned), strict=True)
    different = [(job, old, new) for job, old, new in pairs if not same(old, new)]
    assert not different, different[:3]


def test_every_experiment_and_every_preset_is_there(known):
    assert known["jobs"]["experiments"] == behaviour.of_experiments()
    assert known["jobs"]["presets"] == behaviour.of_presets()


def test_golden_keys(planned):
    """From the first release on stores of users hold these: a change of a key must be meant."""
    assert behaviour.golden(planned) == json.loads(behaviour.KEYS.read_text())


def same(old, new):
    """Stage by stage; a job that was refused for data of the machine, without a key, is refused for any reason."""
    return str(new).startswith("refused") if old == "refused" else old == new
