"""Moves and renames change no result: the bits that tiny jobs of each kind give."""

import json

import pytest

import behaviour

pytestmark = pytest.mark.slow


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
