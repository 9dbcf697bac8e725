"""Disks that are full, stores that can only be read, places where no store can be."""

import shutil

import numpy as np
import pytest
import torch
from report_store import build
from safetensors.torch import save_file

from ablatent.core import blocks
from ablatent.core.arrays import new_array
from ablatent.core.disk import DiskFull, full_disk_named
from ablatent.core.errors import ConfigError
from ablatent.core.files import write_atomic
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from commands import SMALL, found, inline, run

KEY = Key("toy-0123")
FOUR = 4 * 2**20  # bytes, on a disk of one MiB
WRITERS = {
    "bytes": lambda path: path.write_bytes(bytes(FOUR)),
    "atomic": lambda path: write_atomic(path, bytes(FOUR)),
    "array": lambda path: np.save(path, np.zeros(FOUR, np.uint8)),
    "mapped array": lambda path: new_array(path, np.uint8, (FOUR,)).fill(1),
    "safetensors": lambda path: save_file({"a": torch.zeros(FOUR, dtype=torch.uint8)}, str(path)),
    "torch": lambda path: torch.save(torch.zeros(FOUR, dtype=torch.uint8), path.open("wb")),
}


def output_of(done):
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text
    return text.replace("\n", " ")


def parts(folder):
    return [path for path in folder.rglob("*") if path.name.endswith(".part")]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_build_on_a_full_disk_says_so_and_leaves_room(small_disk, writer):
    store = Store(small_disk / "store")
    store.get_or_build(Key("toy-00"), lambda work: (work.files / "small").write_text("x"))
    with pytest.raises(DiskFull, match=r"MiB are left\). What was published before is whole.* Make room there"):
        store.get_or_build(KEY, lambda work: WRITERS[writer](work.files / "large.npy"))
    assert shutil.disk_usage(small_disk).free > 2**19, "half files take no space"
    assert [p.name for p in store.work_folder(KEY).iterdir()] == ["error.json"]
    assert store.get_or_build(KEY, lambda work: (work.files / "small").write_text("x"))[1]
    assert Store(small_disk / "store").find(Key("toy-00")) is not None


def fill(disk, left=0):
    """Leave so many bytes of a disk."""
    (disk / "ballast").write_bytes(bytes(max(0, shutil.disk_usage(disk).free - left)))


def test_a_long_computation_goes_on_after_space_is_made(small_disk, monkeypatch):
    monkeypatch.setattr(blocks, "SECONDS", 0.0)
    monkeypatch.setattr(blocks, "SHARE", 0.0)
    store, computed = Store(small_disk / "store"), []

    def build(work):
        kept = work.blocks("squares", "squares")
        for i in range(kept.done, 8):
            computed.append(i)
            if computed == [0, 1, 2, 3]:
                fill(small_disk)
            kept.add(1, values=np.full((1, 5_000), i * i))
        kept.save("values", work.files / "values.npy")

    with pytest.raises(DiskFull, match="Make room there, and give the same command again"):
        store.get_or_build(KEY, build)
    assert not store.folder(KEY).exists() and not parts(small_disk)
    (small_disk / "ballast").unlink()
    artifact, built = store.get_or_build(KEY, build)
    assert built and computed == [0, 1, 2, 3, 3, 4, 5, 6, 7], "what was finished is kept"
    assert np.load(artifact.path / "values.npy")[:, 0].tolist() == [i * i for i in range(8)]


def test_an_object_without_room_for_its_manifest_is_not_there_and_is_built_later(small_disk):
    store = Store(small_disk / "store")

    def build(work, left):
        (work.files / "value").write_text("x")
        fill(small_disk, left)

    with pytest.raises(DiskFull):
        store.get_or_build(KEY, lambda work: build(work, 0))
    assert not store.folder(KEY).exists() and not parts(small_disk)
    (small_disk / "ballast").unlink()
    assert store.get_or_build(KEY, lambda work: build(work, 2**16))[1]


@pytest.mark.slow
@pytest.mark.parametrize("small_disk", ["96m"], indirect=True)
def test_a_sweep_that_filled_its_disk_goes_on_after_space_is_made(small_disk):
    fill(small_disk, 2**21)
    done = run(small_disk, *SMALL)
    assert done.returncode not in (0, -7) and "the disk is full" in (text := output_of(done)), text
    (small_disk / "ballast").unlink()
    done = run(small_disk, *SMALL)
    assert done.returncode == 0, output_of(done)
    assert found(done.stdout), "what was built before the disk was full"


def test_errors_that_come_from_each_other_are_left_as_they_are(tmp_path):
    first, second = ValueError("one"), ValueError("two")
    first.__context__, second.__cause__ = second, first
    with pytest.raises(ValueError, match="one"), full_disk_named(tmp_path):
        raise first


def test_a_sweep_on_a_full_disk_ends_with_one_sentence(small_disk):
    """Its prepared images alone are larger; writing them through a map would kill the process."""
    done = inline(small_disk, *SMALL)
    assert done.returncode not in (0, -7)
    assert "the disk is full" in (text := output_of(done)) and "Make room there" in text, text
    assert "report.html" in text and not parts(small_disk), "there was room for the report"


