"""The verbs that keep a store: what takes its space, what may go, and what goes to other stores."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from ablatent.cli.verb import Config, Verb
from ablatent.cli.verb_keys import ClearKeys, PullKeys, PushKeys
from ablatent.core.disk import DiskFull
from ablatent.core.escape import for_console
from ablatent.core.progress import console
from ablatent.store.artifacts import Store
from ablatent.store.clearing import clear, unused_table
from ablatent.store.pins import pin, unpin
from ablatent.store.places import FolderPlace, StorePlace, UrlPlace, check_other, check_same_format, named, place_of
from ablatent.store.transfer import Selection, copy, selected
from ablatent.store.unused import find_unused
from ablatent.store.usage import print_usage
from ablatent.sweep.plan import Composed


class ClearVerb(Verb):
    """Delete what nothing refers to, or show what that is."""

    reads = ("store",)
    keys = ClearKeys
    deletes: bool = False
    """Whether there is something that delete=true would delete."""

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        for name in pin(store, texts(config["pin"])):
            console.print(for_console(f"  pinned {name}"))
        for name in unpin(store, texts(config["unpin"])):
            console.print(for_console(f"  no longer pinned {name}"))
        look = partial(find_unused, store, config["keep"], float(config["older_than"]))
        unused = look()
        console.print(unused_table(store.root, unused))
        if not any((unused.objects, unused.sweeps, unused.leftovers)):
            return 0
        if config["delete"]:
            with suppress(DiskFull):  # which this mends
                store.check_writable()
            return 1 if clear(store.root, unused, look) else 0
        console.print("Nothing was deleted.")
        self.deletes = True
        return 0

    def then(self, code: int) -> Sequence[str]:
        return [*self.typed, "delete=true"] if self.deletes else ()


class UsageVerb(Verb):
    """Print the bytes of the store by kind and by sweep."""

    reads = ("store",)

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        print_usage(store)
        return 0


class PushVerb(Verb):
    """Copy a sweep, or objects, into another store."""

    reads = ("store",)
    keys = PushKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        target = _other(config, "to", store, may_be_new=True)
        own = FolderPlace(store.root)
        selection = _selection(own, config)
        with named(target):
            return 1 if copy(own, target, "push", selection, "to") else 0


class PullVerb(Verb):
    """Copy a sweep, or objects, from another store."""

    reads = ("store",)
    keys = PullKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        source = _other(config, "from", store, may_be_new=False)
        with named(source):
            return 1 if copy(source, FolderPlace(store.root), "pull", _selection(source, config)) else 0


def _other(config: Config, key: str, store: Store, may_be_new: bool) -> FolderPlace | UrlPlace:
    """The other store that was typed under a key. Raises ConfigError for none of this format."""
    place = place_of(config[key], key)
    check_other(place, store, key)
    with named(place):
        check_same_format(place, key, may_be_new)
    return place


def _selection(source: StorePlace, config: Config) -> Selection:
    return selected(source, config["sweep"], texts(config["keys"]), bool(config["caches"]))


def texts(typed: object) -> list[str]:
    """The names that were typed as one, as a list, or not at all."""
    listed = typed if isinstance(typed, list | tuple) else [] if typed is None else [typed]
    return [str(name) for name in listed]
