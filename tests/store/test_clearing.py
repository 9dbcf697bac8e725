"""do=gc deletes what nothing refers to, and nothing else, whatever happens meanwhile; do=du shows how much that is."""

import errno
import fcntl
import re
import shutil

import pytest
from small_store import MONTH, NEW, OLD, add_sweep, age, keys, put, two_sweeps

from ablatent.core.errors import ConfigError, DataError
from ablatent.store import clearing, locks
from ablatent.store.artifacts import Store
from ablatent.store.clearing import clear
from ablatent.store.identity import Key, SweepId
from ablatent.store.layout import lock_file, private_work_folder
from ablatent.store.locks import locked
from ablatent.store.pins import pin, pinned, unpin
from ablatent.store.unused import find_unused
from ablatent.store.usage import print_usage
from commands import inline

OF_OLD = {"diffusion-00", "scores-00", "features-f0"}


@pytest.fixture
def root(tmp_path):
    two_sweeps(tmp_path / "store")
    age(tmp_path / "store")
    return tmp_path / "store"


def gc(root, **keywords):
    """Delete what is unused; what went."""
    before = keys(root)
    look = lambda: find_unused(Store(root), **{"older_than": 7.0, **keywords})  # noqa: E731
    assert clear(root, look(), look) == 0
    return before - keys(root)


def test_without_anything_else_only_what_no_sweep_refers_to_goes(root):
    assert gc(root) == {"latents-99"}
    assert not (root / "trash").exists() and gc(root) == set()


def test_older_sweeps_go_with_what_they_alone_refer_to(root):
    assert gc(root, keep=1) == {"latents-99", *OF_OLD}
    assert [p.name for p in (root / "sweeps").iterdir()] == [NEW]
    assert Store(root).find(Key("first_stage-00")) is not None


def test_a_pinned_object_stays_with_all_that_it_reads(root):
    pin(Store(root), ["scores-00"])
    assert gc(root, keep=0) == {"latents-99", "diffusion-01", "scores-01", "features-f1"}
    unpin(Store(root), ["scores"])
    assert gc(root, keep=0) == {"data-d0", "first_stage-00", *OF_OLD}


def test_a_pinned_sweep_stays(root):
    pin(Store(root), [OLD, "latents-99"])
    assert pinned(root) == ({"latents-99"}, {OLD})
    assert gc(root, keep=1) == set() and len(list((root / "sweeps").iterdir())) == 2


@pytest.mark.parametrize("call, typed", [(pin, "diffusion-0"), (pin, "20260101"), (pin, "../x-00"), (unpin, NEW)])
def test_pins_of_nothing_or_of_several_are_refused_and_change_nothing(root, call, typed):
    with pytest.raises(ConfigError, match=rf"^{call.__name__}: expected a sweep"):
        call(Store(root), ["latents-99", typed] if call is pin else [typed])
    assert pinned(root) == (set(), set())


def test_imported_weights_stay_with_what_they_read(root):
    put(root, "first_stage-77", source={"format": "compvis"})
    put(root, "imported-77", "first_stage-77", source={"format": "compvis"})
    put(root, "first_stage-88", source={"format": "store"})
    age(root)
    assert gc(root) == {"latents-99", "first_stage-88"}


def test_a_model_that_guided_samples_stays_with_them(root):
    """It is no input of theirs: its key stands among the options of their guidance."""
    weak = put(root, f"diffusion-{'7' * 32}", "first_stage-00")
    put(root, "samples-99", config={"guidance": {"model": weak, "digest": "7" * 32}})
    age(root)
    pin(Store(root), ["samples-99"])
    assert weak not in gc(root)
    unpin(Store(root), ["samples-99"])
    assert weak in gc(root)


def test_what_is_young_stays_with_what_it_reads(root):
    put(root, "samples-55", "latents-99")
    assert gc(root) == set()
    assert gc(root, older_than=0.0) == {"latents-99", "samples-55"}


def test_a_young_sweep_counts_whatever_is_kept(root):
    age(root / "sweeps" / OLD, MONTH / 30)
    assert gc(root, keep=1) == {"latents-99"}
    assert gc(root, keep=1, older_than=0.5) == OF_OLD


