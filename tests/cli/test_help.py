"""`--help`: what it lists is what conf/ has, at once."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ablatent.cli import help
from ablatent.core.errors import ConfigError
from ablatent.core.options import read_yaml
from commands import ROOT

VERBS = sorted(p.stem for p in (ROOT / "conf/do").glob("*.yaml"))
NO_GROUPS = {"hydra", "recipe", "do"}


def listed(page: str) -> dict[str, set[str]]:
    """Group → the options that the page lists."""
    section = page.split("Groups and their options")[1].split("Read on", maxsplit=1)[0]
    rows = re.findall(r"^  ([a-z_]+)( .*(?:\n {19}.*)*)", section, re.MULTILINE)
    return {group: {o.strip(" *") for o in " ".join(text.split()).split(": ")[-1].split(",")} for group, text in rows}


def test_lists_every_group_option_and_verb() -> None:
    page = help.page(ROOT)
    found = listed(page)
    expected = {
        folder.name: {p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml")}
        for folder in [*(ROOT / "conf").iterdir(), ROOT / "experiments"]
        if folder.is_dir() and folder.name not in NO_GROUPS
    }
    assert found == expected
    assert re.findall(r"^  do=(\w+) +[A-Z]", page, re.MULTILINE) == VERBS
    for group, option in {"first_stage": "kl", "weighting": "v", "do": "run"}.items():
        assert group == "do" or f"{option}*" in re.search(rf"^  {group} .*(?:\n {{19}}.*)*", page, re.MULTILINE)[0]


def test_a_new_option_is_listed(tmp_path: Path) -> None:
    for group in ("sampler", "do"):
        (tmp_path / "conf" / group).mkdir(parents=True)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "conf/config.yaml").write_text("defaults: [sampler: old]\n")
    (tmp_path / "conf/sampler/old.yaml").write_text("steps: 1\n")
    (tmp_path / "conf/sampler/new.yaml").write_text("# The newest.\n_target_: mine.New\nsteps: 3 # few\n")
    assert "from noise to latents: new, old*" in help.page(tmp_path)
    assert help.page(tmp_path, ["sampler=new"]).splitlines()[1:] == ["# The newest.", "", "steps: 3 # few"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_shows_its_keys_with_their_comments(verb: str) -> None:
    page = help.page(ROOT, [f"do={verb}"])
    shown = yaml.safe_load(page.partition("\n\n")[2].partition("It also reads")[0]) or {}
    node = read_yaml(ROOT / f"conf/do/{verb}.yaml")
    bases = [read_yaml(ROOT / f"conf/do/{b}.yaml") for b in node.get("defaults", []) if b != "_self_"]
    keys = {k for n in (*bases, node) for k in n} - {"do", "verb", "defaults"}
    assert set(shown) == keys
    comments = re.findall(r"^ *# (?!@package)(.*)", (ROOT / f"conf/do/{verb}.yaml").read_text(), re.MULTILINE)
    assert comments and all(comment in page for comment in comments)


def test_what_an_option_chooses_by_its_defaults() -> None:
    assert "It also chooses: preset=cpu." in help.page(ROOT, ["preset=fashion"])
    assert "extractor=inception_192" in help.page(ROOT, ["evaluation=quick"])
    assert "Groups and their options" in help.page(ROOT, ["sampler=glob(dd*)"])


def test_an_option_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'sample'"):
        help.page(ROOT, ["do=smple"])


@pytest.mark.slow
def test_the_command_imports_nothing_slow() -> None:
    script = (
        f"import sys, runpy; sys.argv = ['run.py', '-h']\n"
        f"try: runpy.run_path({str(ROOT / 'run.py')!r}, run_name='__main__')\n"
        "except SystemExit as e: assert e.code == 0\n"
        "slow = {'hydra', 'omegaconf', 'torch', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "do=sample" in done.stdout
