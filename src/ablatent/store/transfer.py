"""Copying sweeps and objects between stores: each object is whole in the other store, or not there."""

import hashlib
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import IOBase

from ablatent.core.disk import full_disk_named
from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.escape import for_console
from ablatent.core.files import replacing, write_atomic
from ablatent.core.progress import Bar, console, counted, track
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key, SweepId
from ablatent.store.layout import incoming_folder, incoming_lock
from ablatent.store.locks import locked
from ablatent.store.places import (
    FolderPlace,
    StorePlace,
    UrlPlace,
    folder_store,
    mark_format,
    object_path,
    record_path,
    safe_names,
)
from ablatent.store.records import Manifest
from ablatent.store.references import CACHES, Reader
from ablatent.store.verify import MANIFEST, Damaged, verify

BLOCK, MIB = 2**22, 2**20
Count = Callable[[int], None]
"""Takes numbers of bytes that have been copied."""


@dataclass(frozen=True)
class Selection:
    """What is copied. sweep: its record too, where there is one; objects: key → manifest; lacking: how many stages of
    the sweep are not built."""

    sweep: SweepId | None
    objects: dict[Key, Manifest]
    lacking: int


def selected(source: StorePlace, sweep: str | None, keys: Iterable[str], caches: bool) -> Selection:
    """A sweep, or objects by key, with all that they read. sweep, keys: as typed; neither: the newest sweep.

    caches: with prepared images and features. Raises ConfigError for what the source does not have.
    """
    reader = Reader(source.manifest)
    named = [_key_named(source, text) for text in keys]
    chosen = _sweep_named(source, sweep) if sweep is not None or not named else None
    wanted = reader.reached(named)
    if chosen is not None:
        wanted |= reader.of_plan(source.plan(chosen))
    wanted = {key for key in wanted if caches or key in named or key.kind not in CACHES}
    found = {key: about for key in sorted(wanted) if (about := source.manifest(key)) is not None}
    lacking = sum(key.kind not in CACHES for key in wanted - found.keys())
    return Selection(chosen, found, lacking)


def _key_named(source: StorePlace, text: str) -> Key:
    key = Key.typed(text, "keys")
    known = [name for name in source.names(f"objects/{key.kind}") if name.startswith(key)]
    if len(known) != 1 and key not in known:
        near = did_you_mean(key, source.names(f"objects/{key.kind}")) or f"It is not in {source.name}."
        raise ConfigError("keys", "the key of one object", text, near)
    return key if key in known else Key(known[0])


def _sweep_named(source: StorePlace, text: str | None) -> SweepId:
    known = source.sweeps()
    if text is None and known:
        return known[0]
    if text not in known:
        near = did_you_mean(str(text), known) or (f"The newest is '{known[0]}'." if known else "It holds no sweep.")
        raise ConfigError("sweep", f"a sweep of {source.name}", text, near)
    return SweepId(text)


def copy(
    source: StorePlace, target: FolderPlace | UrlPlace, title: str, selection: Selection, config_key: str = "store.path"
) -> int:
    """Copy a selection; how many objects did not arrive whole, each of which is named. What is there is left as it is.

    title: of the bar. Raises DiskFull, and ConfigError, which names `config_key`, for a folder that cannot be written.
    """
    put: Callable[[Key, Manifest, Count], None]
    if isinstance(target, UrlPlace):
        mark_format(target)
        put = partial(_send, source, target)
    else:
        put = partial(_receive, source, folder_store(target.root, config_key))
    missing = {key: about for key, about in selection.objects.items() if target.manifest(key) is None}
    failed = 0
    total = sum(entry.size for about in missing.values() for entry in about.files.values())
    with track(title, -(-total // MIB), "MiB") as bar:
        count = _counter(bar)
        for key, about in missing.items():
            try:
                put(key, about, count)
            except Damaged as error:
                failed += 1
                console.print(f"  [red]did not arrive whole[/] {for_console(error)}")
    if selection.sweep is not None:
        _copy_record(source, target, selection.sweep)
    there = len(selection.objects) - len(missing)
    about_sweep = f"sweep {selection.sweep}: " if selection.sweep else ""
    lacking = f", {counted(selection.lacking, 'stage')} not built" if selection.lacking else ""
    copied = counted(len(missing) - failed, "object")
    console.print(f"  {about_sweep}{copied} copied ({total:,} bytes), {there} there already{lacking}")
    return failed


def _counter(bar: Bar) -> Count:
    """Advances a bar of MiB by bytes."""
    done = 0

    def count(size: int) -> None:
        nonlocal done
        before, done = done, done + size
        bar.advance(done // MIB - before // MIB)

    return count


def _receive(source: StorePlace, store: Store, key: Key, about: Manifest, count: Count) -> None:
    """Copy an object into a folder beside the objects, check it, and publish it by one rename.

    Files that an earlier copy has finished are not copied again. Raises Damaged for one that is not whole.
    """
    folder = incoming_folder(store.root, key)
    with full_disk_named(folder), locked(incoming_lock(store.root, key), key):
        for name, entry in about.files.items():
            file = folder / name
            if file.exists() and file.stat().st_size == entry.size:
                count(entry.size)
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            with (
                replacing(file, file.with_name(f".{file.name}.part")) as part,
                _opened(source, key, name) as read,
                part.open("wb") as written,
            ):
                _copy_bytes(read, written, count)
        folder.mkdir(parents=True, exist_ok=True)  # of an object without files
        write_atomic(folder / MANIFEST, source.read(object_path(key)))
        try:
            verify(folder, key, everything=True)
        except Damaged:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if store.folder(key).exists() and store.find(key) is None:
            store.set_aside(key, f"[yellow]damaged[/] {key}.")
        if not store.put(key, folder):
            shutil.rmtree(folder, ignore_errors=True)


def _send(source: StorePlace, target: UrlPlace, key: Key, about: Manifest, count: Count) -> None:
    """Copy an object to a URL, its manifest last, and read each file again. Raises Damaged where other bytes arrive."""
    for name, entry in about.files.items():
        path = object_path(key, name)
        if target.size(path) == entry.size and _sha256(target, path) == entry.sha256:
            count(entry.size)
            continue
        with _opened(source, key, name) as read, target.create(path) as written:
            _copy_bytes(read, written, count)
        if _sha256(target, path) != entry.sha256:
            raise Damaged(f"{key}: the bytes of {name} are not those that were published (sha256 differs).")
    target.write(object_path(key), source.read(object_path(key)))


def _opened(source: StorePlace, key: Key, name: str) -> IOBase:
    try:
        return source.open(object_path(key, name))
    except FileNotFoundError:
        raise Damaged(f"{key}: {name} is missing.") from None


def _copy_bytes(read: IOBase, written: IOBase, count: Count) -> None:
    while block := read.read(BLOCK):
        written.write(block)
        count(len(block))


def _sha256(place: StorePlace, path: str) -> str:
    digest = hashlib.sha256()
    with place.open(path) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _copy_record(source: StorePlace, target: StorePlace, sweep: SweepId) -> None:
    """Copy what has changed of the plan, the jobs and the report of a sweep, the plan last."""
    for name in safe_names(source.files(record_path(sweep))):
        path = record_path(sweep, name)
        data = source.read(path)
        with suppress(FileNotFoundError):
            if target.read(path) == data:
                continue
        target.write(path, data)
