"""`python run.py --help`: the page of the command line, and of each verb and option, read from the files of conf/.

Imports neither Hydra nor torch, so that it comes at once. Hydra's own page is that of --hydra-help.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ablatent.cli.option_page import described, row_of
from ablatent.cli.output import PipedOutput
from ablatent.cli.words import set_places, with_verb
from ablatent.core.declared import declared
from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.here import program
from ablatent.core.options import EXPERIMENTS, conf_folders, option_files, read_yaml
from ablatent.stages.job_fields import job_fields

WORDS = ("--help", "-h")
INSIDE = {"metric": "+metric@evaluation.metrics.NAME=OPTION", "extractor": "extractor@evaluation.extractor=OPTION"}
"""Groups whose options stand inside another one → how one is chosen."""
HIDDEN = ("hydra", "recipe", "do")
"""Folders of conf/ that are no groups to choose from: Hydra's own, what presets are made of, and the verbs."""
AS_WRITTEN = ("do", "preset", "recipe", "experiments")
"""Groups whose pages show the files as they are: verbs, and options that hold values of other options."""
UNTYPED = ("do", "verb", "defaults", "_target_")
"""Keys of files that nobody types."""

SCRIPT = "python run.py"
"""How this page calls the command; what is printed has the words by which it was called."""

HEAD = """\
Ablations of latent diffusion models. A job is trained, sampled and scored from what its options say; what a store has
already is not built again.

python run.py [VERB] [-m] [GROUP=OPTION …] [KEY=VALUE …]

  -m                 a sweep: every combination of the values that are given with commas
  VERB               short for do=VERB; without one: run
  --help             this page; with VERB or GROUP=OPTION, their keys (also: do=help option=GROUP/OPTION)
  --version          of this package; --weights: the packages that carry pretrained weights (docs/install.md)
  -v                 say what is found where: files of options, stages, weights
  --cfg job          print the composed configuration, every key of it; --hydra-help: Hydra's own options

Examples
  python run.py preset=tiny                                        one job, under a minute: to try things out
  python run.py -m first_stage=kl,vq schedule=linear,cosine        a sweep: 4 jobs, whose first stages are shared
  python run.py -m first_stage=kl,vq do=plan                       what would be built, at what cost; builds nothing
  python run.py -m sampler.steps=5,10,50 'sampler=glob(dd*)'       new samples and scores of one model
  python run.py data=image_folder data.root=photos preset=images64 your own images
  python run.py -m experiments=first_stage                         a question with its sweep
  python run.py -m hydra/sweeper=sobol sampler.steps=range(5,50)   points of a space; optuna: a search (docs/search.md)
  python run.py do=sample model=SWEEP:JOB n=16                     images of a finished model
  python run.py status                                             what the store holds
  python run.py init path=my-project                               a folder for options of your own
"""
FOOT = """\
Read on: README.md, docs/using.md, docs/configuration.md (every key, with its type and range), docs/data.md,
docs/conditioning.md, docs/samplers.md, docs/own-options.md, docs/extending.md (options of your own). Keys are
commented in conf/.
"""


def wanted(arguments: Sequence[str]) -> bool:
    """Whether the arguments of a command line ask for help."""
    return any(word in WORDS for word in arguments)


def show(root: Path, arguments: Sequence[str]) -> int:
    """Print the page that these arguments ask for; the exit code. root: the folder with conf/ and experiments/."""
    try:
        set_places(root, arguments)
        text = page(root, with_verb(root, [word for word in arguments if word not in WORDS]))
    except ConfigError as e:
        return say(f"error {e}\n", 2)
    return say(as_called(text))


def as_called(text: str) -> str:
    """A page with its commands as this one was called."""
    return text.replace(SCRIPT, program())


def say(text: str, code: int = 0) -> int:
    """Print a text; the exit code, which is given."""
    out = PipedOutput(sys.stdout)
    out.write(text)
    out.flush()
    return code


def page(root: Path, words: Sequence[str] = ()) -> str:
    """The whole page; of the verb and options that the other words choose, where they choose some.

    Raises ConfigError for a verb or an option that does not exist.
    """
    groups = {**groups_of(root), "do": list(option_files("do", root))}
    chosen = []
    for word in words:
        group, given, names = word.lstrip("+").partition("=")
        group = group.partition("@")[0]
        if given and group in groups:
            for name in [] if "(" in names else names.split(","):  # not of glob(…)
                if name not in groups[group]:
                    known = ", ".join(groups[group])
                    raise ConfigError(group, f"one of {known}", name, did_you_mean(name, groups[group]))
                chosen.append(option_page(root, group, name))
    return "\n".join(chosen) if chosen else "\n".join([HEAD, _verbs(root), _groups(root), FOOT])


