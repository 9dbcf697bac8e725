"""The package speaks the field's terms: vague words are neither identifiers nor prose in src, nor names in tests."""

import re
import tokenize
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

TESTS = Path(__file__).parent
SRC = TESTS.parent / "src"
# Name what it is: message, manifest, record; metadata; what somebody holds; conditions, requested.
NOWHERE = {"said", "told", "theirs", "asked"}
# Fine in prose. As identifiers: pass by name; max_THINGS.
NO_IDENTIFIERS = {"needed", "most"}
TEXT = {
    tokenize.STRING,
    tokenize.COMMENT,
    *(getattr(tokenize, name) for name in ("FSTRING_MIDDLE",) if hasattr(tokenize, name)),  # Python 3.12 and later
}


def parts(identifier: str) -> list[str]:
    """The words of a snake_case or CamelCase identifier, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)]


def found(source: str) -> Iterator[tuple[int, str]]:
    """(line, word) of every forbidden word in the source of a module."""
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type == tokenize.NAME:
            words = {w for w in parts(token.string) if w in NOWHERE} | ({token.string} & NO_IDENTIFIERS)
            yield from ((token.start[0], word) for word in sorted(words))
        elif token.type in TEXT:
            for number, line in enumerate(token.string.split("\n"), token.start[0]):
                yield from ((number, word) for word in re.findall(r"[A-Za-z]+", line) if word.lower() in NOWHERE)


def test_vague_words_are_not_used():
    lines = []
    for path in sorted(SRC.rglob("*.py")):
        lines += [f"{path.relative_to(SRC)}:{line}: {word}" for line, word in found(path.read_text())]
    assert not lines, "\n".join(lines)


def test_nothing_in_tests_is_named_by_a_vague_word():
    lines = []
    for path in sorted(TESTS.rglob("*.py")):
        for token in tokenize.generate_tokens(StringIO(path.read_text()).readline):
            if token.type == tokenize.NAME and token.string in NOWHERE | NO_IDENTIFIERS:
                lines.append(f"{path.relative_to(TESTS)}:{token.start[0]}: {token.string}")
    assert not lines, "\n".join(lines)


def test_the_rule_can_fail():
    assert [word for _, word in found("said_of_text = 1")] == ["said"]
    assert [word for _, word in found("class WhatIsAsked: ...")] == ["asked"]
    assert next(found('x = f"""one\nas they Told us {needed}"""')) == (2, "Told")
    assert [word for _, word in found("most = 1  # most of it is needed")] == ["most"]
    assert not list(found("masked = most_boxes = 1  # tolds, and what is needed"))
