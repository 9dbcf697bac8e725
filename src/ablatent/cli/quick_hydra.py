"""Hydra and OmegaConf without what they do again and again, for commands that compose many configurations.

Neither has a setting for it, so three of their functions are replaced; what they give stays the same
(tests/cli/test_composer.py compares them).
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import omegaconf.base
from hydra._internal import config_loader_impl, defaults_list


class ParsedOnce:
    """A config repository that parses each file once.

    parsed: (sources, path) → pickled file; pickle makes copies in a quarter of the time of deepcopy.
    """

    def __init__(self, repository: Any, parsed: dict[Any, bytes]):
        self.repository, self.parsed = repository, parsed

    def load_config(self, config_path: str) -> Any:
        """A copy of the parsed file; see Hydra's `IConfigRepository.load_config`."""
        key = *(source.path for source in self.repository.get_sources()), config_path
        if key not in self.parsed:
            self.parsed[key] = pickle.dumps(self.repository.load_config(config_path=config_path))
        return pickle.loads(self.parsed[key])

    def __deepcopy__(self, memo: Any) -> "ParsedOnce":
        # Hydra copies the repository for each composition; the sources are the same for all of a loader.
        return self

    def __reduce__(self) -> Any:
        # Launchers that start processes send them the loader; without this, unpickling would ask __getattr__.
        return ParsedOnce, (self.repository, self.parsed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.repository, name)


@contextmanager
def quick_hydra(parsed: dict[Any, bytes]) -> Iterator[None]:
    """Inside, loaders that are made keep parsed files in `parsed`, texts with ${…} are parsed once, and a table of all
    choices is made for defaults lists with ${…} alone."""
    repository, table = config_loader_impl.ConfigRepository, defaults_list._create_interpolation_map

    def interpolation_map(overrides: Any, defaults: Any, self_added: bool) -> Any:
        return table(overrides, defaults, self_added) if any(d.is_interpolation() for d in defaults) else None

    def parsed_once(config_search_path: Any) -> ParsedOnce:
        return ParsedOnce(repository(config_search_path), parsed)

    with (
        _replaced(config_loader_impl, "ConfigRepository", parsed_once),
        _replaced(defaults_list, "_create_interpolation_map", interpolation_map),
        _replaced(omegaconf.base, "parse", cache(omegaconf.base.parse)),
    ):
        yield


@contextmanager
def _replaced(module: ModuleType, name: str, function: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, function)
    try:
        yield
    finally:
        setattr(module, name, before)