def groups_of(root: Path) -> dict[str, list[str]]:
    """Group → its options, those of folders below it included: all that a command line chooses from."""
    there = [folder for conf in conf_folders(root) if conf.is_dir() for folder in conf.iterdir() if folder.is_dir()]
    names = sorted({folder.name for folder in there} - {*HIDDEN, EXPERIMENTS})
    return {name: list(option_files(name, root)) for name in [*names, EXPERIMENTS]}


def _verbs(root: Path) -> str:
    """A line for each verb: what it does."""
    lines = ["Verbs (the keys of one: python run.py do=VERB --help)"]
    for name, file in option_files("do", root).items():
        about = _about(file)
        lines += row_of(f"do={name}", " ".join(line.removeprefix("#").strip() for line in about))
    return "\n".join([*lines, ""])


def _groups(root: Path) -> str:
    """A line for each group: its meaning, and its options, the default with an asterisk."""
    defaults, meanings = defaults_of(root), job_fields()
    lines = ["Groups and their options (*: the default; the keys of one: python run.py GROUP=OPTION --help)"]
    for group, options in groups_of(root).items():
        named = [f"{o}*" if o == defaults.get(group) else o for o in options]
        listed = ", ".join(sorted(named, key=lambda name: ("/" in name, name)))
        about = meanings[group].meaning if group in meanings else INSIDE.get(group, "")
        lines += row_of(group, f"{about}: {listed}" if about else listed)
    return "\n".join([*lines, ""])


def defaults_of(root: Path) -> dict[str, str]:
    """Group → the option that is chosen where none is typed."""
    entries = [entry for entry in read_yaml(root / "conf/config.yaml")["defaults"] if isinstance(entry, dict)]
    chosen = {group: option for entry in entries for group, option in entry.items() if " " not in group}
    # weighting: ${parameterization}
    return {g: str(chosen.get(o[2:-1], o)) if str(o).startswith("${") else str(o) for g, o in chosen.items()}


def option_page(root: Path, group: str, name: str) -> str:
    """The page of a verb or of an option: its keys with their values, and what declares them.

    Of verbs, presets and experiments, and of a class whose source is not there, as the file has them.
    """
    files = option_files(group, root)
    file = files[name]
    node: dict[str, Any] = read_yaml(file) or {}
    place = file.relative_to(root) if file.is_relative_to(root) else file
    head = [f"{group}={name}   ({place})", *_about(file)]
    declared_keys = None if group in AS_WRITTEN else described(group, name, file, node)
    if declared_keys is not None:
        chosen = [_chosen(group, e) for e in node.get("defaults", []) if e != "_self_"]
        return "\n".join(head) + "\n" + (f"It also chooses: {', '.join(chosen)}.\n" if chosen else "") + declared_keys
    texts = [text for key, text in _entries(file) if key not in UNTYPED]
    for base in node.get("defaults", []) if group == "do" else []:
        if base != "_self_":
            inherited = _entries(files[base])
            texts += [text for key, text in inherited if key not in UNTYPED and key not in node]
    lines = [*head, "", *texts]
    if group != "do" and (chosen := [_chosen(group, e) for e in node.get("defaults", []) if e != "_self_"]):
        lines += ["", "It also chooses: " + ", ".join(chosen) + "."]
    if group == "do":
        reads = declared(node["verb"], "reads", ())
        lines += ["", "It also reads: " + (", ".join(reads) or "all groups and keys of a job") + "."]
    return "\n".join(lines) + "\n"


def _chosen(group: str, entry: Any) -> str:
    """GROUP=OPTION of an entry of a file's defaults. group: that of the file."""
    place, option = (group, entry.partition("@")[0]) if isinstance(entry, str) else next(iter(entry.items()))
    return f"{place.removeprefix('override ').lstrip('/').partition('@')[0]}={option}"


def _entries(file: Path) -> Iterator[tuple[str, str]]:
    """(key, its lines with the comments before it) of a YAML file's entries at the top."""
    block: list[str] = []
    key = ""
    for line in file.read_text(encoding="utf-8").splitlines():
        starts = re.match(r"(\w+):", line)
        if line.startswith("# @package"):
            continue
        if key and (starts or line.startswith("#")):
            yield key, "\n".join(block).rstrip()
            block, key = [], ""
        block.append(line)
        key = starts[1] if starts else key
    if key:
        yield key, "\n".join(block).rstrip()


def _about(file: Path) -> list[str]:
    """The comment at the head of a file; empty where it belongs to a key that is shown with it."""
    key, text = next(_entries(file), ("", ""))
    return [line for line in text.splitlines() if line.startswith("#")] if key in UNTYPED else []
