"""Whatever the disk makes of a file of the store: it is built again, or named, and the rest goes on."""

import json
import shutil

import pytest
from report_store import build

from ablatent.core.errors import AblatentError, ConfigError
from ablatent.core.progress import warn_once
from ablatent.inference.model_reference import find
from ablatent.report.load import load_sweep
from ablatent.report.terminal import final_table
from ablatent.report.write import write_report
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key, SweepId
from ablatent.store.sweeps import newest_sweep
from ablatent.sweep.status import print_status
from ablatent.tracking.run_links import stage_links
from commands import inline

DAMAGE = {
    "first byte": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "middle byte": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 0x80]) + data[len(data) // 2 + 1 :]
    ),
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "not UTF-8": lambda data: b"\xff\xfe" + data,
    "null": lambda data: b"null",
    "list": lambda data: b"[]",
    "object": lambda data: b"{}",
    "deep": lambda data: b"[" * 100_000,
    "NaN": lambda data: b"NaN",
}
OLD, NEW = SweepId("2026-11-22_20-00-00"), SweepId("2026-11-23_20-00-00")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store with two sweeps, builds in progress, and links to tracker runs."""
    root = tmp_path_factory.mktemp("whole")
    build(root, {"first_stage": ["kl", "vq"]})
    shutil.copytree(root / "sweeps" / OLD, root / "sweeps" / NEW)
    (root / "FORMAT").write_text("2\n")
    diffusion = load_sweep(root, NEW).jobs[0].stages["diffusion"]
    (root / "tracking" / "stages").mkdir(parents=True)
    (root / "tracking" / "stages" / f"{diffusion}.json").write_text(json.dumps({"csv": {"id": "0123"}}))
    work = root / "work" / "toy-0123"
    (work / "files").mkdir(parents=True)
    error = {"invocation": "one", "time": 0.0, "message": "no luck\nat all", "traceback": ""}
    texts = {"error.json": json.dumps(error), "token": "ab", "attempt": "0123456789ab", "code": "c0de"}
    for name, text in {**texts, "resumed_seconds": "1.5", "last.ckpt": "x"}.items():
        (work / name).write_text(text)
    return root


@pytest.fixture
def store(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "store")


def damaged(path, kind):
    path.write_bytes(DAMAGE[kind](path.read_bytes()))


def status(root, capsys):
    print_status(Store(root), None)
    return capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_plan_is_named_and_hides_no_other_sweep(store, kind, capsys):
    path = store / "sweeps" / NEW / "plan.json"
    damaged(path, kind)
    out = status(store, capsys)
    assert f"{path} is damaged" in out and f"sweep {OLD}: 2 of 2 jobs finished" in out
    assert newest_sweep(store) == OLD
    assert find(store, f"{OLD}:0").inputs["diffusion"].kind == "diffusion"
    with pytest.raises(ConfigError, match=rf"^sweep: expected a sweep whose plan.json can be read; got .*{NEW}"):
        load_sweep(store, NEW)


KEYS = {
    "a job without stages": lambda plan: plan["jobs"][1].pop("stages"),
    "a job of text": lambda plan: plan["jobs"].append("x"),
    "no stages": lambda plan: plan.pop("stages"),
    "an index of text": lambda plan: plan["jobs"][0].update(index="0"),
    "axes of numbers": lambda plan: plan.update(axes={"a": [1]}),
    "a key that leads out": lambda plan: plan["jobs"][0]["stages"].update(diffusion="../../evil-00"),
    "a stage that leads out": lambda plan: plan["stages"].update({"/etc/evil-00": next(iter(plan["stages"].values()))}),
    "inputs that lead out": lambda plan: next(iter(plan["stages"].values()))["inputs"].update(a="a/../b-0"),
    "an id that leads out": lambda plan: plan.update(id="../../evil"),
}


@pytest.mark.parametrize("change", KEYS)
def test_a_plan_of_another_shape_is_named_and_hides_no_other_sweep(store, change, capsys):
    path = store / "sweeps" / NEW / "plan.json"
    plan = json.loads(path.read_text())
    KEYS[change](plan)
    path.write_text(json.dumps(plan))
    assert f"{path} is damaged" in status(store, capsys) and newest_sweep(store) == OLD


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_job_is_named_and_the_rest_is_shown(store, kind, capsys):
    path = store / "sweeps" / NEW / "jobs" / "000.json"
    damaged(path, kind)
    out = status(store, capsys)
    assert f"{path} is damaged" in out and f"sweep {NEW}: 1 of 2 jobs finished" in out
    assert any("jobs/000.json" in problem for problem in load_sweep(store, NEW).problems)
    final_table(store, NEW)


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_links_to_trackers_are_named_and_count_as_none(store, kind, capsys):
    (path,) = (store / "tracking" / "stages").glob("*.json")
    damaged(path, kind)
    shown = [links for _, links in stage_links(store)]
    assert kind == "object" or (shown == [{}] and f"{path} is damaged" in capsys.readouterr().out.replace("\n", ""))
    with pytest.raises(ConfigError, match=r"^model: "):
        find(store, "0123")


@pytest.mark.parametrize("name", ["error.json", "token", "attempt", "code", "resumed_seconds", "last.ckpt"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_of_a_build_does_not_stop_the_next_one(store, name, kind, capsys):
    damaged(store / "work" / "toy-0123" / name, kind)
    assert "toy-0123: failed (" in status(store, capsys)
    artifact, built = Store(store).get_or_build(
        Key("toy-0123"), lambda work: (work.files / "v").write_text("1"), invocation="one"
    )
    assert built and len(artifact.manifest.attempt) == 12


@pytest.mark.parametrize("kind", [k for k in DAMAGE if k not in ("middle byte", "cut")])
def test_a_damaged_format_is_one_sentence(store, kind):
    damaged(store / "FORMAT", kind)
    with pytest.raises(ConfigError, match=r"^store.path: expected (the number of the store's|a store of) format"):
        Store(store)


def test_every_damaged_file_of_an_object_is_found(whole, tmp_path):
    """Each is found before it is used, so that its object is built again."""
    sweep = load_sweep(whole, NEW)
    (tmp_path / "FORMAT").write_text("2\n")
    for stored in sweep.objects.values():
        key = Key(stored.key)
        assert Store(whole).find(key) is not None
        for name in [*stored.files, "manifest.json"]:
            for kind in DAMAGE:
                copy = shutil.copytree(stored.folder, tmp_path / "objects" / key.kind / key)
                damaged(copy / name, kind)
                assert Store(tmp_path).find(key) is None, (key, name, kind)
                shutil.rmtree(copy)


@pytest.mark.parametrize("kind", ["middle byte", "empty"])
def test_a_report_of_nothing_but_damaged_objects_names_them_all(store, kind):
    for path in [p for p in (store / "objects").rglob("*") if p.is_file() and p.name != "manifest.json"]:
        damaged(path, kind)
    problems = " ".join(write_report(store, NEW).problems)
    for name in ("scores.json", "originals.npy", "curves.csv", "histograms.json", "summary.json"):
        assert f"{name} is damaged" in problems, name


@pytest.mark.parametrize("other", ["directory", "link to nothing"])
def test_other_things_in_place_of_files_are_named(store, other, capsys):
    for path in (store / "sweeps" / NEW / "plan.json", store / "sweeps" / OLD / "jobs" / "000.json"):
        path.unlink()
        if other == "directory":
            path.mkdir()
        else:
            path.symlink_to(store / "nowhere")
    (store / "sweeps" / "not an id").mkdir()
    (store / "sweeps" / "not an id" / "plan.json").write_text("{}")
    out = status(store, capsys)
    assert f"sweep {OLD}: 1 of 2 jobs finished" in out and newest_sweep(store) == OLD


@pytest.mark.slow
def test_the_verbs_name_the_file_and_go_on(store):
    """The same by the command line: no traceback, and the other sweep is taken."""
    path = store / "sweeps" / NEW / "plan.json"
    path.write_bytes(b"[]")
    for summary in (store / "objects" / "diffusion").rglob("summary.json"):
        damaged(summary, "cut")
    for command in ("do=status", "do=report", f"do=sample model={OLD}:0"):
        warn_once.cache_clear()
        done = inline(store.parent, *command.split())
        output = (done.stdout + done.stderr).replace("\n", "")
        assert "Traceback" not in output, output
        assert f"store/sweeps/{NEW}/plan.json is damaged" in output, output
        assert "expected this diffusion, whole" in output or "do=sample" not in command, output
    assert (store / "sweeps" / OLD / "report" / "report.html").exists()
    with pytest.raises(AblatentError):
        find(store, None)