def test_a_sweep_that_is_in_work_counts_and_so_does_a_locked_key(root):
    for key in ("scores-00", "latents-99"):
        (root / "work" / key).mkdir(parents=True)
    age(root)
    with locked(lock_file(root, Key("scores-00")), "x"), locked(lock_file(root, Key("latents-99")), "x"):
        assert gc(root, keep=1) == set()
    assert gc(root, keep=1) == {"latents-99", *OF_OLD} and not list((root / "work").iterdir())


def test_a_lock_that_is_taken_after_the_look_is_not_waited_for(root, capsys):
    unused = find_unused(Store(root))
    with locked(lock_file(root, Key("latents-99")), "x"):
        assert clear(root, unused, lambda: unused) == 1
    assert "latents-99" in keys(root) and "1 folder left" in capsys.readouterr().out


def test_what_a_sweep_that_begins_meanwhile_refers_to_stays(root):
    put(root, "latents-88")
    age(root)
    unused = find_unused(Store(root))
    assert unused.objects == ["latents-88", "latents-99"]

    def look():
        return find_unused(Store(root))

    add_sweep(root, SweepId("20260103-000000-cccc"), {"latents-99": []})
    begun = iter([0])  # as it was before the sweep
    real, clearing._sweeps_changed = clearing._sweeps_changed, lambda root: next(begun, 1)
    try:
        assert clear(root, unused, look) == 0
    finally:
        clearing._sweeps_changed = real
    assert "latents-99" in keys(root) and "latents-88" not in keys(root)


def test_a_crash_leaves_whole_objects_or_none_and_the_next_one_ends_it(root, monkeypatch):
    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        gc(root)
    monkeypatch.undo()
    assert "latents-99" not in keys(root) and len(list((root / "trash").iterdir())) == 1
    assert gc(root) == set() and not (root / "trash").exists()


def test_leftovers_go_unless_something_goes_on_from_them(root):
    for name in (
        "work/scores-00",
        "work/latents-77",
        "work/diffusion-05",
        "incoming/a-00",
        "sweeps/20250101",
        "cache/x",
    ):
        (root / name).mkdir(parents=True)
    add_sweep(root, SweepId("20260103-000000-cccc"), {"diffusion-05": []})
    (root / "work/latents-77/last.ckpt").touch()
    (root / "work/diffusion-05/last.ckpt").touch()
    age(root)
    Store(root).set_aside(Key("latents-99"), "unwanted", lambda there: True)
    assert gc(root) == set()
    assert [p.name for p in (root / "work").iterdir()] == ["diffusion-05"]
    assert not list((root / "incoming").iterdir()) and not list((root / "cache").iterdir())
    assert len(list((root / "sweeps").iterdir())) == 3
    assert len(list((root / "damaged").iterdir())) == 1, "set aside just now"
    gc(root, older_than=0.0)
    assert not list((root / "damaged").iterdir())


def test_copies_of_code_go_when_nobody_builds(root):
    (root / "code/0a/src").mkdir(parents=True)
    (root / "code/0b/src").mkdir(parents=True)
    age(root)
    (root / "code/0b").touch()
    (root / "work/scores-00").mkdir(parents=True)
    with locked(lock_file(root, Key("scores-00")), "by this process, whose threads exclude each other"):
        gc(root)
    assert {p.name for p in (root / "code").iterdir()} == {"0a", "0b"}
    gc(root)
    assert {p.name for p in (root / "code").iterdir()} == {"0b"}


def test_nothing_is_deleted_while_a_plan_cannot_be_read(root):
    (root / "sweeps" / OLD / "plan.json").write_text("{")
    with pytest.raises(DataError, match=rf"{OLD}: expected a plan.json that can be read"):
        gc(root)
    assert "latents-99" in keys(root)


def test_a_full_disk_can_be_cleared(small_disk):
    put(small_disk / "store", "latents-99", size=400_000)
    with pytest.raises(OSError, match="No space"), (small_disk / "ballast").open("wb", buffering=0) as f:
        while f.write(bytes(4096)):
            pass
    assert shutil.disk_usage(small_disk).free < 4096
    assert gc(small_disk / "store", older_than=0.0) == {"latents-99"}
    assert shutil.disk_usage(small_disk).free >= 400_000


