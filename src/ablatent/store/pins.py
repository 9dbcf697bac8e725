"""Pins: objects and sweeps that do=gc keeps whatever refers to them. An empty file in pins/ each."""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key, SweepId
from ablatent.store.layout import object_keys, pins_folder, sweep_ids


def key_named(root: Path, text: object, config_key: str) -> Key:
    """The key of the object that was typed, whole or as its beginning where that is unique.

    Raises ConfigError, which names `config_key`, for text that is the key of no object of the store, or of several.
    """
    kind = str(text).rpartition("-")[0]
    known = object_keys(root, kind) if re.fullmatch(r"\w+(-\w+)*", kind) else []
    fitting = [key for key in known if key == text] or [key for key in known if key.startswith(str(text))]
    if len(fitting) != 1:
        near = did_you_mean(str(text), known) or "do=status shows what the store holds."
        raise ConfigError(config_key, f"the key of one {kind or 'object'} in {root}", text, near)
    return fitting[0]


def pinned(root: Path) -> tuple[set[Key], set[SweepId]]:
    """The objects and the sweeps that are pinned; a name that is of a sweep in the store is that of the sweep."""
    names, sweeps = [path.name for path in pins_folder(root).glob("*")], set(sweep_ids(root))
    keys = set()
    for name in names:
        if name not in sweeps:
            with suppress(DataError):
                keys.add(Key(name))
    return keys, {sweep for sweep in sweeps if sweep in names}


def pin(store: Store, texts: Iterable[object]) -> list[str]:
    """Pin sweeps and objects, by id and by key; the names that are pinned now. Raises ConfigError for what the store
    does not have, before anything is pinned."""
    names = [_named(store.root, text, "pin") for text in texts]
    for name in names:
        store.check_writable()
        pins_folder(store.root).mkdir(exist_ok=True)
        (pins_folder(store.root) / name).touch()
    return names


def unpin(store: Store, texts: Iterable[object]) -> list[str]:
    """Take pins away, by id and by key; the names that are not pinned any more. Raises ConfigError for what is not
    pinned, before any pin is taken away."""
    folder = pins_folder(store.root)
    there = sorted(path.name for path in folder.glob("*"))
    names = []
    for text in texts:
        fitting = [name for name in there if name == text] or [name for name in there if name.startswith(str(text))]
        if len(fitting) != 1:
            near = did_you_mean(str(text), there) or (f"Pinned are {', '.join(there)}." if there else "Nothing is.")
            raise ConfigError("unpin", "a sweep or an object that is pinned", text, near)
        names += fitting
    for name in names:
        store.check_writable()
        (folder / name).unlink(missing_ok=True)
    return names


def _named(root: Path, text: object, config_key: str) -> str:
    sweeps = sweep_ids(root)
    if text in sweeps:
        return str(text)
    try:
        return key_named(root, text, config_key)
    except ConfigError as error:
        near = did_you_mean(str(text), sweeps) or error.do
        raise ConfigError(config_key, f"a sweep, or the key of an object, of {root}", text, near) from None
