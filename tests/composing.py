"""Configurations as the command line makes them, with Hydra's own compose; each file of conf/ is read once."""

import contextlib
import copy
import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from ablatent.cli.main import plain
from ablatent.cli.quick_hydra import quick_hydra
from commands import ROOT

_parsed: dict[Any, bytes] = {}


@contextlib.contextmanager
def hydra_ready() -> Iterator[None]:
    """Inside, hydra.compose("config", …) finds conf/ and experiments/."""
    os.environ["ABLATENT_ROOT"] = str(ROOT)
    GlobalHydra.instance().clear()
    with quick_hydra(_parsed), initialize_config_dir(config_dir=str(ROOT / "conf"), version_base="1.3"):
        yield


@cache
def _composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    with hydra_ready():
        return plain(compose("config", overrides=list(overrides)))


def composed(*overrides: str) -> dict[str, Any]:
    """The resolved configuration of a job in plain values; ConfigError for what is missing."""
    return copy.deepcopy(_composed(overrides))
