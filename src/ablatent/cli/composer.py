"""Jobs of a sweep as Hydra composes them, each distinct choice of config groups once.

Hydra makes a configuration in two steps: overrides of groups decide which files are merged, and overrides of values
change the result. The first takes a hundred times as long as the second, and most jobs of a sweep share it.
"""

import pickle
from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict


class Composer:
    """A function from the overrides of a job to its configuration, without Hydra's own node.

    loader: Hydra's; master: the configuration of the command, whose overrides of `hydra` hold for every job.
    Whatever is wrong, and whatever concerns Hydra's own node, is left to Hydra as a whole, so that errors are its own.
    """

    def __init__(self, loader: Any, master: DictConfig):
        self.loader, self.master = loader, master
        typed = list(master.hydra.overrides.hydra)  # hydra.searchpath among them: more folders, more groups
        name = master.hydra.job.config_name
        self.repository = loader._parse_overrides_and_create_caching_repo(name, typed)[1]
        self.groups: dict[str, bool] = {}
        self.chosen: dict[tuple[str | None, ...], bytes] = {}

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a job, interpolations unresolved. Raises HydraException as Hydra does."""
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        if any(o.is_sweep_override() or o.is_hydra_override() for o in parsed):
            return self.whole(overrides)
        values = [o for o in parsed if self._is_value(o)]
        choice = tuple(o.input_line for o in parsed if not self._is_value(o))
        try:
            if choice not in self.chosen:
                self.chosen[choice] = pickle.dumps(self.whole(choice))
            cfg: DictConfig = pickle.loads(self.chosen[choice])  # a copy, in a quarter of the time of deepcopy
            ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
            return cfg
        except Exception:
            return self.whole(overrides)

    def whole(self, overrides: Sequence[str | None]) -> DictConfig:
        """The same by Hydra alone, from the files on."""
        cfg: DictConfig = self.loader.load_sweep_config(self.master, list(overrides))
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg

    def _is_value(self, override: Override) -> bool:
        """Whether Hydra takes an override for one of a value: a mapping is one, even under the name of a group."""
        key = override.key_or_group
        if key not in self.groups:
            self.groups[key] = self.repository.group_exists(key)
        return not self.groups[key] or isinstance(override.value(), dict)
