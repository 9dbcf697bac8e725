"""Moves and renames change no result: the partition of stages, and the bits that tiny jobs of each kind give."""

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


def test_golden_keys(planned):
    """From the first release on stores of users hold these: a change of a key must be meant."""
    assert behaviour.golden(planned) == json.loads(behaviour.KEYS.read_text())


def same(old, new):
    """Stage by stage; a job that was refused for data of the machine, without a key, is refused for any reason."""
    return str(new).startswith("refused") if old == "refused" else old == new


def test_the_same_jobs_give_the_same_bits(tmp_path):
    """To the bit on the machine of the fixture; elsewhere scores are near those: other processors round otherwise."""
    known = json.loads(behaviour.BITS.read_text())
    found = behaviour.bits(known["jobs"], tmp_path / "store")
    assert {n: list(f["weights"]) for n, f in found.items()} == {
        n: list(f["weights"]) for n, f in known["built"].items()
    }
    if behaviour.machine() == known["machine"]:
        assert found == known["built"]
    for name, built in known["built"].items():
        assert found[name]["scores"] == pytest.approx(built["scores"], rel=0.05, abs=0.05), name


def test_an_imported_network_gives_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(behaviour.ROOT / "tests" / "interop")
    known = json.loads(behaviour.BITS.read_text())
    found = behaviour.imported_bits(tmp_path)
    assert list(found) == list(known["imported"])
    for name, value in known["imported"].items():
        if behaviour.machine() == known["machine"] or "picture" not in name:  # weights are only read
            assert found[name] == value, name
