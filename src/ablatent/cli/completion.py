"""Completions for shells, from the files of conf/ alone: Hydra's own, of the same option, compose a job for each.

`eval "$(ablatent -sc install=bash)"` (zsh: the same with zsh; fish: `ablatent -sc install=fish | source`).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablatent.cli.help import UNTYPED, defaults_of, groups_of, say
from ablatent.cli.words import WITH_VALUE, set_places
from ablatent.core.declared import declared
from ablatent.core.errors import ConfigError
from ablatent.core.options import command_root, option_files, read_yaml

WORDS = ("-sc", "--shell-completion")
LINE = "COMP_LINE"
"""Environment variable with the line that is completed, up to the cursor."""
FLAGS = ("-m", "--multirun", "--help", "--version", "--weights", "--cfg", "--hydra-help", "--shell-completion")
SCRIPTS = {
    "bash": r"""_ablatent() {
    local line="${COMP_LINE:0:COMP_POINT}" word before
    word="${line##* }"
    before="${word%"${word##*[$COMP_WORDBREAKS]}"}"  # what bash does not replace
    mapfile -t COMPREPLY < <(COMP_LINE="$line" "${COMP_WORDS[0]/#\~/$HOME}" -sc query=bash 2>/dev/null)
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} != *[=.] ]] || compopt -o nospace 2>/dev/null
}
complete -o default -F _ablatent ablatent
""",
    "zsh": r"""_ablatent() {
    local -a found
    found=("${(@f)$(COMP_LINE="$LBUFFER" ${~words[1]} -sc query=zsh 2>/dev/null)}")
    compadd -S '' -- ${(M)found:#*[=.]}
    compadd -- ${found:#*[=.]} || _files
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _ablatent ablatent
""",
    "fish": r"""function __ablatent_complete
    set -l words (commandline -opc)
    env COMP_LINE=(commandline -cp | string collect) $words[1] -sc query=fish 2>/dev/null
end
complete -c ablatent -a '(__ablatent_complete)'
""",
}


def wanted(arguments: Sequence[str]) -> bool:
    """Whether the arguments of a command line ask for completions."""
    return any(word in WORDS for word in arguments)


def show(root: Path, arguments: Sequence[str]) -> int:
    """Print what a shell asks for; the exit code. arguments: -sc and install=SHELL or query=SHELL."""
    request, _, shell = next((a for a in arguments if a not in WORDS), "").partition("=")
    if request == "query":
        try:
            set_places(root, [])
        except ConfigError:  # the command itself says so
            return 2
        return say("".join(f"{word}\n" for word in candidates(os.environ.get(LINE, ""))))
    if request == "install" and shell in SCRIPTS:
        return say(SCRIPTS[shell])
    expected = " or ".join([", ".join(f"install={name}" for name in [*SCRIPTS][:-1]), f"install={[*SCRIPTS][-1]}"])
    return say(f"error {ConfigError(WORDS[1], expected, f'{request}={shell}')}\n", 2)


def candidates(line: str) -> list[str]:
    """What the last word of a command line may become. line: of a shell, up to the cursor."""
    before, _, word = line.rpartition(" ")
    words = before.split()[1:]
    if words and words[-1] in WITH_VALUE:
        return []
    if word.startswith("-"):
        found = list(FLAGS)
    elif "=" in word:
        found = list(_values(word))
    else:
        found = [*_verbs(words), *_keys(words, word)]
    return [f for f in dict.fromkeys(found) if f.startswith(word)]


def _values(word: str) -> Iterator[str]:
    """GROUP=OPTION for all options, behind those that the word has already, with commas."""
    key, _, typed = word.partition("=")
    group, (*listed, _) = key.lstrip("+").partition("@")[0], typed.split(",")
    for option in option_files(group) if group else ():
        if option not in listed:
            yield f"{key}={','.join([*listed, option])}"


def _verbs(words: Sequence[str]) -> list[str]:
    """The verbs, where none is typed yet."""
    return [] if _verb(words) else list(option_files("do"))


def _verb(words: Sequence[str]) -> str:
    """The verb that is typed among the words; empty for none."""
    verbs = option_files("do")
    return next((verb for w in words if (verb := w.removeprefix("do=")) in verbs), "")


def _keys(words: Sequence[str], word: str) -> Iterator[str]:
    """Groups and keys with =, nodes with a dot: at the top, or below the key before the last dot of the word."""
    node: Any = _top(words)
    parent, dot, _ = word.lstrip("+").rpartition(".")
    groups = [] if dot else [g for g in groups_of(command_root()) if _reads(words, g)]
    yield from (f"{group}=" for group in [*groups, *([] if dot or _verb(words) else ["do"])])
    for part in parent.split(".") if dot else ():
        node = node.get(part) if isinstance(node, Mapping) else None
    for key, value in node.items() if isinstance(node, Mapping) else ():
        if key not in UNTYPED and (dot or (key not in groups and key != "hydra") or isinstance(value, Mapping)):
            yield f"{parent}{dot}{key}{'.' if isinstance(value, Mapping) else '='}"


def _top(words: Sequence[str]) -> dict[str, Any]:
    """The configuration as the files of the chosen options have it: each under its group, and the verb's own keys."""
    root = command_root()
    typed = dict(w.partition("=")[::2] for w in words if "=" in w)
    verb = _verb(words) or "run"
    config = {key: value for key, value in read_yaml(root / "conf" / "config.yaml").items() if key != "hydra"}
    groups = groups_of(root)
    chosen = {group: typed.get(group, option).split(",")[0] for group, option in defaults_of(root).items()}
    nodes = {g: _node(g, option) for g, option in chosen.items() if g in groups and g != "experiments"}
    there = {**config, **nodes}
    return {**{key: node for key, node in there.items() if _reads(words, key)}, **_node("do", verb)}


def _node(group: str, option: str) -> dict[str, Any]:
    """The keys of an option's file, with those of the options of its group that it builds on."""
    files = option_files(group)
    node = (read_yaml(files[option]) or {}) if option in files else {}
    bases = [entry for entry in node.get("defaults", ()) if isinstance(entry, str) and entry in files]
    return {key: value for part in (*(_node(group, b) for b in bases), node) for key, value in part.items()}


def _reads(words: Sequence[str], key: str) -> bool:
    """Whether the typed verb reads a key of a job."""
    verb = _verb(words)
    reads = declared(read_yaml(option_files("do")[verb])["verb"], "reads", ()) if verb else ()
    return not reads or key in reads
