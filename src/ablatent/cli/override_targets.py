"""The places of options of config groups, the form of an override that chooses one, and suggestions for keys.

For the errors of `preflight`. Reads files of conf/ and plain values; free of torch.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.options import EXPERIMENTS, option_files
from ablatent.core.values import get

OPEN = {
    "metric": r"evaluation\.metrics",
    "conditioner": r"conditioner\.parts(\.[^.]+\.parts)*",
    "stage": "stages",
}
"""Group → pattern of the keys of mappings that take further options of it, each by a name of the user's choice."""
FORMS = {
    "metric": "+metric@evaluation.metrics.{}={}",
    "conditioner": "+conditioner@conditioner.parts.{}={}",
    "stage": "+stage@stages.{}={}",
}
GROUP_FILE = re.compile(r"(?:optional |override )?/?([\w/]+)")


def tops(root: Path) -> tuple[set[str], set[str]]:
    """(all keys at the top of config.yaml, those of them that are config groups). root: the folder with conf/."""
    config = cast(DictConfig, OmegaConf.load(root / "conf" / "config.yaml"))
    entries = [str(k) for entry in config["defaults"] if isinstance(entry, DictConfig) for k in entry]
    groups = {m[1] for entry in entries if not entry.startswith("override ") and (m := GROUP_FILE.match(entry))}
    return {*map(str, config), *groups} - {"defaults"}, groups


def typed_value(override: Override) -> str:
    """The text after the = of an override, as typed."""
    return (override.input_line or "").partition("=")[2]


def check_target(override: Override, options: Sequence[str], top: Iterable[str]) -> None:
    """Raise ConfigError for an option of a group at a place that nothing reads.

    options: of the group; top: the groups of config.yaml.
    """
    group, package, added = override.key_or_group, override.package, override.is_add()
    if group in OPEN and added and package and re.fullmatch(OPEN[group], package.rpartition(".")[0]):
        return
    if override.is_delete() or (not added and (package or group in top)):
        return
    typed = typed_value(override)
    option = typed if typed in options else "OPTION"
    if group in FORMS and (added or group not in top):
        name = option if option != "OPTION" else "NAME"
        if package and not re.fullmatch(OPEN[group], package):
            name = package.rpartition(".")[2]
        expected, do = FORMS[group].format("NAME", "OPTION"), f"Type {FORMS[group].format(name, option)}."
        if group in top and not package:
            do = f"Type {group}={option} to have it alone, or {FORMS[group].format(name, option)} as a part of hybrid."
    elif group in top:
        expected, do = f"{group}=OPTION", f"Type {group}={option}, without +."
    else:
        expected = f"{group}@KEY=OPTION, with the key at which an option of {group} stands"
        do = f"For example extractor@evaluation.extractor={option}." if group == "extractor" else ""
    raise ConfigError(f"{'+' if added else ''}{group}", expected, override.input_line, do)


def check_deleted(override: Override) -> None:
    """Raise ConfigError for ~KEY, unless it is an entry of an open mapping: all other keys are read."""
    key = override.package or override.key_or_group
    if not is_entry(key):
        expected = "a key that can be left out: an entry of evaluation.metrics, of conditioner.parts or of stages"
        raise ConfigError(f"~{override.key_or_group}", expected, override.input_line, "All other keys are read.")


def is_entry(key: str) -> bool:
    """Whether a key is that of an entry of an open mapping."""
    return any(re.fullmatch(place, key.rpartition(".")[0]) for place in OPEN.values())


def check_experiment(root: Path, name: str, top: Iterable[str]) -> None:
    """Raise ConfigError for a key at the top of an experiment's file that config.yaml does not have.

    Hydra would accept it. top: the keys of config.yaml.
    """
    known = {*top, "defaults"}
    for key in map(str, cast(DictConfig, OmegaConf.load(option_files(EXPERIMENTS, root)[name]))):
        if key not in known:
            raise ConfigError(f"experiments={name}", "keys that config.yaml has", key, did_you_mean(key, known))


