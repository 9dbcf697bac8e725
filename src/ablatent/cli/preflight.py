"""Mistakes on the command line that the configuration files alone show: an error at once, with the nearest spelling.

Runs before Hydra: option names that do not exist, keys that no chosen option has, keys added with `+`. Free of torch.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablatent.cli.command_fields import check_preset_key
from ablatent.cli.override_targets import (
    by_last_part,
    check_deleted,
    check_experiment,
    check_target,
    check_value,
    option_form,
    tops,
    typed_value,
)
from ablatent.cli.raw_overrides import value_of, verbs
from ablatent.core.errors import AblatentError, ConfigError, did_you_mean, synonym
from ablatent.core.here import program
from ablatent.core.options import EXPERIMENTS, conf_folders, looked_for, option_files, read_yaml, typed_folders

HYDRA_GROUPS = ("hydra",)


def preflight(root: Path, overrides: Sequence[str], multirun: bool) -> None:
    """Raise ConfigError for the first mistake. overrides: typed, quoted; root: the folder with conf/."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as e:
        raise AblatentError(
            f"command line: {str(e).splitlines()[0]} Values with commas, quotes, brackets or = need quotes of their "
            "own: 'key=\"a, b\"'."
        ) from None
    groups = {name: sorted(options) for name, options in _groups(root)}
    chosen: dict[str, list[str]] = {}
    verb = verbs(root).get(value_of(overrides, "do") or "run")
    own = verb.own if verb is not None else ()
    top_keys, top_groups = tops(root)
    top_keys |= {*own, *verbs(root)["run"].own}
    for override in parsed:
        key = override.key_or_group
        if key.split(".")[0].split("/")[0] in HYDRA_GROUPS:
            continue
        if override.is_sweep_override() and not multirun:
            do = f"Sweep over several with: {program()} -m {key}=…; a text with commas needs quotes of its own."
            raise ConfigError(key, "one value", typed_value(override), do)
        if override.is_delete():
            check_deleted(override)
            continue
        if key in groups:
            check_target(override, groups[key], top_groups)
            at = "" if override.package is None else f"@{override.package}"
            chosen[f"{'+' if override.is_add() else ''}{key}{at}"] = list(_check_options(root, override, groups[key]))
            for name in chosen.get("experiments", []) if key == "experiments" else []:
                check_experiment(root, name, top_keys)
        elif _globbed(override) is not None:
            raise ConfigError(
                key, "glob(…) over the options of a config group", typed_value(override), did_you_mean(key, groups)
            )
        elif override.is_add() and override.package is None:
            keys = list(_keys(_composed(root, {})))
            raise ConfigError(
                f"+{key}",
                "an existing key (options are never added: every key stands in conf/)",
                typed_value(override),
                synonym(key, {*groups, *keys})
                or by_last_part(root, key, keys, top_groups)
                or did_you_mean(key, [*groups, *keys]),
            )
    plain = [o for o in parsed if o.key_or_group not in groups and not o.is_add() and not o.is_delete()]
    plain = [o for o in plain if o.key_or_group.split(".")[0] not in HYDRA_GROUPS]
    if not {o.key_or_group for o in plain} <= {"seed", *own}:  # those are there under any options
        _check_keys(root, groups, chosen, plain)


def sweeps(root: Path, overrides: Sequence[str]) -> bool:
    """Whether the typed experiment is a sweep (its hydra.sweeper.params), and the verb takes one: it needs no -m."""
    name, verb = value_of(overrides, "experiments"), verbs(root).get(value_of(overrides, "do") or "run")
    if name is None or verb is None or not verb.takes_jobs or name not in option_files(EXPERIMENTS, root):
        return False
    return bool(_composed(root, {"experiments": name}, with_hydra=True).hydra.sweeper.params)


def _groups(root: Path) -> Iterator[tuple[str, set[str]]]:
    """(group, option names) of every folder of conf/, and experiments. Options in a folder below are FOLDER/NAME."""
    files = (file.relative_to(conf) for conf in conf_folders(root) for file in conf.rglob("*.yaml"))
    for group in [*sorted({file.parent.as_posix() for file in files} - {".", EXPERIMENTS}), EXPERIMENTS]:
        yield group, set(option_files(group, root))


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return [str(v) for v in override.sweep_string_iterator()]
    value = override.value()
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


def _globbed(override: Override) -> Glob | None:
    """The pattern of GROUP=glob(…), or None."""
    value: Any = override.value()
    return value if isinstance(value, Glob) else None


def _check_options(root: Path, override: Override, options: Sequence[str]) -> Iterator[str]:
    group = override.key_or_group
    if override.is_interval_sweep():
        raise ConfigError(group, "one or more of " + ", ".join(options), typed_value(override))
    if (pattern := _globbed(override)) is not None:
        # Hydra's patterns see what is directly in the folder of a group
        found = pattern.filter([o for o in options if "/" not in o])
        if not found:
            raise ConfigError(group, "a pattern that fits some of " + ", ".join(options), typed_value(override))
        yield from found
        return
    for value in _values(override):
        if value in ("null", "None") and group == "experiments":
            continue
        if value not in options:
            short = [o for o in options if value.lower() in (_initials(o), _initials(f"{o}_{group}"))]
            near = f"Did you mean '{short[0]}'?" if short else did_you_mean(value, options)
            do = f"{near} {looked_for(group, root)}".lstrip()
            raise ConfigError(group, "one of " + ", ".join(options), value, do)
        read_yaml(option_files(group, root)[value])  # Hydra's message for a file that is no YAML is a traceback
        yield value


