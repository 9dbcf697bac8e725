"""Where other stores lie: in a folder, or at a URL that fsspec knows. Paths below a store are text with /."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import IOBase
from pathlib import Path
from typing import Any

from ablatent.core.errors import AblatentError, ConfigError, DataError
from ablatent.core.files import write_atomic
from ablatent.store.artifacts import FORMAT, FORMAT_FILE, Store
from ablatent.store.identity import FileName, Key, SweepId
from ablatent.store.layout import PLAN, object_folder, sweep_folder
from ablatent.store.records import Manifest, PlanRecord
from ablatent.store.verify import MANIFEST, manifest_from

BELOW = Path()
URL = re.compile(r"[a-z][a-z0-9+.-]*://.*", re.IGNORECASE)


def object_path(key: Key, name: str = MANIFEST) -> str:
    """The path of a file of an object."""
    return (object_folder(BELOW, key) / name).as_posix()


def record_path(sweep: SweepId, name: str = "") -> str:
    """The path of a file of the record of a sweep, or of its folder."""
    return (sweep_folder(BELOW, sweep) / name).as_posix()


class StorePlace(ABC):
    """A store somewhere. All paths are below its root; what is not there raises FileNotFoundError."""

    def __init__(self, name: str):
        self.name = name

    @abstractmethod
    def open(self, path: str) -> IOBase:
        """A file, to be read."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """What stands in a folder; empty where it is not there."""

    @abstractmethod
    def files(self, folder: str) -> list[str]:
        """The paths of all files below a folder, relative to it; empty where it is not there."""

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Write a small file, which takes its place whole."""

    def read(self, path: str) -> bytes:
        """The bytes of a small file."""
        with self.open(path) as file:
            return bytes(file.read())

    def manifest(self, key: Key) -> Manifest | None:
        """The manifest of an object; None where there is none that can be read."""
        with suppress(FileNotFoundError, AblatentError):
            return manifest_from(self.read(object_path(key)), key)
        return None

    def plan(self, sweep: SweepId) -> PlanRecord:
        """The plan of a sweep. Raises DataError for one that cannot be read."""
        where = f"{self.name}: {record_path(sweep, PLAN)}"
        try:
            return PlanRecord.from_json(json.loads(self.read(record_path(sweep, PLAN))), where)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: expected a JSON object; got {error}.") from None

    def sweeps(self) -> list[SweepId]:
        """The ids of all sweeps, the newest first."""
        found = []
        for name in sorted(self.names("sweeps"), reverse=True):
            with suppress(DataError):
                if PLAN in self.names(record_path(SweepId(name))):
                    found.append(SweepId(name))
        return found


class FolderPlace(StorePlace):
    """A store in a folder of this machine."""

    def __init__(self, root: Path):
        super().__init__(str(root))
        self.root = root

    def open(self, path: str) -> IOBase:
        return (self.root / path).open("rb")

    def names(self, folder: str) -> list[str]:
        return [path.name for path in (self.root / folder).glob("*")]

    def files(self, folder: str) -> list[str]:
        top = self.root / folder
        return [path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file()]

    def write(self, path: str, data: bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.root / path, data)


class UrlPlace(StorePlace):
    """A store at a URL. Raises ConfigError, which names `config_key`, where no installed file system knows it."""

    def __init__(self, url: str, config_key: str):
        super().__init__(url)
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise ConfigError(config_key, "a folder", url, "For URLs: pip install fsspec.") from None
        try:
            self.system, self.root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            expected = "a folder, or a URL of a file system that is installed for fsspec"
            raise ConfigError(config_key, expected, url, f"{error}") from None

    def _at(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}"

    def open(self, path: str) -> IOBase:
        file: IOBase = self.system.open(self._at(path), "rb")
        return file

    def names(self, folder: str) -> list[str]:
        with suppress(FileNotFoundError):
            return [path.rstrip("/").rpartition("/")[2] for path in self._listed(folder)]
        return []

    def _listed(self, folder: str) -> list[str]:
        self.system.invalidate_cache()
        found: list[str] = self.system.ls(self._at(folder), detail=False)
        return found

    def files(self, folder: str) -> list[str]:
        self.system.invalidate_cache()
        top = self._at(folder).strip("/")
        return [path.strip("/").removeprefix(f"{top}/") for path in self.system.find(self._at(folder))]

    def write(self, path: str, data: bytes) -> None:
        with self.create(path) as file:
            file.write(data)

    @contextmanager
    def create(self, path: str) -> Iterator[IOBase]:
        """A file, to be written; it is there, or whole, at the end of the block only where the file system says so."""
        self.system.makedirs(self._at(path).rpartition("/")[0], exist_ok=True)
        file: Any
        with self.system.open(self._at(path), "wb") as file:
            yield file

    def size(self, path: str) -> int | None:
        """Bytes of a file; None where it is not there."""
        with suppress(FileNotFoundError):
            return int(self.system.info(self._at(path))["size"])
        return None


def place_of(text: str | None, config_key: str) -> FolderPlace | UrlPlace:
    """The store that was typed under `config_key`. Raises ConfigError for none, and for a URL of an unknown kind."""
    if text is None:
        raise ConfigError(config_key, "another store: its folder, or a URL", None, f"Give it by {config_key}=….")
    return UrlPlace(text, config_key) if URL.fullmatch(text) else FolderPlace(Path(text).expanduser())


def check_same_format(place: StorePlace, config_key: str, may_be_new: bool) -> None:
    """Raise ConfigError for a store of another format, and for none where one must be there."""
    try:
        found = place.read(FORMAT_FILE).decode(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        found = "1" if "objects" in place.names("") else ""
    if not found and not may_be_new:
        raise ConfigError(config_key, "a store", place.name, "There is none.")
    if found not in ("", str(FORMAT)):
        do = "What is in it is read by the version that wrote it."
        raise ConfigError(config_key, f"a store of format {FORMAT}", f"one of format {found}: {place.name}", do)


def safe_names(names: list[str]) -> list[FileName]:
    """Those names that stay below their folder, in order, the plan of a sweep last: it says that the rest is there."""
    found = []
    for name in names:
        with suppress(DataError):
            found.append(FileName(name))
    return sorted(found, key=lambda name: (name == PLAN, name))


def mark_format(place: UrlPlace) -> None:
    """Write the number of the format where a store begins."""
    if FORMAT_FILE not in place.names(""):
        place.write(FORMAT_FILE, f"{FORMAT}\n".encode())


def folder_store(root: Path, config_key: str) -> Store:
    """The store of a folder that can be written. Raises ConfigError, which names `config_key`."""
    try:
        store = Store(root)
        store.check_writable()
    except ConfigError as error:
        raise ConfigError(config_key, error.expected, error.got, error.do.replace("store.path", config_key)) from None
    return store


def check_other(place: StorePlace, store: Store, config_key: str) -> None:
    """Raise ConfigError for a folder that is that of the store itself."""
    if isinstance(place, FolderPlace) and place.root.resolve() == store.root.resolve():
        raise ConfigError(config_key, "another store than this one", place.name)


@contextmanager
def named(place: StorePlace) -> Iterator[None]:
    """Inside, whatever a file system raises becomes a DataError that names the place."""
    try:
        yield
    except AblatentError:
        raise
    except Exception as error:
        do = "Give the same command again: it goes on from what has arrived."
        raise DataError(f"{place.name}: {type(error).__name__}: {error}. {do}") from error