def test_what_may_not_be_deleted_is_named_and_the_rest_goes(root, capsys, monkeypatch):
    put(root, "latents-88")
    age(root)
    rename = type(root).rename

    def refused(path, target):
        if path.name == "latents-88":
            raise PermissionError(13, "Permission denied", str(path))
        return rename(path, target)

    monkeypatch.setattr(type(root), "rename", refused)
    unused = find_unused(Store(root))
    assert clear(root, unused, lambda: unused) == 1
    assert "latents-88" in keys(root) and "latents-99" not in keys(root)
    assert "not deleted" in capsys.readouterr().out


def test_without_locks_the_folders_of_builds_tell_what_is_in_work(root, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    locks._probed.cache_clear()  # the store was made where they work
    mine = private_work_folder(root, Key("latents-99"), "elsewhere-1-aaaa")
    mine.mkdir(parents=True)
    assert gc(root, older_than=0.0) == set() and mine.exists()
    age(mine)
    assert gc(root, older_than=0.0) == {"latents-99"} and not mine.exists()


def test_the_command_shows_first_and_names_the_command_that_deletes(root):
    done = inline(root.parent, "do=gc", "keep=1")
    assert done.returncode == 0 and keys(root) >= OF_OLD, done.stdout + done.stderr
    assert all(key in done.stdout for key in ("diffusion-00", "latents-99", f"{OLD}")), done.stdout
    (command,) = re.findall(r"^next: python \S*run.py (.*)$", done.stdout, re.M)
    done = inline(root.parent, *command.split())
    assert done.returncode == 0 and not keys(root) & OF_OLD and "bytes are free again" in done.stdout


def test_the_command_pins(root):
    done = inline(root.parent, "do=gc", f"pin=[latents-99,{OLD}]", "keep=0", "older_than=0", "delete=true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert keys(root) == {"latents-99", "data-d0", "first_stage-00", *OF_OLD}
    assert inline(root.parent, "do=gc", "unpin=latents-99", "delete=true").returncode == 0
    assert "latents-99" not in keys(root)


def test_the_command_shows_a_store_that_can_only_be_read(read_only, root):
    done = inline(root.parent, "do=gc", f"store.path={read_only(root)}")
    assert done.returncode == 0 and "latents-99" in done.stdout, done.stdout + done.stderr
    for words in ("delete=true", "pin=latents-99"):
        done = inline(root.parent, "do=gc", words, f"store.path={root.parent / 'read_only'}")
        assert (
            done.returncode == 2 and "error store.path: expected a folder that can be made and written" in done.stdout
        )


@pytest.mark.slow
def test_all_that_a_sweep_has_built_is_referred_to_by_it_alone(own_sweep):
    store = Store(own_sweep[0] / "store")
    assert find_unused(store).objects == []
    assert set(find_unused(store, keep=0).objects) == keys(store.root)


def rows(out, title):
    """First cell → the other cells, of the rows of a table."""
    lines = out[out.index(title) :].split("└")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    return {first: rest for first, *rest in cells}


def test_usage_tells_own_from_shared_and_what_gc_would_free(root, capsys):
    def size(*names):
        return sum(f.stat().st_size for n in names for f in root.glob(f"objects/*/{n}/**/*") if f.is_file())

    print_usage(Store(root))
    out = capsys.readouterr().out
    kinds, sweeps = rows(out, f"store {root}"), rows(out, "bytes by sweep")
    assert kinds["latents"] == ["1", f"{size('latents-99'):,}", f"{size('latents-99'):,}"]
    assert kinds["diffusion"] == ["2", f"{size('diffusion-*'):,}", "0"]
    assert sweeps[OLD][:3] == ["5", f"{size(*OF_OLD):,}", f"{size('first_stage-00', 'data-d0'):,}"]
    assert f"{size('latents-99'):,} bytes of objects are unreferenced" in out
    assert inline(root.parent, "do=du").returncode == 0
