"""Ids and keys have one form wherever they come from: nothing that they name lies outside of the store."""

import json
import re

import pytest
from report_store import build

from ablatent.core.errors import ConfigError, DataError
from ablatent.store.identity import FileName, Key, SweepId
from commands import ROOT, inline

EVIL = [
    "../../evil",
    "/tmp/evil",
    "a/../b-00",
    "..",
    ".",
    "",
    "diffusion-../x",
    "diffusion-00/..",
    "diffusion-00\n",
    "é-00",
]


@pytest.mark.parametrize("text", [*EVIL, None, 3, ["x"], {}])
def test_other_forms_are_refused(text):
    for kind in (Key, SweepId):
        with pytest.raises(DataError, match=f"expected {re.escape(kind.FORM)}"):
            kind(text)
        with pytest.raises(ConfigError, match=r"^here: expected"):
            kind.typed(text, "here")


@pytest.mark.parametrize("text", ["../a", "/a", "a/../b", "a//b", "a/", "", ".", "..", "a\0", "./a"])
def test_file_names_stay_below_their_folder(text):
    with pytest.raises(DataError):
        FileName(text)


def test_the_forms_that_there_are():
    for text in ("diffusion-0123abcd", "noisy_classifier-00", "my-own-kind-00"):
        assert Key(text) == text and Key(text).kind == text.rpartition("-")[0]
    assert SweepId("20261124-101500-a1b2") == "20261124-101500-a1b2"
    for text in ("images.npy", "panels/a-0001.png", "..a/b..", "été 1.png"):
        assert FileName(text) == text


def test_keys_and_ids_become_paths_in_one_place():
    """A folder of the store is named in layout.py, and nowhere else."""
    folders = re.compile(r"""/ ["'](objects|work|locks|sweeps)["']""")
    found = [p.name for p in (ROOT / "src").rglob("*.py") if folders.search(p.read_text())]
    assert sorted(found) == ["artifacts.py", "layout.py", "status.py"], "beside: the root's own folders, as wholes"


COMMANDS = {
    "do=report sweep=../../evil": "sweep",
    "do=report sweep=/tmp/evil": "sweep",
    "do=status sweep=../../evil": "sweep",
    "do=sample model=../../evil:0": "model",
    "do=sample model=diffusion-../../evil": "model",
    "do=sample model=../evil-00": "model",
    "do=export path=out format=compvis key=diffusion-../../../evil": "key",
    "do=export path=out format=compvis key=/tmp/evil-00": "key",
    "do=plan preset=tiny data=digits diffusion.init_from=imported-../../evil": "diffusion.init_from",
    "do=plan preset=tiny data=digits first_stage=pretrained first_stage.key=first_stage-../../evil": "first_stage.key",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_leads_out_of_the_store_is_one_sentence(tmp_path, command):
    """Though there is a plan, and an object, at the other end."""
    here = tmp_path / "a" / "b"
    here.mkdir(parents=True)
    sweep = build(here / "store", {})
    (here / "store" / "FORMAT").write_text("2\n")
    for place in (tmp_path / "evil", here / "evil", tmp_path / "a" / "evil"):
        (here / "store" / "sweeps" / sweep).rename(
            place
        ) if not place.exists() and place.parent == here else place.mkdir()
    before = sorted(p for p in tmp_path.rglob("*") if "store" not in p.parts)
    done = inline(here, *command.split())
    output = (done.stdout + done.stderr).replace("\n", " ")
    assert done.returncode == 2 and "Traceback" not in output, output
    assert f"{COMMANDS[command]}: expected" in output, output
    assert sorted(p for p in tmp_path.rglob("*") if "store" not in p.parts) == before, "nothing is written"


def test_a_picture_and_a_plan_of_somebody_else_lead_nowhere(tmp_path):
    """Their words are no options of Hydra's, and go nowhere but to the model."""
    sweep = build(tmp_path / "store", {})
    (tmp_path / "store" / "FORMAT").write_text("2\n")
    next((tmp_path / "store" / "objects" / "diffusion").rglob("summary.json")).unlink()
    path = tmp_path / "store" / "sweeps" / sweep / "plan.json"
    plan = json.loads(path.read_text())
    evil = ["--config-dir=evil", "hydra.run.dir=evil", "hydra/launcher=evil", "+hydra.x=evil", "store.path=evil"]
    plan["jobs"][0]["overrides"] = [*evil, "preset=tiny", "data=digits"]
    path.write_text(json.dumps(plan))
    done = inline(tmp_path, "do=sample", f"model={sweep}:0", "runtime=cpu")
    output = done.stdout + done.stderr
    assert done.returncode != 0 and "expected this diffusion, whole" in output and "evil" not in output, output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store"]
