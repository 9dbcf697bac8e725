"""Where Hydra looks for options: in a user's own folder first, and for experiments beside conf/."""

from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.plugins.search_path_plugin import SearchPathPlugin

from ablatent.core.options import EXPERIMENTS, command_root, own_folder

MAIN = "main"
"""Hydra's name for the folder of the running command."""


class ExperimentsSource(FileConfigSource):
    """The folder experiments/ of a folder as a config group; its other folders are none, whatever their names."""

    @staticmethod
    def scheme() -> str:
        return EXPERIMENTS

    def is_group(self, config_path: str) -> bool:
        return self._here(config_path) and super().is_group(config_path)

    def is_config(self, config_path: str) -> bool:
        return self._here(config_path) and super().is_config(config_path)

    @staticmethod
    def _here(config_path: str) -> bool:
        return config_path in ("", EXPERIMENTS) or config_path.startswith(f"{EXPERIMENTS}/")


class OwnFolders(SearchPathPlugin):
    """Puts the user's own conf/ before that of this package's command, and experiments/ of both behind them.

    Other Hydra programs of the same environment are left as they are.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        root, own = command_root(), own_folder()
        main = next((str(item.path) for item in search_path.get_path() if item.provider == MAIN), "")
        if Path(main.removeprefix("file://")).resolve() != (root / "conf").resolve():
            return
        if own is not None and (own / "conf").is_dir():
            search_path.prepend("own", f"file://{own / 'conf'}", SearchPathQuery(provider=MAIN, path=None))
        for folder in [*([own] if own is not None else []), root]:
            if (folder / EXPERIMENTS).is_dir():
                search_path.append(EXPERIMENTS, f"{ExperimentsSource.scheme()}://{folder}")
