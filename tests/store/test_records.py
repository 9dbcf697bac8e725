"""Records of a store: what is in a file is what the class says, or a DataError that names the place."""

import json

import pytest

from ablatent.core.errors import DataError
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key, digest
from ablatent.store.records import JobRecord, Manifest, PlanRecord
from ablatent.store.verify import MANIFEST, verify

FILE = {"size": 2, "sha256": "ab"}
ARTIFACT = {
    "kind": "toy",
    "key": "toy-01",
    "attempt": "0a",
    "files": {"value.txt": FILE},
    "created": "2026-11-22T20:00:00+0000",
    "wall_seconds": 1.5,
}
JOB = {"index": 0, "name": "", "overrides": [], "axes": {}, "config": {}, "stages": {"latents": "l-1"}, "refused": None}
STAGE = {
    **{"kind": "latents", "version": 1, "config": {"seed": 0}, "inputs": {}, "digests": {}, "data": {}},
    **{"builder": "m", "trained": False, "scored": False, "figure": None, "neutral": {}},
}
PLAN = {
    **{"id": "S", "created": "now", "command": "run.py", "verb": "run", "axes": {"steps": ["5", "20"]}},
    **{"jobs": [JOB], "stages": {"l-1": STAGE}},
}
ERROR = {"stage": "l-1", "kind": "latents", "message": "no", "traceback": ""}
DONE = {"index": 0, "status": "failed", "error": ERROR, "seconds": 3, "stages": {}}
FULL = {**ARTIFACT, "config": {}, "inputs": {"first_stage": "f-1"}, "data": {"source": None}, "code": "c", "version": 1}


@pytest.mark.parametrize(
    ("record", "value"), [(Manifest, ARTIFACT), (Manifest, FULL), (PlanRecord, PLAN), (JobRecord, DONE)]
)
def test_what_is_read_is_what_is_written(record, value):
    assert record.from_json(value, "here").to_json() == value


def test_fields_are_typed():
    plan = PlanRecord.from_json(PLAN, "plan")
    assert plan.jobs[0].stages == {"latents": "l-1"} and plan.stages["l-1"].config == {"seed": 0}
    assert JobRecord.from_json(DONE, "job").error.message == "no"
    manifest = Manifest.from_json(ARTIFACT, "toy")
    assert manifest.files["value.txt"].size == 2 and manifest.config == {} and manifest.seal is None


@pytest.mark.parametrize(
    ("record", "value", "message"),
    [
        (Manifest, [], r"here: expected an object; got \[\]"),
        (Manifest, {k: v for k, v in ARTIFACT.items() if k != "files"}, "got no 'files'"),
        (Manifest, {**ARTIFACT, "colour": "red"}, "got 'colour'"),
        (
            Manifest,
            {**ARTIFACT, "files": {"value.txt": {"size": "2", "sha256": "ab"}}},
            r"files\.value\.txt: size: exp",
        ),
        (Manifest, {**ARTIFACT, "wall_seconds": True}, "wall_seconds: expected a number; got True"),
        (Manifest, {**ARTIFACT, "config": "no"}, "config: expected an object; got 'no'"),
        (PlanRecord, {**PLAN, "jobs": {}}, "jobs: expected a list"),
        (PlanRecord, {**PLAN, "jobs": [{**JOB, "index": "0"}]}, r"jobs\[0\]: index: expected an integer; got '0'"),
        (JobRecord, {**DONE, "error": "broken"}, "error: expected an object; got 'broken'"),
        (JobRecord, {**DONE, "status": None}, "status: expected a string; got None"),
    ],
)
def test_another_shape_is_refused(record, value, message):
    with pytest.raises(DataError, match=message):
        record.from_json(value, "here")


def test_files_that_cannot_be_read_are_named(tmp_path):
    for name, text in (("absent.json", None), ("half.json", "{"), ("binary.json", "\x00")):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=f"{tmp_path.name}/{name}: expected a JSON object"):
            JobRecord.read(tmp_path / name)


def test_a_sealed_manifest_of_an_unknown_shape_is_an_error_and_no_damage(tmp_path):
    """It is whole: another version wrote it, so it must not be set aside and built again."""

    def build(work):
        (work.files / "value.txt").write_text("42")

    Store(tmp_path).check_writable()
    artifact, _ = Store(tmp_path).get_or_build(Key("toy-01"), build)
    path = artifact.path / MANIFEST
    about = {k: v for k, v in json.loads(path.read_text()).items() if k != "seal"} | {"colour": "red"}
    path.write_text(json.dumps({**about, "seal": digest(about)}))
    with pytest.raises(DataError, match=r"toy-01: its manifest: expected the fields .*; got 'colour'"):
        verify(artifact.path, Key("toy-01"))
    with pytest.raises(DataError, match="toy-01"):
        Store(tmp_path).get_or_build(Key("toy-01"), build)
    assert not (tmp_path / "damaged").exists()


def test_a_build_that_records_an_unknown_field_is_refused(tmp_path):
    with pytest.raises(DataError, match="got 'colour'"):
        Store(tmp_path).get_or_build(Key("toy-01"), lambda work: None, lambda work: {"colour": "red"})