def check_value(override: Override, cfg: Mapping[str, Any], groups: Mapping[str, Sequence[str]], root: Path) -> None:
    """Raise ConfigError for a single value in place of a node, such as the name of an option.

    cfg: the configuration as composed without this override, plain and not resolved, which has the override's key;
    groups: name → options.
    """
    key, typed = override.key_or_group, typed_value(override)
    top, _, rest = key.partition(".")
    value = get(cfg, key)
    linked = re.fullmatch(r"\$\{(\w+)\}", value) if isinstance(value, str) else None
    node = isinstance(value, Mapping) or (linked is not None and linked[1] in groups)
    if typed.startswith("{") and isinstance(value, Mapping):
        check_entries(key, override.value(), value)
    if typed.lstrip("'\"").startswith(("{", "${")) or (not node and typed in ("null", "")):
        return
    group = linked[1] if linked else top
    if not node and value is None:  # where the chosen option has nothing, others may have a node
        there = option_files(top, root)
        files = (OmegaConf.load(there[option]) for option in groups.get(top, ()))
        node = any(isinstance(OmegaConf.select(f, rest), DictConfig) for f in files)
    if not node:
        return
    if linked or value is None:
        form = f"{group}={typed if typed in groups[group] else 'OPTION'}"
    else:
        form = option_form(key, typed, groups, there=True)
    if form:
        do = f"Leave it out by '~{form.partition('=')[0]}'." if typed == "null" and is_entry(key) else ""
        raise ConfigError(key, f"an option of a config group, chosen as {form}", typed, do)
    keys = [f"{key}.{name}" for name in value if name != "_target_"] if isinstance(value, Mapping) else []
    raise ConfigError(key, f"values for its keys ({', '.join(keys[:8])}{', …' if len(keys) > 8 else ''})", typed)


def check_entries(key: str, typed: Any, node: Mapping[str, Any]) -> None:
    """Raise ConfigError for a key of a typed mapping that the node at `key`, into which it is merged, does not have."""
    for name in map(str, typed if isinstance(typed, Mapping) else ()):
        if name not in node:
            form = next((FORMS[g].format("NAME", "OPTION") for g, p in OPEN.items() if re.fullmatch(p, key)), "")
            do = f"An option is added by {form}." if form else did_you_mean(name, node)
            raise ConfigError(f"{key}.{name}", f"a key of {key} ({', '.join(node) or 'it has none'})", typed[name], do)


def option_form(key: str, typed: str, groups: Mapping[str, Sequence[str]], there: bool) -> str:
    """The override that chooses an option of a group at a key, with the typed one where it exists; empty for other
    keys.

    there: whether the key exists, so that the option replaces another.
    """
    parent, _, name = key.rpartition(".")
    for group, place in OPEN.items():
        option = typed if typed in groups.get(group, ()) else "OPTION"
        if re.fullmatch(place, parent):
            return f"{'' if there else '+'}{group}@{key}={option}"
        if re.fullmatch(place, key):
            return f"+{group}@{key}.NAME={option}"
    if parent and name in groups:
        return f"{name}@{key}={typed if typed in groups[name] else 'OPTION'}"
    top = key.partition(".")[0]
    return f"{top}={typed}" if typed in groups.get(top, ()) else ""


def by_last_part(root: Path, name: str, known: Iterable[str], groups: Iterable[str]) -> str:
    """'Did you mean …?' with all keys whose last part is `name`: those that exist, then those of other options.

    Empty where there are none. known: keys of the composed configuration; groups: whose options are searched.
    """
    there = [k for k in known if k.rpartition(".")[2] == name and k != name and not k.startswith("preset.")]
    others: dict[str, list[str]] = {}
    for group, option in _having(root, name, groups):
        if f"{group}.{name}" not in there:
            others.setdefault(f"{group}.{name}", []).append(option)
    named = [(k, "") for k in there] + [(k, f" (with {k.split('.')[0]}={','.join(v[:3])})") for k, v in others.items()]
    named = sorted(named, key=lambda n: n[0].count("."))
    texts = [f"'{key}'{note}" for key, note in named][:6]
    return f"Did you mean {' or '.join([', '.join(texts[:-1]), texts[-1]] if texts[1:] else texts)}?" if texts else ""


def _having(root: Path, name: str, groups: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(group, option) of all files of these groups that have the key."""
    for group in sorted({*groups} - {"preset", "do"}):
        for file in option_files(group, root).values():
            node: DictConfig | ListConfig = OmegaConf.load(file)
            if isinstance(node, DictConfig) and name in node:
                yield group, file.stem
