"""Weights files of whatever kind are read by what they hold; what is no weights file is called what it is."""

import json
import os
import re
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from ablatent.core.errors import DataError
from ablatent.core.tensor_files import read_tensors, shards_of

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3, dtype=torch.bfloat16)}


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(torch.equal(found[k], STATE[k]) for k in STATE)


class Payload:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_payload_is_refused_and_not_executed(tmp_path: Path, legacy: bool) -> None:
    mark, file = tmp_path / "ran", tmp_path / "net.pth"
    payload = {"w": torch.ones(2), "x": Payload(mark)}
    torch.save(payload, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(DataError, match="nothing of it was executed"):
        read_tensors(file)
    assert not mark.exists()
    torch.load(file, weights_only=False)  # the payload is live: it runs where it is trusted
    assert mark.exists()


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.pth").write_bytes(b"not weights at all")
    (tmp_path / "junk.safetensors").write_bytes(b"not weights at all")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    for name in ("junk.pth", "junk.safetensors", "list.pth"):
        with pytest.raises(DataError, match=name):
            read_tensors(tmp_path / name)


def test_what_a_file_holds_is_seen_from_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "safetensors.ckpt").write_bytes(save(STATE))
    torch.save(STATE, tmp_path / "pickle.safetensors")
    torch.save(STATE, tmp_path / "old.safetensors", _use_new_zipfile_serialization=False)
    for name in ("safetensors.ckpt", "pickle.safetensors", "old.safetensors"):
        assert same(read_tensors(tmp_path / name))


PLACES = {
    "alone": STATE,
    "below state_dict": {"state_dict": STATE, "epoch": 3, "optimizer": {"lr": 0.1}},
    "nested twice": {"state_dict": {"state_dict": STATE, "step": 1}},
    "beside plain values": {**STATE, "epoch": 3, "name": "x", "betas": [0.9, 0.999], "best": None},
}


@pytest.mark.parametrize("place", PLACES)
def test_where_the_tensors_stand(tmp_path: Path, place: str) -> None:
    torch.save(PLACES[place], tmp_path / "net.ckpt")
    assert same(read_tensors(tmp_path / "net.ckpt"))


OTHERS = {
    "elsewhere": ({"model": STATE, "epoch": 3}, "the keys model, epoch. Save what holds the tensors (model)"),
    "both": ({**STATE, "optimizer": {"lr": 0.1}}, "the keys a.weight, b, optimizer"),
    "plain values": ({"epoch": 3}, "a dict with the keys epoch."),
    "nothing": ({}, "the keys none."),
    "a list": ([torch.ones(1)], "got list"),
}


@pytest.mark.parametrize("content", OTHERS)
def test_other_content_is_named_by_its_keys(tmp_path: Path, content: str) -> None:
    value, message = OTHERS[content]
    torch.save(value, tmp_path / "net.ckpt")
    with pytest.raises(DataError, match=re.escape(message)):
        read_tensors(tmp_path / "net.ckpt")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
STRANGE = {
    "empty": (b"", "it is empty"),
    "git-lfs": (POINTER, "a pointer of Git LFS, not the file itself. Fetch that: git lfs pull"),
    "git-annex": (b"/annex/objects/SHA256E-s123--abc.ckpt\n", "git annex get"),
    "a page": (b"\n<!DOCTYPE html><html>Sign in</html>", "a web page"),
    "json": (b'{"a": 1}', "JSON text"),
    "text": (b"hello, these are no weights", "a text file that begins with b'hello"),
    "text with a brace": (b"weights {", "a text file that begins with b'weights {'"),
    "bytes": (b"\x00\x01\x02\x03" * 9, "something else that begins with"),
    "a cut zip": (b"PK\x03\x04" + b"\x00" * 99, "a zip archive without its end, cut short at 103 bytes"),
    "a cut safetensors": (save(STATE)[:-3], "cut short at"),
    "a cut header": (save(STATE)[:40], "cut short at 40"),
    "a cut pickle": (b"\x80\x02", "cannot be read"),
}


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_weights_file_is_called_what_it_is(tmp_path: Path, kind: str, suffix: str) -> None:
    content, message = STRANGE[kind]
    (tmp_path / f"net{suffix}").write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)) as error:
        read_tensors(tmp_path / f"net{suffix}")
    assert f"net{suffix}" in str(error.value) and "weights_only" not in str(error.value)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_a_file_of_torch_that_is_cut_short(tmp_path: Path, share: float) -> None:
    torch.save({"w": torch.randn(40_000)}, tmp_path / "net.ckpt")
    whole = (tmp_path / "net.ckpt").read_bytes()
    (tmp_path / "net.ckpt").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="cut short"):
        read_tensors(tmp_path / "net.ckpt")


def test_a_zip_archive_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.ckpt", "w") as archive:
        archive.writestr("model/weights.h5", b"x")
    with pytest.raises(DataError, match=r"without a pickle \(in it: model/weights\.h5\)"):
        read_tensors(tmp_path / "net.ckpt")


def test_a_folder_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.ckpt"):
        with pytest.raises(DataError, match="cannot be read"):
            read_tensors(path)


def sharded(folder: Path, **changes: object) -> Path:
    files = {"a.weight": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    for name, file in files.items():
        save_file({name: STATE[name]}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": files, **changes}))
    return index


def test_weights_in_several_files_are_read_by_their_index(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    assert same(read_tensors(index)) and len(shards_of(index)) == 2
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(DataError, match=r"the 2 files that it names; missing: model-00002-of-00002\.safetensors"):
        read_tensors(index)


@pytest.mark.parametrize("weight_map", [None, [], {}, {"a": 3}])
def test_an_index_that_names_nothing(tmp_path: Path, weight_map: object) -> None:
    with pytest.raises(DataError, match=r"model\.safetensors\.index\.json: expected"):
        read_tensors(sharded(tmp_path, weight_map=weight_map))


def test_an_index_leads_to_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    save_file(STATE, tmp_path / "out.safetensors")
    with pytest.raises(DataError, match=r"missing: out\.safetensors"):
        read_tensors(sharded(tmp_path / "in", weight_map={"a": "../out.safetensors"}))
