"""The pages of docs hold: their commands, the keys and options that they name, what is generated, and the site."""

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from commands import ROOT
from pages import DOCS, PAGES, files_in, parts

EXAMPLES = {name.removesuffix(".yaml") for name in files_in(PAGES) if name.endswith(".yaml")}
"""Options whose YAML stands in a page, conf/GROUP/NAME or experiments/NAME: tests/extending runs commands with them."""
ELSEWHERE = {
    "samplers.md": {"set_alpha_to_one", "steps_offset", "use_clipped_model_output", "sample_max_value"},
    "clusters-ray.md": {"max_retries"},
    "clusters.md": {"executor"},
    "verdicts.md": {"paired"},
    "api.md": {"echo", "wait"},
    "own-options.md": {"sampler"},
    "extending/metric.md": {"shown_in"},
}
"""Page → names before a `=` that are arguments of Python; executor=lab and sampler=mine are files of the reader's."""


def is_example(word: str) -> bool:
    """Whether a word chooses an option that the pages on extending show, or stands for any option."""
    target, _, values = word.lstrip("+").partition("=")
    group = target.partition("@")[0]
    folder = "experiments" if group == "experiments" else f"conf/{group}"
    return group == "stage" or values == "NAME" or any(f"{folder}/{value}" in EXAMPLES for value in values.split(","))


@cache
def keys() -> frozenset[str]:
    """All keys of conf/, as docs/configuration.md has them, which is generated."""
    return frozenset(re.findall(r"^\| `([\w.]+)`", (DOCS / "configuration.md").read_text(), re.M))


@cache
def options(group: str) -> frozenset[str]:
    """The options of a config group; empty where there is none of that name."""
    folder = ROOT / group if group == "experiments" else ROOT / "conf" / group
    return frozenset(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml"))


def is_key(target: str) -> bool:
    """Whether there is such a key, in full or by its last part. Names of metrics, parts and kinds: any."""
    named = re.sub(r"^(evaluation\.metrics|conditioner\.parts|executor\.resources)\.\w+", r"\1.NAME", target)
    last = {key.rpartition(".")[2] for key in keys()}
    return named in keys() | last or (".NAME" in named and named.rpartition(".")[2] in last)


def unknown(span: str) -> Iterator[str]:
    """What of a span of code, words of KEY=VALUE, names no key and no option."""
    for word in re.findall(r"(?:^| )'?([+~]?[a-z][\w./@]*=[^ ]*)", span):
        target, _, value = word.strip("'").partition("=")
        there = options(target.lstrip("+~").partition("@")[0])
        if is_example(word) or target.startswith("hydra"):
            continue
        listed = re.fullmatch(r"(?:choice\()?([\w/,-]+)\)?", value)
        if (there and listed and not set(listed[1].split(",")) <= there | {"OPTION"}) or (
            not there and not is_key(target)
        ):
            yield word


def test_keys_and_options_in_sentences_are_there() -> None:
    wrong = []
    for page in PAGES:
        name = page.relative_to(DOCS).as_posix()
        if name == "configuration.md":
            continue
        for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", parts(page)[0]):
            if re.match(r"(?:do=\w+ )?'?[+~]?[a-z][\w./@]*=\S", span) and "(" not in span.partition("=")[2][:20]:
                found = [w for w in unknown(span) if w.partition("=")[0] not in ELSEWHERE.get(name, ())]
                wrong += [f"{name}: {word}" for word in found]
    assert not wrong, "\n".join(sorted(set(wrong)))


PLACES = {"metric": "evaluation.metrics.NAME", "extractor": "evaluation.extractor", "do": "", ".": ""}
"""Folder of conf/ → the key at which its options stand, where that is not its name."""
OBJECTS = {"do", "verb", "hydra", "stages", "first_stage.loss.perceptual", "tracking.dir"}
"""Nodes that are chosen by groups and verbs, and the folder of trackers, which is the store's."""


def leaves_of(path: str, node: object) -> Iterator[str]:
    """The keys below a node of a YAML file."""
    if isinstance(node, dict) and node:
        for name, inner in node.items():
            if name not in ("_target_", "defaults"):
                yield from leaves_of(f"{path}.{name}".lstrip("."), inner)
    else:
        yield path


def test_the_reference_has_every_key_of_conf() -> None:
    missing = set()
    for file in (ROOT / "conf").rglob("*.yaml"):
        group = file.relative_to(ROOT / "conf").parent.as_posix().split("/")[0]
        if group not in ("preset", "recipe", "hydra"):
            node = yaml.safe_load(file.read_text())
            for key in leaves_of(PLACES.get(group, group), node):
                named = re.sub(r"^executor\.resources\.\w+", "executor.resources.default", key)
                listed = any(there == named or there.startswith(f"{named}.") for there in keys())
                if not listed and key not in OBJECTS and key.split(".")[0] not in OBJECTS:
                    missing.add(key)
    assert not missing, sorted(missing)


def test_misspelt_keys_and_options_are_found() -> None:
    assert list(unknown("sampler=ddim sampler.stepz=5 first_stage.init=kmeans")) == ["sampler.stepz=5"]
    assert list(unknown("sampler=ddimm")) == ["sampler=ddimm"]


def test_drawings_are_as_their_sources_say() -> None:
    draw = runpy.run_path(str(DOCS / "images" / "draw.py"))
    for name in ("stages", "floor_plan"):
        drawn = (DOCS / "images" / f"{name}.svg").read_text()
        assert drawn == draw[name](), "draw it again: python docs/images/draw.py"


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Internal links and their anchors, references to Python objects and equations are checked by the build."""
    if find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed: pip install -c constraints.txt -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert not [line for line in done.stderr.splitlines() if line.startswith(("WARNING", "ERROR"))], done.stderr
    site = tmp_path / "site"
    assert "<math" in (site / "maths.html").read_text()
    assert (site / "repository/experiments/results/first_stage/figures/samples.png").is_file()
    assert "DPMSolver" in (site / "reference/samplers.html").read_text()
    fetched = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//""")
    assert not [p for p in site.rglob("*.html") if fetched.search(p.read_text())], "a page needs the network"
