"""Whether an object of the store is what was published."""

import json
from pathlib import Path

from ablatent.core.errors import AblatentError, DataError
from ablatent.core.files import sha256
from ablatent.store.identity import Key, digest
from ablatent.store.records import Manifest

MANIFEST = "manifest.json"
HASH_LIMIT = 256 * 2**20  # larger memory-mapped arrays are checked by size here, by hash with do=verify


class Damaged(AblatentError):
    """A stored object whose bytes are not those that were published."""


def read_manifest(folder: Path, key: Key) -> Manifest:
    """The manifest of an object, as it was sealed. Raises Damaged for another, DataError for one of an unknown shape
    and for one that may not be read."""
    try:
        text = (folder / MANIFEST).read_bytes()
    except PermissionError as error:
        raise DataError(f"{key}: its manifest cannot be read ({error}).") from None
    except OSError:
        raise Damaged(f"{key}: its manifest cannot be read.") from None
    return manifest_from(text, key)


def manifest_from(text: bytes, key: Key) -> Manifest:
    """The manifest of an object, from the bytes of its file. Raises as `read_manifest` does."""
    try:
        about = json.loads(text)
        seal = about.pop("seal")
        sealed = digest(about) == seal and about["key"] == key
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise Damaged(f"{key}: its manifest cannot be read.") from None
    if not sealed:
        raise Damaged(f"{key}: its manifest was changed after it was published.")
    return Manifest.from_json({**about, "seal": seal}, f"{key}: its manifest")


def verify(folder: Path, key: Key, everything: bool = False) -> Manifest:
    """The manifest of a whole object. Raises Damaged otherwise, and DataError for a manifest of an unknown shape and
    for files that cannot be read now.

    everything: hash also the large memory-mapped arrays that are normally checked by size only.
    """
    manifest = read_manifest(folder, key)
    for name, entry in manifest.files.items():
        file = folder / name
        try:
            if not file.is_file() or file.stat().st_size != entry.size:
                raise Damaged(f"{key}: {name} is missing or has another size than was published.")
            hashed = everything or entry.size <= HASH_LIMIT or not name.endswith(".npy")
            if hashed and sha256(file) != entry.sha256:
                raise Damaged(f"{key}: the bytes of {name} are not those that were published (sha256 differs).")
        except OSError as error:
            raise DataError(f"{key}: {name} cannot be read ({error}).") from None
    return manifest
