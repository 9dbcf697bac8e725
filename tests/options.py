"""The options of conf/ as options under check, with the values of a preset; no Hydra."""

from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ablatent.checks.option import Option
from ablatent.cli.option_rows import place_of_group
from ablatent.core.options import read_yaml

CONF = Path(__file__).parents[1] / "conf"


def names_of(group: str) -> list[str]:
    """The options of a group."""
    return sorted(p.stem for p in (CONF / group).glob("*.yaml"))


@cache
def preset_values(preset: str) -> Any:
    """A preset with those that it builds on below it."""
    own = OmegaConf.load(CONF / "preset" / f"{preset}.yaml")
    below = [d.removesuffix("@_here_") for d in own.get("defaults", []) if str(d).endswith("@_here_")]
    return OmegaConf.merge(*(preset_values(name) for name in below), own)


def option_of(group: str, name: str, preset: str = "tiny", **changes: Any) -> Option:
    """An option of a group, with those that stand inside it. changes: of values, also of those that are mandatory."""
    raw = read_yaml(CONF / group / f"{name}.yaml")
    for below in [d.removesuffix("@_here_") for d in raw.get("defaults", []) if str(d).endswith("@_here_")]:
        raw = {**read_yaml(CONF / group / f"{below}.yaml"), **raw}
    inside = [entry.popitem() for entry in raw.get("defaults", []) if isinstance(entry, dict)]
    parts = {place.partition("@")[2]: (place.strip("/").partition("@")[0], option) for place, option in inside}
    nodes = {key: read_yaml(CONF / part / f"{option}.yaml") for key, (part, option) in parts.items()}
    node = {**nodes, **{k: v for k, v in raw.items() if k != "defaults"}, **changes}
    rest = {"preset": preset_values(preset), "runtime": {"precision": "32-true"}, "data": {"channels": 3}}
    rest["perceptual"] = read_yaml(CONF / "perceptual" / "none.yaml")
    resolved: Any = OmegaConf.to_container(OmegaConf.create({**rest, "seed": 0, group: node}), resolve=True)
    key, field = place_of_group(group)
    return Option(group, name, key, resolved[group], field, resolved, raw)
