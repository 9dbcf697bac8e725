"""do=push and do=pull: what arrives is whole, what is there is left, and an ended copy goes on."""

import importlib
import shutil
import sys
import uuid

import pytest
from small_store import NEW, OLD, keys, put, two_sweeps

from ablatent.core.disk import DiskFull
from ablatent.core.errors import ConfigError
from ablatent.store import transfer
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.store.places import FolderPlace, check_same_format, place_of
from ablatent.store.transfer import copy, selected
from ablatent.store.verify import verify
from commands import SMALL, found, inline, run

OF_NEW = {"data-d0", "first_stage-00", "diffusion-01", "scores-01", "features-f1"}
PLACES = ["folder", "file://{folder}/a b", "memory://{id}/store"]


@pytest.fixture
def root(tmp_path):
    two_sweeps(tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture(params=PLACES)
def other(request, tmp_path):
    """A place that is not there yet, as it is typed."""
    return request.param.format(folder=tmp_path, id=uuid.uuid4().hex)


def command(folder, *overrides, code=0):
    done = inline(folder, *overrides)
    text = done.stdout + done.stderr
    assert done.returncode == code and "Traceback" not in text, text
    return text.replace("\n", " ")


def whole(root):
    """The keys of all objects, each of which is whole."""
    for key in keys(root):
        verify(Store(root).folder(Key(key)), Key(key), everything=True)
    return keys(root)


def test_the_newest_sweep_goes_to_another_place_and_comes_back(root, other, tmp_path):
    text = command(tmp_path, "do=push", f"to={other}")
    assert f"sweep {NEW}: 5 objects copied" in text and "0 there already" in text
    (tmp_path / "elsewhere").mkdir()
    place = other if "://" in other else str(tmp_path / other)
    text = command(tmp_path / "elsewhere", "do=pull", f"from={place}")
    assert "5 objects copied" in text
    copied = tmp_path / "elsewhere" / "store"
    assert whole(copied) == OF_NEW and not list((copied / "incoming").iterdir())
    files = lambda top: {p.relative_to(top): p.read_bytes() for p in top.rglob("*") if p.is_file()}  # noqa: E731
    assert files(copied / "sweeps" / NEW) == files(root / "sweeps" / NEW)
    assert files(copied / "objects/scores/scores-01") == files(root / "objects/scores/scores-01")
    text = command(tmp_path / "elsewhere", "do=pull", f"from={place}")
    assert "0 objects copied (0 bytes), 5 there already" in text


def test_a_sweep_or_objects_that_are_named(root, tmp_path):
    command(tmp_path, "do=push", "to=a", f"sweep={OLD}", "caches=false")
    assert whole(tmp_path / "a") == {"first_stage-00", "diffusion-00", "scores-00"}
    assert [p.name for p in (tmp_path / "a" / "sweeps").iterdir()] == [OLD]
    command(tmp_path, "do=push", "to=b", "keys=[diffusion-01,latents]", code=2)
    command(tmp_path, "do=push", "to=b", "keys=[diffusion-01,latents-9]")
    assert whole(tmp_path / "b") == {"data-d0", "first_stage-00", "diffusion-01", "latents-99"}
    assert not (tmp_path / "b" / "sweeps").exists()


def test_stages_that_are_not_built_are_counted(root, tmp_path):
    shutil.rmtree(Store(root).folder(Key("scores-01")))
    assert "3 objects copied" in (text := command(tmp_path, "do=push", "to=a")) and "1 stage not built" in text


@pytest.mark.parametrize("place", ["folder", "memory://{id}"])
def test_a_copy_that_ended_goes_on(root, tmp_path, monkeypatch, place):
    place = place.format(id=uuid.uuid4().hex)
    opened, seen = transfer._opened, []

    def stopping(source, key, name):
        seen.append((key, name))
        if len(seen) == 5:
            raise KeyboardInterrupt
        return opened(source, key, name)

    monkeypatch.setattr(transfer, "_opened", stopping)
    target = FolderPlace(tmp_path / place) if "://" not in place else place_of(place, "to")
    source = FolderPlace(root)
    with pytest.raises(KeyboardInterrupt):
        copy(source, target, "push", selected(source, None, [], True))
    assert copy(source, target, "push", selected(source, None, [], True)) == 0
    again = [file for file in set(seen) if seen.count(file) > 1]
    assert again == [seen[4]], "no file that had arrived is copied again"
    assert {str(k) for k in OF_NEW if target.manifest(Key(k)) is not None} == OF_NEW


@pytest.mark.parametrize("place", ["folder", "memory://{id}"])
def test_what_is_damaged_on_its_way_does_not_arrive(root, tmp_path, place, capsys):
    place = place.format(id=uuid.uuid4().hex)
    (root / "objects/diffusion/diffusion-01/a.bin").write_bytes(bytes(2000))
    target = FolderPlace(tmp_path / place) if "://" not in place else place_of(place, "to")
    source = FolderPlace(root)
    assert copy(source, target, "push", selected(source, None, [], True)) == 1
    assert "did not arrive whole diffusion-01" in capsys.readouterr().out.replace("\n", " ")
    assert target.manifest(Key("diffusion-01")) is None and target.manifest(Key("scores-01")) is not None


def test_bytes_that_change_on_their_way_are_found(root, tmp_path, monkeypatch):
    def flipped(read, written, count):
        data = bytearray(read.read())
        data[0] ^= 1
        written.write(data)

    monkeypatch.setattr(transfer, "_copy_bytes", flipped)
    source, target = FolderPlace(root), FolderPlace(tmp_path / "folder")
    assert copy(source, target, "push", selected(source, None, ["latents-99"], True)) == 1
    assert not keys(tmp_path / "folder") and not list((tmp_path / "folder" / "incoming").iterdir())


def test_an_object_that_arrives_while_it_is_built_is_kept_and_the_build_ends_well(root, tmp_path):
    source, target = FolderPlace(root), FolderPlace(tmp_path / "folder")

    def build(work):
        assert copy(source, target, "push", selected(source, None, ["latents-99"], True)) == 0
        (work.files / "a").write_text("x")

    artifact, built = Store(tmp_path / "folder").get_or_build(Key("latents-99"), build)
    assert not built and (artifact.path / "a.bin").exists()


def test_a_damaged_object_of_the_other_store_is_mended(root, tmp_path):
    command(tmp_path, "do=push", "to=a")
    (tmp_path / "a/objects/diffusion/diffusion-01/manifest.json").write_text("{")
    assert "1 object copied" in command(tmp_path, "do=push", "to=a")
    assert whole(tmp_path / "a") == OF_NEW and len(list((tmp_path / "a" / "damaged").iterdir())) == 1


def test_a_changed_record_is_copied_again(root, tmp_path):
    command(tmp_path, "do=push", "to=a")
    (root / "sweeps" / NEW / "report" / "report.html").write_text("<p>new")
    command(tmp_path, "do=push", "to=a")
    assert (tmp_path / "a" / "sweeps" / NEW / "report" / "report.html").read_text() == "<p>new"


def test_nothing_is_written_outside_of_a_store(root, tmp_path):
    class Hostile(FolderPlace):
        def files(self, folder):
            return [*super().files(folder), "../../../evil", "/evil"]

        def open(self, path):
            return super().open(path if "evil" not in path else "FORMAT")

    source = Hostile(root)
    copy(source, FolderPlace(tmp_path / "a"), "pull", selected(source, None, [], True))
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("format_", ["1", "99"])
@pytest.mark.parametrize("key, may_be_new", [("to", True), ("from", False)])
def test_a_store_of_another_format_is_refused(tmp_path, other, format_, key, may_be_new):
    place = place_of(other if "://" in other else str(tmp_path / other), key)
    if may_be_new:
        check_same_format(place, key, may_be_new)
    else:
        with pytest.raises(ConfigError, match=rf"^{key}: expected a store; got"):
            check_same_format(place, key, may_be_new)
    place.write("FORMAT", f"{format_}\n".encode())
    with pytest.raises(ConfigError, match=rf"^{key}: expected a store of format 2; got 'one of format {format_}"):
        check_same_format(place, key, may_be_new)


def test_a_store_from_before_formats_had_numbers_is_refused(root, tmp_path):
    (tmp_path / "bare" / "objects").mkdir(parents=True)
    for verb, key in (("push", "to"), ("pull", "from")):
        text = command(tmp_path, f"do={verb}", f"{key}=bare", code=2)
        assert f"error {key}: expected a store of format 2; got 'one of format 1" in text


WRONG = {
    "nowhere": ("do=push", "error to: expected another store: its folder, or a URL; got None"),
    "itself": ("do=push to=store", "error to: expected another store than this one"),
    "a file": ("do=push to=notes.txt", "error to: expected a folder"),
    "no store": ("do=pull from=empty", "error from: expected a store; got 'empty'"),
    "no such sweep": (f"do=push to=a sweep={NEW}x", f"error sweep: expected a sweep of store; got '{NEW}x'. Did you"),
    "no such object": ("do=push to=a keys=diffusion-05", "error keys: expected the key of one object"),
    "no such URL": ("do=push to=nosuch://a/b", "error to: expected a folder, or a URL of a file system"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_sentence_and_makes_no_store(root, tmp_path, case):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    words, expected = WRONG[case]
    assert expected in command(tmp_path, *words.split(), code=2)
    assert {p.name for p in tmp_path.iterdir()} == {"store", "notes.txt", "empty"}


def test_s3_without_its_package_names_it(root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    text = command(tmp_path, "do=push", "to=s3://bucket/store", code=2)
    assert "error to: expected a folder, or a URL of a file system that is installed" in text and "s3fs" in text


def test_urls_without_fsspec_name_it(root, tmp_path, monkeypatch):
    importlib.import_module("fsspec")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    assert "pip install fsspec" in command(tmp_path, "do=pull", "from=memory://x", code=2)
    command(tmp_path, "do=push", "to=plain")


def test_a_file_system_that_fails_is_one_sentence(root, tmp_path, monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    def refused(*_, **__):
        raise RuntimeError("credentials have expired")

    monkeypatch.setattr(MemoryFileSystem, "_open", refused)
    text = command(tmp_path, "do=push", "to=memory://x/y", code=2)
    assert "memory://x/y: RuntimeError: credentials have expired. Give the same command again" in text


@pytest.mark.slow
def test_a_sweep_that_was_pulled_is_found_whole(own_sweep, tmp_path):
    folder, _ = own_sweep
    command(tmp_path, "do=pull", f"from={folder}/store")
    done = run(tmp_path, "-m", "first_stage=kl,vq", *SMALL)
    assert done.returncode == 0 and len(found(done.stdout)) == 14, done.stdout + done.stderr


def test_a_full_disk_ends_a_copy_which_then_goes_on(root, small_disk):
    put(root, "latents-88", size=900_000)
    put(root, "latents-77", size=900_000)
    source, target = FolderPlace(root), FolderPlace(small_disk / "store")
    with pytest.raises(DiskFull, match="Make room there"):
        copy(source, target, "push", selected(source, None, ["latents-77", "latents-88"], True))
    assert keys(target.root) == {"latents-77"}
    shutil.rmtree(target.root / "objects")
    assert copy(source, target, "push", selected(source, None, ["latents-88"], True)) == 0