def _initials(name: str) -> str:
    """cfg for classifier_free_guidance."""
    return "".join(word[:1] for word in name.split("_"))


def _composed(root: Path, options: dict[str, str], with_hydra: bool = False) -> DictConfig:
    """The configuration with the given group options and nothing else. with_hydra: with Hydra's own node, too."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(root / "conf"), version_base="1.3"):
            typed = [f"file://{folder}" for folder in typed_folders()]
            path = [f"hydra.searchpath=[{','.join(typed)}]"] if typed else []
            return compose("config", [*path, *(f"{k}={v}" for k, v in options.items())], return_hydra_config=with_hydra)
    except (HydraException, OmegaConfBaseException) as e:
        raise AblatentError(f"configuration: {e}") from None
    finally:
        GlobalHydra.instance().clear()


def _keys(cfg: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key, of nodes and leaves."""
    if isinstance(cfg, DictConfig):
        for key in map(str, cfg):
            yield f"{prefix}{key}"
            if not OmegaConf.is_interpolation(cfg, key) and not OmegaConf.is_missing(cfg, key):
                yield from _keys(cfg[key], f"{prefix}{key}.")


def _top(group: str) -> str:
    """The top-level key below which the options of GROUP or GROUP@KEY stand."""
    return group.lstrip("+").rpartition("@")[2].split(".")[0]


def _check_keys(
    root: Path, groups: dict[str, list[str]], chosen: dict[str, list[str]], overrides: list[Override]
) -> None:
    """Raise ConfigError unless each key exists, and takes the typed value, under every combination of swept options."""
    wanted = {o.key_or_group.split(".")[0] for o in overrides}
    # Only these options decide which keys there are below the overridden ones.
    wanted |= {"preset", "experiments", "do"}
    deciding = {group: options for group, options in chosen.items() if _top(group) in wanted}
    for combination in itertools.islice(itertools.product(*deciding.values()), 64):
        options = dict(zip(deciding, combination, strict=True))
        cfg = _composed(root, options)
        known, values = list(_keys(cfg)), cast(dict[str, Any], OmegaConf.to_container(cfg))
        for override in overrides:
            if override.key_or_group in known:
                check_value(override, values, groups, root)
                if override.key_or_group.startswith("preset."):
                    check_preset_key(override.key_or_group.removeprefix("preset."), values)
            else:
                raise _unknown(root, override, known, groups, options)


def _unknown(
    root: Path, override: Override, known: list[str], groups: dict[str, list[str]], options: dict[str, str]
) -> ConfigError:
    """The error for a key that is not among the known ones, under these options."""
    key, typed = override.key_or_group, typed_value(override)
    top, last = key.split(".")[0], key.split(".")[-1]
    near = synonym(key, {*known, *groups})
    if others := [verb.name for verb in verbs(root).values() if top in verb.own and top not in known]:
        do = f"It belongs to do={', do='.join(others)}. {near}".rstrip()
        return ConfigError(key, f"a key that do={options.get('do', 'run')} reads", typed, do)
    if top not in known and "." not in key:
        near = near or by_last_part(root, key, known, tops(root)[1]) or did_you_mean(key, known)
        return ConfigError(key, "a config group or key", typed, near)
    if form := option_form(key, typed, groups, there=False):
        return ConfigError(key, f"an option of a config group, chosen as {form}", typed)
    option = f" with {top}={options[top]}" if top in options else ""
    inside = sorted(k for k in known if k.startswith(f"{top}.") and "._target_" not in k)
    siblings = [k for k in inside if k.count(".") == key.count(".")]
    listed = f" ({', '.join(siblings[:12])}{', …' if len(siblings) > 12 else ''})" if siblings else ""
    near = near or by_last_part(root, last, inside, [])
    if not near and ".".join(key.split(".")[:2]) not in known:
        near = _elsewhere(root, top, key, groups.get(top, []))
    return ConfigError(
        key,
        f"a key that exists{option}{listed}",
        typed,
        near or did_you_mean(key, inside or known) or by_last_part(root, last, known, []),
    )


def _elsewhere(root: Path, group: str, key: str, options: Sequence[str]) -> str:
    """A suggestion of the options of a group that have a key which the chosen one lacks."""
    name = key.split(".")[1]
    there = option_files(group, root)
    files = {option: OmegaConf.load(there[option]) for option in options}
    having = [option for option, node in files.items() if isinstance(node, DictConfig) and name in node]
    return f"It is a key of {group}={','.join(having)}: choose that too." if having else ""
