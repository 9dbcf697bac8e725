"""A conf/, an experiments/ and modules of a user's own, in the folder where the command is called; verbs as words."""

import os
import re
import shlex
import sys

import pytest
import yaml

from ablatent.cli import completion, help
from ablatent.cli.init_verb import write_starter
from ablatent.cli.words import set_places, with_verb
from ablatent.core import options
from ablatent.core.errors import ConfigError
from ablatent.core.source import tree_of
from ablatent.core.targets import check_module, class_of
from commands import ROOT, inline, python
from pages import DOCS, files_in

VERBS = sorted(p.stem for p in (ROOT / "conf/do").glob("*.yaml"))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The folder of do=init with a sampler that takes the place of ddim, as the current folder."""
    folder = tmp_path / "mine"
    write_starter(str(folder))
    ddim = yaml.safe_load((ROOT / "conf/sampler/ddim.yaml").read_text())
    (folder / "conf/sampler/ddim.yaml").write_text(yaml.safe_dump({**ddim, "eta": 0.25}))
    for name in (options.ROOT_VARIABLE, options.OWN_VARIABLE, options.SEARCHPATH_VARIABLE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.chdir(folder)
    yield folder
    for name in ("my_sampler", "my_data"):
        sys.modules.pop(name, None)


def composed(folder, *words):
    done = inline(folder, "--cfg", "job", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return yaml.safe_load(done.stdout)


def test_options_of_ones_own_are_added_and_come_first(project):
    (project / "model").mkdir()  # a folder of the user's with the name of a key is no group
    (project / "model" / "x.yaml").write_text("a: 1\n")
    config = composed(project, "experiments=mine", "sampler=mine", "sampler.steps=3")
    assert config["sampler"]["_target_"] == "my_sampler.MySampler" and config["data"]["_target_"] == "my_data.MyData"
    assert config["title"] == "A sampler of my own"
    assert composed(project, "sampler=ddim")["sampler"]["eta"] == 0.25
    assert composed(ROOT, "sampler=ddim")["sampler"]["eta"] == 0.0, "the repository itself has nothing of one's own"
    done = inline(project, "plan", "sampler=mien")
    assert done.returncode == 2 and "Did you mean 'mine'?" in done.stdout
    assert f"Looked for in conf/sampler, {ROOT}/conf/sampler." in done.stdout
    done = inline(project, "plan", "sampler=mine", "sampler.rr=1")
    assert done.returncode == 2 and "Did you mean 'sampler.r'" in done.stdout
    done = inline(project, "sample", "model=nothing")
    assert done.returncode == 2 and "model: expected" in done.stdout


def test_help_and_completion_have_them(project):
    set_places(ROOT, [])
    page = help.page(ROOT)
    assert "mine" in page.split("  sampler ")[1].split("  schedule ", maxsplit=1)[0] and "experiments" in page
    assert str(project / "conf/sampler/mine.yaml") in help.page(ROOT, ["sampler=mine"])
    assert completion.candidates("ablatent plan sampler=mi") == ["sampler=mine"]
    assert completion.candidates("ablatent experiments=mi") == ["experiments=mine"]


def test_classes_beside_conf_may_be_named_in_a_notebook_too(project):
    assert options.own_folder() == project == options.project_folders()[0]
    assert dict(options.options_of("data"))["mine"]["_target_"] == "my_data.MyData"


@pytest.mark.parametrize("file", ["README.md", ""])
def test_a_config_of_ones_own_and_a_folder_in_use_are_refused(project, file):
    with pytest.raises(ConfigError, match="Nothing was written"):
        write_starter(str(project / file))
    (project / "conf/config.yaml").write_text("a: 1\n")
    done = inline(project, "status")
    assert done.returncode == 2 and "conf/config.yaml: expected no such file" in done.stdout


def test_starter_files_fit_the_style_of_the_package():
    for file in (ROOT / "src/ablatent/cli/starter").rglob("*.txt"):
        assert all(len(line) <= 120 for line in file.read_text().splitlines()), file
        if file.name.endswith(".py.txt"):
            compile(file.read_text(), file.name, "exec")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_a_word(verb):
    assert with_verb(ROOT, [verb, "a=b"]) == [f"do={verb}", "a=b"]
    assert with_verb(ROOT, ["-m", "a=b,c", verb]) == ["-m", "a=b,c", f"do={verb}"]
    assert with_verb(ROOT, ["--cfg", "job", "do=" + verb]) == ["--cfg", "job", "do=" + verb]
    assert help.page(ROOT, with_verb(ROOT, [verb])) == help.page(ROOT, [f"do={verb}"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plna"], "Did you mean 'plan'.* Looked for in conf/do"),
        (["plan", "status"], "one verb; got 'plan and status'"),
        (["plan", "do=run"], "one verb; got 'plan and run'"),
        (["zzzz"], "KEY=VALUE"),
    ],
)
def test_words_that_are_no_verb(words, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=message):
        with_verb(ROOT, words)


COMPLETIONS = {
    "first_stage=": [
        "first_stage=fsq",
        "first_stage=identity",
        "first_stage=kl",
        "first_stage=pretrained",
        "first_stage=vq",
    ],
    "-m first_stage=kl,v": ["first_stage=kl,vq"],
    "pl": ["plan"],
    "do=pl": ["do=plan"],
    "plan resu": [],
    "sample mo": ["model="],
    "sampler=dpm_solver sampler.st": ["sampler.steps=", "sampler.start="],
    "first_stage.loss.pixel": ["first_stage.loss.pixel=", "first_stage.loss.pixel_weight="],
    "report fir": [],
    "--cfg ": [],
    "--vers": ["--version"],
    "seed=1 diff": ["diffusion."],
    "preset=paper/celebahq_ldm4": ["preset=paper/celebahq_ldm4"],
}


@pytest.mark.parametrize("line", COMPLETIONS)
def test_completion(line, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert completion.candidates(f"ablatent {line}") == COMPLETIONS[line]


def test_the_folder_of_the_command_is_set_for_its_children(project, monkeypatch):
    monkeypatch.setenv(options.OWN_VARIABLE, "/elsewhere")  # of a command that started this one
    set_places(ROOT, ["+hydra.searchpath=[file:///a/conf,file:///b]"])
    assert os.environ[options.OWN_VARIABLE] == str(project) and str(project) == sys.path[-1]
    assert options.conf_folders() == [project / "conf", ROOT / "conf", *map(type(project), ("/a/conf", "/b"))]


MISTAKES = {
    "my_samplr.MySampler": ("", "Did you mean 'my_sampler'"),
    "nowhere_at_all.X": ("", "There is no such module: it stands beside conf/"),
    "statistics.X": ("class X: ...\n", r"statistics\.py is hidden by /\S+: give it another name"),
    "numpy.ndarray": ("", "subclass of it in a module of your own"),
    "own_import.X": (
        "import os\nimport nothing_like_this\n",
        r"own_import\.py, line 2: ModuleNotFoundError: No module",
    ),
    "own_other.X": ("class Y: ...\n", "has no attribute 'X'"),
    "own_abstract.X": (
        "from ablatent.data.base import ImageData\nclass X(ImageData): ...\n",
        "expected a class that defines all_rows, annotate, content, images",
    ),
}
"""What a `_target_` names → text of its module beside conf/, none where nothing is written; part of the message."""


@pytest.mark.parametrize("target", MISTAKES)
def test_a_class_that_cannot_be_used_is_refused_with_its_place(target, project, monkeypatch):
    module, (text, message) = target.rpartition(".")[0], MISTAKES[target]
    if text:
        (project / f"{module}.py").write_text(text)
    monkeypatch.setattr(sys, "path", [*sys.path, str(project)])
    with pytest.raises(ConfigError, match=message):
        class_of({"_target_": target})


def test_files_that_cannot_be_read_are_named_with_their_line(project, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(project)])
    (project / "own_syntax.py").write_text("x = 1\ndef (\n")
    with pytest.raises(ConfigError, match=r"own_syntax\.py: expected Python that can be read; got 'line 2: def \('"):
        tree_of("own_syntax")
    (project / "conf/sampler/bad.yaml").write_text("steps: 1\n - x: [\n")
    done = inline(project, "plan", "sampler=bad")
    assert done.returncode == 2 and "conf/sampler/bad.yaml: expected YAML; got 'line 2" in done.stdout, done.stdout
    (project / "conf/schedules").mkdir()
    done = inline(project, "plan", "schedule=mine")
    assert "The folder conf/schedules is no group: its name would be conf/schedule." in done.stdout
    with pytest.raises(ConfigError, match="beside your conf/"):
        check_module("schedule._target_", "nowhere_at_all")


PARTS = ("data/stripes", "schedule/geometric", "sampler/dpm_solver_2s", "conditioner/stripe_width", "task/redraw")
SMALLER = ["first_stage=identity", "perceptual@evaluation.perceptual=none", "tracking=none", "runtime=cpu"]


def as_in_own_folder(files):
    """The files of PARTS among those of the pages, by name, as docs/own-options.md has them stand in a folder."""
    own = {}
    for part in PARTS:
        name = f"conf/{part}.yaml"
        (module,) = re.findall(r"^_target_: ablatent\.(\w+\.\w+)\.\w+$", files[name], re.M)
        own[name] = re.sub(r"^_target_: ablatent\.\w+\.", "_target_: ", files[name], flags=re.M)
        own[f"{module.partition('.')[2]}.py"] = files[f"src/ablatent/{module.replace('.', '/')}.py"]
    return own


@pytest.mark.slow
def test_options_of_the_pages_in_an_empty_folder(tmp_path):
    """The commands of docs/own-options.md: each option passes do=check, all five are planned, trained and used."""
    for name, text in as_in_own_folder(files_in((DOCS / "extending").glob("*.md"))).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert len(list(tmp_path.rglob("*.*"))) == 2 * len(PARTS)
    fence = next(
        f for f in re.findall(r"^```\n(.*?)^```$", (DOCS / "own-options.md").read_text(), re.M | re.S) if PARTS[0] in f
    )
    shown = [shlex.split(line.removeprefix("ablatent ")) for line in fence.splitlines()]
    environment = {options.SEARCHPATH_VARIABLE: "", "OMP_NUM_THREADS": "1"}
    outputs = []
    for words in shown:
        sweeps = sorted(path.name for path in tmp_path.glob("store/sweeps/*"))
        words = [word.replace("SWEEP", sweeps[-1] if sweeps else "") for word in words]
        words += SMALLER if "preset=tiny" in words else ["out=drawn"] if words[0] == "sample" else []
        done = python(tmp_path, "-m", "ablatent", *words, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout)
    checks = [text for text in outputs if re.search(r"(\d+) of \1 invariants hold$", text, re.M)]
    assert [re.findall(r"^(\S+): \d+ of", text, re.M)[0] for text in checks] == list(PARTS)
    following = [line for text in outputs for line in re.findall(r"^next: ablatent (.*)$", text, re.M)]
    assert len(following) == len(outputs) - 1 and not [line for line in following if re.match(r"check|plan", line)]
    assert "error of brightness" in outputs[-2] and len(list((tmp_path / "drawn").glob("0*.png"))) == 2
