"""What is remembered between commands: never a result of other code or of another text, and never an error."""

import json

import pytest

from ablatent.core import memo
from ablatent.core.memo import Memo
from ablatent.store import code


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(memo, "FOLDER", str(tmp_path / "cache"))
    return tmp_path


def counting(depends="v1"):
    """A memo of lengths, and the texts that were measured."""
    seen = []

    def length(text):
        seen.append(text)
        return [len(text), text]

    return Memo("lengths", length, depends), seen


def test_a_later_command_finds_what_an_earlier_one_saved():
    first, seen = counting()
    assert [first("abc"), first("abc"), first("é")] == [[3, "abc"], [3, "abc"], [1, "é"]] and seen == ["abc", "é"]
    first.save()
    second, seen = counting()
    assert second("abc") == [3, "abc"] and seen == []
    assert second("abcd") == [4, "abcd"] and seen == ["abcd"]
    second.save()
    third, seen = counting()
    assert [third("é"), third("abcd")] == [[1, "é"], [4, "abcd"]] and seen == []


def test_other_code_finds_nothing():
    first, _ = counting()
    first("abc")
    first.save()
    second, seen = counting("v2")
    assert second("abc") == [3, "abc"] and seen == ["abc"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00", "null"])
def test_a_damaged_file_is_no_error_and_is_replaced(text):
    first, seen = counting()
    first.path.parent.mkdir(parents=True)
    first.path.write_text(text)
    assert first("abc") == [3, "abc"] and seen == ["abc"]
    first.save()
    assert list(json.loads(first.path.read_text()).values()) == [[3, "abc"]]


def test_a_folder_that_cannot_be_written_is_no_error(home):
    (home / "cache").write_text("a file")
    first, _ = counting()
    assert first("abc") == [3, "abc"]
    first.save()


def test_a_user_without_a_home_is_no_error(monkeypatch):
    monkeypatch.setattr(memo, "FOLDER", "~nobody-of-this-name/cache")
    first, _ = counting()
    assert first("abc") == [3, "abc"]
    first.save()


def test_a_file_that_has_grown_keeps_what_this_command_used(monkeypatch):
    monkeypatch.setattr(memo, "LARGEST", 3)
    for texts in ("ab", "cd"):
        one, _ = counting()
        for text in texts:
            one(text)
        one.save()
    assert sorted(value[1] for value in json.loads(one.path.read_text()).values()) == ["c", "d"]


def test_a_digest_of_code_is_the_same_from_memory(monkeypatch):
    modules = ["ablatent.stages.samples.build", "ablatent.samplers.ddim"]
    digests = []
    for _ in range(2):
        code._module.cache_clear()
        monkeypatch.setattr(code, "_of_source", Memo("code", code._read, "test"))
        digests.append(code.code_digest(modules))
    assert code._of_source.known.keys() >= code._of_source.used.keys(), "nothing was remembered"
    code._module.cache_clear()
    monkeypatch.setattr(code, "_of_source", code._read)
    monkeypatch.setattr(code._read, "save", lambda: None, raising=False)
    assert digests == [code.code_digest(modules)] * 2
    code._module.cache_clear()
