"""The command line before Hydra reads it: values that are taken as typed, and the keys that each verb reads.

Hydra reads a value as an expression: `prompt=a, b` would be two values, `prompt={x}` a dictionary. Here such values are
put into quotes before Hydra sees them. Free of torch.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString

from ablatent.core.declared import declared
from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.options import option_files, read_yaml

AS_TYPED = (
    *("prompt", "prompts", "class", "image", "mask", "map", "boxes", "out", "repeat", "model"),
    *("title", "question", "to", "from"),
)
TEXTS = ("samples.prompts",)
"""Keys of lists of texts: Hydra reads the list, and nothing in its texts is looked up."""
BESIDE_REPEAT = ("do", "out", "repeat", "runtime", "store", "tracking")
INSTEAD = {"samples.count": "n", "samples.seed": "seed", "samples.prompts": "prompt", "task.file": "mask"}


def quoted(argument: str) -> str:
    """An argument of the command line for Hydra: KEY="VALUE" for the keys of AS_TYPED, others unchanged, but for ${ in
    TEXTS."""
    key, given, value = argument.partition("=")
    if not given or key not in (*AS_TYPED, *TEXTS):
        return argument
    # OmegaConf would look up ${…}; a backslash before it, and twice as many where there were some, makes it plain text
    plain = re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + r"\${", value)
    return f"{key}={plain if key in TEXTS else QuotedString(plain, Quote.double).with_quotes()}"


def value_of(overrides: Sequence[str], key: str) -> str | None:
    """The last value that was typed for a key, as typed; None without one."""
    values = [o.partition("=")[2] for o in overrides if o.partition("=")[0] == key]
    return values[-1] if values else None


def unquoted(value: str) -> str:
    """The value inside the quotes of `quoted`, for values without ${."""
    return str(OverridesParser.create().parse_override(f"key={value}").value())


@dataclass(frozen=True)
class VerbKeys:
    """The keys that a verb reads, by its YAML and its class.

    own: keys of its file alone; reads: groups and keys of config.yaml, empty for all of a job; takes_jobs: whether it
    takes -m.
    """

    name: str
    own: tuple[str, ...]
    reads: tuple[str, ...]
    takes_jobs: bool

    def takes(self, key: str) -> bool:
        """Whether the verb reads a key (its first part), by its own keys and `reads`."""
        return key in ("do", "hydra", *self.own) or not self.reads or key in self.reads


def verbs(root: Path) -> dict[str, VerbKeys]:
    """Name → keys of every verb, one for each file in conf/do. root: the folder that holds conf/."""
    files: dict[str, dict[str, Any]] = {name: read_yaml(file) for name, file in option_files("do", root).items()}
    out = {}
    for name, node in files.items():
        for base in node.get("defaults", []):
            node = {**files.get(base, {}), **node}
        own = tuple(key for key in node if key not in ("do", "verb", "defaults"))
        out[name] = VerbKeys(name, own, declared(node["verb"], "reads"), declared(node["verb"], "takes_jobs"))
    return out


def check_verb(root: Path, overrides: Sequence[str], multirun: bool) -> None:
    """Raise ConfigError for an unknown verb and for a key that it does not read.

    overrides: as typed, before those of a model's job; multirun: whether -m was typed.
    """
    known, name = verbs(root), value_of(overrides, "do") or "run"
    if "," in name or name.startswith(("glob(", "choice(")):
        raise ConfigError("do", "one of " + ", ".join(sorted(known)), name, "It cannot be swept.")
    if name not in known:
        raise ConfigError("do", "one of " + ", ".join(sorted(known)), name, did_you_mean(name, known))
    verb = known[name]
    if multirun and not verb.takes_jobs:
        do = "Several prompts are read from a file: prompts=FILE." if "prompts" in verb.own else "Leave -m out."
        raise ConfigError("do", "run or plan with -m", name, do)
    repeated = "repeat" in verb.own and value_of(overrides, "repeat") is not None
    for override in overrides:
        key, _, value = override.partition("=")
        key = key.lstrip("+~")
        top = key.split(".")[0].split("@")[0].split("/")[0]
        if repeated and top not in BESIDE_REPEAT:
            do = "The file has all of it: leave this out, or request new images with model=…."
            raise ConfigError(key, "nothing but out and runtime beside repeat", value, do)
        if verb.reads and "n" in verb.own and key in INSTEAD:
            raise ConfigError(key, f"{INSTEAD[key]}=… with do={name}", value)
        if not verb.takes(top):
            readable = [*verb.own, *verb.reads]
            do = did_you_mean(key, readable) or ("The model is as its job trained it." if "model" in verb.own else "")
            raise ConfigError(key, f"with do={name}: {', '.join(readable)}", value, do)
