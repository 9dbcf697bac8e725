"""do=list, do=help and do=check, the line that names the next command, and -v."""

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ablatent.cli import guide_verbs, help, next_command
from ablatent.cli.check_verb import choosing
from ablatent.cli.option_rows import groups, split_option
from ablatent.core import signals
from ablatent.core.errors import ConfigError
from ablatent.core.here import PROGRAM
from ablatent.core.options import option_files
from ablatent.core.progress import console
from commands import ROOT, inline, run

MINE = '''
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from ablatent.core.errors import ConfigError
from ablatent.samplers.ddim import DDIM


@dataclass(frozen=True)
class Mine(DDIM):
    """DDIM by another name (Song et al. 2021, eq. 12)."""


@dataclass(frozen=True)
class Short(DDIM):
    """Leaves the last step out."""

    def times(self, schedule):
        return super().times(schedule)[:-1]
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's own: a module of samplers, and conf/ with an option of each."""
    folder = tmp_path / "own"
    (folder / "conf/sampler").mkdir(parents=True)
    (folder / "my_samplers.py").write_text(MINE)
    text = (ROOT / "conf/sampler/ddim.yaml").read_text()
    for name in ("Mine", "Short"):
        text_of = text.replace("ablatent.samplers.ddim.DDIM", f"my_samplers.{name}")
        (folder / f"conf/sampler/{name.lower()}.yaml").write_text(text_of)
    monkeypatch.syspath_prepend(folder)
    return folder


def test_the_page_of_an_option_says_what_declares_it() -> None:
    page = help.option_page(ROOT, "sampler", "ddim")
    assert "sampler.eta: 0.0   (a number from 0 to 1)\n      0: deterministic; 1: DDPM" in page
    assert re.search(r"^  paper +Song et al\. 2021, eq\. 12$", page, re.M)
    (example,) = re.findall(r"^Example: python run\.py (.*)$", page, re.M)
    assert shlex.split(example) == ["sampler=ddim", "sampler.eta=1", "do=plan"]
    for group in groups():
        for name in option_files(group):
            assert help.option_page(ROOT, group, name).startswith(f"{group}={name}   (")


@pytest.mark.parametrize(
    ("typed", "near"),
    [("samplr/ddim", "'sampler'"), ("sampler/dim", "'ddim'"), ("ddim", "'sampler/ddim'"), (None, "sampler/ddim")],
)
def test_an_option_that_does_not_exist_is_named_with_the_nearest(typed: str | None, near: str) -> None:
    with pytest.raises(ConfigError, match=near) as error:
        split_option(typed)
    assert error.value.key == "option"


def test_the_lists_have_what_the_folders_have() -> None:
    found = {row[0]: row for row in guide_verbs.experiments()}
    assert set(found) == {p.stem for p in (ROOT / "experiments").glob("*.yaml")} - {"all"}
    assert found["first_stage"][1:4] == (
        "KL against VQ",
        "Do VQ-regularised latents give better samples than KL-regularised ones, although they reconstruct worse?",
        "A",
    )
    assert found["first_stage"][4].endswith("inconclusive") and found["inpainting"][4] == ""
    assert ("tiny", "A whole job in under a minute on two cores: for tests and for trying a configuration out. Not for "
            "judging images.") in set(guide_verbs.presets())  # fmt: skip
    listed = {(group, name.strip("*")) for group, name, _ in guide_verbs.options()}
    assert listed == {(g, n) for g in groups() if g != "experiments" for n in option_files(g)}
    assert ("sampler", "ddim*") in {row[:2] for row in guide_verbs.options()}


def test_a_list_in_a_pipe_has_a_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    guide_verbs.show(("a", "b"), [("1", "[red]two\nlines"), ("3", "")])
    assert capsys.readouterr().out == "a\tb\n1\t[red]two lines\n3\t\n"


def test_a_check_puts_the_option_into_a_small_job() -> None:
    assert choosing("sampler/ddim", ["do=check"]) == ["preset=tiny", "sampler=ddim"]
    assert choosing("metric/fid", ["preset=demo"]) == ["+metric@evaluation.metrics.checked=fid"]
    with pytest.raises(ConfigError, match="a group of a job"):
        choosing("preset/tiny", [])


@pytest.mark.slow
def test_a_broken_sampler_outside_of_the_repository_fails(tmp_path: Path, own: Path) -> None:
    place = f"hydra.searchpath=[file://{own}/conf]"
    done = inline(tmp_path, "do=check", "option=sampler/short", place)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"steps_and_calls +FAIL +expected 2 times with steps=1, grid=trailing", done.stdout), done.stdout
    assert re.search(r"is_declared +pass", done.stdout) and "next:" not in done.stdout
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_a_sampler_outside_of_the_repository_passes_and_is_planned(tmp_path: Path, own: Path) -> None:
    place = f"hydra.searchpath=[file://{own}/conf]"
    env = {"PYTHONPATH": f"{own}:{ROOT / 'src'}"}
    done = run(tmp_path, "do=check", "option=sampler/mine", place, env=env, cold=True)
    assert done.returncode == 0 and "16 of 16 invariants hold" in done.stdout, done.stdout + done.stderr
    (line,) = re.findall(r"^next: python \S*run\.py (.*)$", done.stdout, re.M)
    assert shlex.split(line) == [place, "sampler=mine", "do=plan"]


def test_the_next_command_is_typed_as_this_one_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROGRAM, raising=False)
    typed = ["-m", "store.path=a b", "sampler=ddim"]
    assert next_command.next_command(["do=retry"], typed) == "python run.py do=retry 'store.path=a b'"
    monkeypatch.setenv(PROGRAM, "ablatent")
    with console.capture() as captured:
        next_command.tell_next(["do=status", "title=[red]\x1b"], [])
        next_command.tell_next([], [])
        with next_command.one_of_several():
            next_command.tell_next(["do=status"], [])
    assert captured.get() == "next: ablatent do=status 'title=[red]\\x1b'\n"
    with next_command.going_on(["do=resume", "sweep=x"], typed):
        assert signals.message(signal.SIGTERM).endswith("To go on: ablatent do=resume sweep=x 'store.path=a b'")
    assert "ablatent do=resume" not in signals.message(signal.SIGTERM)


@pytest.mark.slow
def test_a_finished_sweep_lists_its_models_and_names_the_next_command(swept: tuple[Path, subprocess.CompletedProcess]):
    folder, done = swept
    (line,) = re.findall(r"^next: python \S*run\.py (.*)$", done.stdout, re.M)
    sweep = line.partition("sweep=")[2]
    assert line == f"do=status sweep={sweep}" and (folder / "store/sweeps" / sweep).is_dir()
    listed = run(folder, "do=list", "what=models", "-v").stdout
    assert re.search(rf"^{sweep}:1\tfirst_stage=vq\tdigits 32\t[\d.]+ MB\t\d{{4}}-\d\d-\d\d\t\S+", listed, re.M), listed
    assert re.search(r"^ +store: /\S+/store$", listed, re.M)


@pytest.mark.slow
def test_lists_and_pages_import_no_torch(tmp_path: Path) -> None:
    for words in (["do=list", "what=options"], ["do=help", "option=network/unet"]):
        script = (
            f"import sys, runpy; sys.argv = ['run.py', *{words!r}]\n"
            f"try: runpy.run_path({str(ROOT / 'run.py')!r}, run_name='__main__')\n"
            "except SystemExit as e: assert not e.code, e.code\n"
            "assert 'torch' not in sys.modules"
        )
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