def test_a_report_on_a_full_disk_prints_its_tables_and_says_so(small_disk, tmp_path):
    build(tmp_path / "store", {"first_stage": ["kl", "vq"]})
    (tmp_path / "store" / "FORMAT").write_text("2\n")
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - 8192))
    done = inline(tmp_path, "do=report", f"out={small_disk}/report")
    text = output_of(done)
    assert done.returncode != 0 and "the disk is full" in text and "out=FOLDER to another disk" in text, text
    assert "FID(quick)" in text and not parts(small_disk)


@pytest.mark.slow
def test_a_report_goes_elsewhere_and_overwrites_nothing(tmp_path):
    build(tmp_path / "store", {})
    (tmp_path / "store" / "FORMAT").write_text("2\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    assert "out: expected a folder" in output_of(inline(tmp_path, "do=report", "out=mine"))
    for _ in range(2):  # an earlier report is replaced
        assert "elsewhere/report.html" in output_of(inline(tmp_path, "do=report", "out=elsewhere"))
    assert not list((tmp_path / "store" / "sweeps").glob("*/report")) and len(list((tmp_path / "mine").iterdir())) == 1


@pytest.mark.slow
def test_a_store_that_can_only_be_read_is_shown_and_reported(read_only, tmp_path):
    build(tmp_path / "store", {"first_stage": ["kl", "vq"]})
    (tmp_path / "store" / "FORMAT").write_text("2\n")
    store = read_only(tmp_path / "store")
    for command in ("do=status", "do=verify", "do=report out=elsewhere"):
        done = inline(tmp_path, *command.split(), f"store.path={store}")
        assert done.returncode == 0, output_of(done)
    assert (tmp_path / "elsewhere" / "report.html").exists() and (tmp_path / "elsewhere" / "figures").exists()
    text = output_of(inline(tmp_path, "do=report", f"store.path={store}"))
    assert "out: expected a folder for the report that can be written" in text and "out=FOLDER" in text
    for scores in (tmp_path / "store" / "objects").rglob("scores.json"):
        scores.write_text("")
    text = output_of(inline(tmp_path, "do=verify", f"store.path={store}"))
    assert "stays where it is: the store can only be read" in text
    with pytest.raises(ConfigError, match=r"^store.path: expected a folder that can be made and written"):
        Store(store).get_or_build(KEY, lambda work: None)


@pytest.mark.slow
def test_a_store_that_can_only_be_read_serves_found_sweeps_and_samples(read_only, own_sweep, tmp_path):
    folder, _ = own_sweep
    store = f"store.path={read_only(folder / 'store')}"
    plan = min((folder / "store" / "sweeps").glob("*/plan.json"))  # that of the small sweep
    for command in (
        ["-m", "first_stage=kl,vq", *SMALL, "do=plan"],
        ["-m", "first_stage=kl,vq", *SMALL, "out=elsewhere"],
        ["-m", "first_stage=kl,vq", *SMALL, "tracking=wandb"],
        ["do=sample", f"model={plan.parent.name}:0", "n=2", "out=images", "runtime=cpu"],
    ):
        done = run(tmp_path, *command, store)
        assert done.returncode == 0, output_of(done)
    assert len(found(run(tmp_path, "-m", "first_stage=kl,vq", *SMALL, store).stdout)) == 14
    assert (tmp_path / "elsewhere" / "report.html").exists() and len(list((tmp_path / "images").iterdir())) == 3
    assert len(list((tmp_path / "reports").glob("*/report.html"))) == 2
    done = run(tmp_path, "sampler.steps=3", *SMALL, store)
    assert done.returncode == 2 and "store.path: expected a folder that can be made and written" in output_of(done)


@pytest.mark.slow
def test_samples_on_a_full_disk(small_disk, own_sweep):
    folder, _ = own_sweep
    plan = min((folder / "store" / "sweeps").glob("*/plan.json"))  # that of the small sweep
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - 40_000))
    done = run(folder, "do=sample", f"model={plan.parent.name}:0", "n=40", f"out={small_disk}/images", "runtime=cpu")
    text = output_of(done)
    assert done.returncode != 0 and "the disk is full" in text and "The images that were written are whole" in text
    assert not parts(small_disk)


@pytest.mark.parametrize("command", ["do=status", "do=report", "do=sample model=x", "preset=tiny data=digits do=plan"])
@pytest.mark.parametrize("place", ["link", "link/below", "file", "file/below", "loop"])
def test_where_no_store_can_be_is_one_sentence(tmp_path, place, command):
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    done = inline(tmp_path, *command.split(), f"store.path={place}")
    text = output_of(done)
    assert done.returncode == 2 and "store.path: expected a folder" in text, text
    assert ("is a file" if place.startswith("file") else "which is not there") in text


@pytest.mark.slow
def test_what_only_reads_makes_no_store(tmp_path):
    for command in (
        "do=status",
        "do=verify",
        "do=gc delete=true",
        "do=du",
        "do=push to=other",
        "do=pull from=other",
        "do=report",
        "do=sample model=x",
        "do=export path=out format=compvis key=diffusion-00",
    ):
        output_of(inline(tmp_path, *command.split()))
    assert not list(tmp_path.iterdir())
