"""Values that are taken as they are typed: prompts and file names, whatever commas, quotes or brackets they hold.

Hydra reads a value as an expression: `prompt=a, b` would be two values, `prompt={x}` a dictionary. Here such values are
put into quotes before Hydra sees them. Free of torch.
"""

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.inference.model_reference import ABOUT_SAMPLING

KEYS = ("prompt", "prompts", "class", "label", "image", "mask", "map", "boxes", "n", "seed")
"""What somebody asks of a finished model."""
AS_TYPED = ("prompt", "prompts", "class", "image", "mask", "map", "boxes", "out", "repeat", "model")
# What may be typed beside the request: how to sample, where, and with what.
TYPED = (*KEYS, *ABOUT_SAMPLING, "do", "model", "out", "repeat", "runtime", "store", "size", "tracking")
BESIDE_REPEAT = ("do", "out", "repeat", "runtime", "store", "tracking")
INSTEAD = {"samples.count": "n", "samples.seed": "seed", "samples.prompts": "prompt", "task.file": "mask"}


def quoted(argument: str) -> str:
    """A word of the command line as Hydra must read it: KEY="VALUE" for the keys of AS_TYPED, others as they are."""
    key, given, value = argument.partition("=")
    if not given or key not in AS_TYPED:
        return argument
    # OmegaConf would look up ${…}; a backslash before it, and twice as many where there were some, makes it plain text
    plain = re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + r"\${", value)
    return f"{key}={QuotedString(plain, Quote.double).with_quotes()}"


def value_of(overrides: Sequence[str], key: str) -> str | None:
    """The last value that was typed for a key, as it stands there; None where there is none."""
    values = [o.partition("=")[2] for o in overrides if o.partition("=")[0] == key]
    return values[-1] if values else None


def unquoted(value: str) -> str:
    """What `quoted` put into quotes, for values without ${."""
    return str(OverridesParser.create().parse_override(f"key={value}").value())


def check_words(overrides: list[str], multirun: bool) -> None:
    """Raise ConfigError for what has no meaning with do=sample."""
    if multirun:
        do = "Several prompts are read from a file: prompts=FILE."
        raise ConfigError("do", "run or plan with -m", "sample", do)
    repeated = value_of(overrides, "repeat") is not None
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        if repeated and key.split(".")[0] not in BESIDE_REPEAT:
            do = "The file says how it was made: leave this out, or ask anew with model=…."
            raise ConfigError(key, "nothing but out and runtime beside repeat", override.partition("=")[2], do)
        if key in INSTEAD:
            raise ConfigError(key, f"{INSTEAD[key]}=… with do=sample", override.partition("=")[2])
        if key not in TYPED and key.split(".")[0] not in TYPED:
            do = did_you_mean(key, TYPED) or "The model is as its job trained it."
            raise ConfigError(key, "with do=sample: what is asked for, or how to sample it", override, do)
