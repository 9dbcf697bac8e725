"""Errors that say what was expected, what came, what to do, and which config key. Free of torch."""

import difflib
from collections.abc import Collection, Iterable, Sequence

from ablatent.core.synonyms import WORDS, meant


class AblatentError(Exception):
    """Base of all errors that are shown to a person as one message, without a traceback."""


class ConfigError(AblatentError):
    """A configuration that cannot run.

    key: the dotted config path, e.g. ``sampler.steps``; expected: what would be right; got: what came;
    do: what to do about it (a command, a nearest spelling), may be empty.
    """

    def __init__(self, key: str, expected: str, got: object, do: str = ""):
        self.key, self.expected, self.got, self.do = key, expected, got, do
        super().__init__(f"{key}: expected {expected}; got {got!r}." + (f" {do}" if do else ""))


class MissingData(ConfigError):
    """A configuration whose data is not on this machine: what else it describes can still be shown."""


class DataError(AblatentError):
    """Images, annotations or weights on disk that cannot be used."""


class StageError(AblatentError):
    """A stage that failed while it was built; the message names the stage."""


def short(value: object) -> str:
    """A value for a message: its repr, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def closest(word: str, options: Iterable[str]) -> str | None:
    """The option that is spelled most like `word`, or None when nothing is near."""
    cutoff = 0.5 if len(word) <= 4 else 0.6
    found = difflib.get_close_matches(word, [str(o) for o in options], n=1, cutoff=cutoff)
    return found[0] if found else None


def synonym(word: str, known: Collection[str]) -> str:
    """'Did you mean …?' for what others call by this word, or an empty string. known: keys and groups that exist."""
    ours = meant(word, known)
    return one_of(ours) if ours else ""


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """'Did you mean …?' for what others call by this word, else for the closest option, or an empty string."""
    known = [str(option) for option in options]
    if ours := synonym(str(word), known):
        return ours
    parent, _, last = str(word).rpartition(".")
    beside = {o.rpartition(".")[2]: o for o in known if o.rpartition(".")[0] == parent}
    near = WORDS.get(last) if WORDS.get(last) in beside else closest(last, beside)
    if near is not None:
        return one_of([beside[near]])
    other = None if parent and beside else closest(str(word), known)  # in a node that exists, nothing of another
    return one_of([other]) if other else ""


def one_of(options: Sequence[str]) -> str:
    """'Did you mean 'A', 'B' or 'C'?'."""
    quoted = [f"'{option}'" for option in options]
    return f"Did you mean {' or '.join([', '.join(quoted[:-1]), quoted[-1]] if quoted[1:] else quoted)}?"
