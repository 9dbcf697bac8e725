"""The words of a command line before anything slow is imported: its folders, and the verb that is typed as a word."""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.options import (
    OWN_VARIABLE,
    ROOT_VARIABLE,
    SEARCHPATH_VARIABLE,
    looked_for,
    option_files,
    own_folder,
    own_folder_at,
)

WITH_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--info", "-i", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--experimental-rerun", "--shell-completion", "-sc"),
)
"""Options of Hydra whose value is the next word."""


def set_places(root: Path, arguments: Sequence[str]) -> None:
    """Set the folders of this command, for it and the processes that it starts: of its options, and of the user's own.

    root: the folder with the command's conf/ and experiments/. The user's own folder, the current one where it has a
    conf/ or experiments/, is importable from now on. Raises ConfigError for one that has a config.yaml.
    """
    own = own_folder_at(Path.cwd(), root)
    os.environ[ROOT_VARIABLE] = str(root)
    os.environ[OWN_VARIABLE] = "" if own is None else str(own)
    os.environ[SEARCHPATH_VARIABLE] = os.pathsep.join(typed_searchpath(arguments))
    make_importable()


def make_importable() -> None:
    """Put the user's own folder, and src/ in it, on the search path of modules: behind all that is installed, which it
    cannot hide."""
    own = own_folder()
    for folder in [] if own is None else [own, own / "src"]:
        if folder.is_dir() and str(folder) not in sys.path:
            sys.path.append(str(folder))


def typed_searchpath(arguments: Iterable[str]) -> list[str]:
    """The folders of hydra.searchpath=[file://FOLDER, …] as typed."""
    values = [a.partition("=")[2] for a in arguments if a.lstrip("+").startswith("hydra.searchpath=")]
    return [path for value in values for path in re.findall(r"file://([^,\]'\"]+)", value)]


def with_verb(root: Path, arguments: Sequence[str]) -> list[str]:
    """The arguments with do=VERB in place of the verb that is typed as a word.

    Raises ConfigError for a word that is no verb, and for several verbs.
    """
    places, verbs = list(_bare(arguments)), option_files("do", root)
    words = [arguments[place] for place in places]
    for word in words:
        if word not in verbs:
            near = did_you_mean(word, verbs) or "All else on a command line is KEY=VALUE, or begins with -."
            expected = f"a verb ({', '.join(verbs)}) or KEY=VALUE"
            raise ConfigError("do", expected, word, f"{near} {looked_for('do', root)}")
    typed = [a.partition("=")[2] for a in arguments if a.startswith("do=")]
    if len(words) > 1 or (words and typed):
        raise ConfigError("do", "one verb", " and ".join([*words, *typed]), "Leave all but one out.")
    return [f"do={a}" if place in places else a for place, a in enumerate(arguments)]


def _bare(arguments: Sequence[str]) -> Iterator[int]:
    """The places of words that are no options of the command, their values, or overrides."""
    before = ""
    for place, word in enumerate(arguments):
        if re.fullmatch(r"\w[^=]*", word) and before not in WITH_VALUE:
            yield place
        before = word
