"""What takes the space of a store: by kind, by sweep, and beside the objects."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from rich.table import Table

from ablatent.core.errors import DataError
from ablatent.core.escape import for_console
from ablatent.core.files import folder_bytes
from ablatent.core.progress import console, track
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.store.layout import object_folders, sweep_folder
from ablatent.store.references import Claims, Reader, manifest_or_none
from ablatent.store.unused import find_unused


def print_usage(store: Store) -> None:
    """Print the bytes of a store's objects by kind and by sweep, and of all else in it.

    A sweep whose plan cannot be read is named, and what it refers to is not known.
    """
    sizes = _sizes(store.root)
    unused = set(find_unused(store).objects)
    console.print(_by_kind(store.root, sizes, unused))
    console.print(_by_sweep(store.root, sizes))
    console.print(_beside(store.root))
    free = sum(sizes.get(key, 0) for key in unused)
    console.print(f"{free:,} bytes of objects are unreferenced: do=gc shows them")


def _sizes(root: Path) -> dict[Key, int]:
    """Key → bytes, of all objects."""
    found = {}
    with track("objects", sum(1 for _ in object_folders(root)), "objects") as bar:
        for folder in object_folders(root):
            try:
                found[Key(folder.name)] = folder_bytes(folder)
            except DataError:  # no object
                continue
            finally:
                bar.advance()
    return found


def _by_kind(root: Path, sizes: Mapping[Key, int], unused: set[Key]) -> Table:
    table = Table("kind", "objects", "bytes", "unreferenced", title=for_console(f"store {root}"), title_justify="left")
    kinds: defaultdict[str, list[Key]] = defaultdict(list)
    for key in sizes:
        kinds[key.kind].append(key)
    for kind, keys in [*sorted(kinds.items()), ("all", list(sizes))]:
        idle = sum(sizes[key] for key in keys if key in unused)
        if kind == "all":
            table.add_section()
        table.add_row(for_console(kind), str(len(keys)), f"{sum(sizes[key] for key in keys):,}", f"{idle:,}")
    return table


def _by_sweep(root: Path, sizes: Mapping[Key, int]) -> Table:
    """Own: of objects that no other sweep refers to; record: of the plan, the jobs and the report."""
    table = Table("sweep", "objects", "own", "shared", "record", title="bytes by sweep", title_justify="left")
    claims = Claims.of(root, Reader(partial(manifest_or_none, root)))
    readers = Counter(key for keys in claims.sweeps.values() for key in keys)
    for sweep, keys in reversed(list(claims.sweeps.items())):
        there = [key for key in keys if key in sizes]
        own = sum(sizes[key] for key in there if readers[key] == 1)
        shared = sum(sizes[key] for key in there) - own
        record = folder_bytes(sweep_folder(root, sweep))
        pinned = " (pinned)" if sweep in claims.pins else ""
        table.add_row(f"{sweep}{pinned}", str(len(there)), f"{own:,}", f"{shared:,}", f"{record:,}")
    return table


def _beside(root: Path) -> Table:
    table = Table("folder", "bytes", title="beside the objects", title_justify="left")
    for folder in sorted(path for path in root.glob("*/") if path.name != "objects"):
        table.add_row(for_console(f"{folder.name}/"), f"{folder_bytes(folder):,}")
    return table
