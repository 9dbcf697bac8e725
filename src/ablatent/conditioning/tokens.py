"""Captions as tokens: vocabularies, padding, and a message for what is cut off."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from jaxtyping import Int32, Int64

from ablatent.core.errors import ConfigError
from ablatent.core.escape import for_console
from ablatent.core.fields import Sha256
from ablatent.core.hub import HubFolder
from ablatent.core.progress import console, counted

if TYPE_CHECKING:
    import tokenizers

CHUNK, SHOWN, EXCERPT = 4096, 3, 40


@dataclass
class Vocabulary:
    """WordPiece over bert-base-uncased's vocabulary, as the reference's BERTTokenizer has it: `[CLS] … [SEP] [PAD] …`.

    digest: SHA-256 of vocab.txt. weights: where its folder is found; it decides no key, the digest does.
    """

    digest: Annotated[Sha256, "of vocab.txt"]
    weights: Annotated[HubFolder, "where the files are found"]
    _captions: "Captions | None" = field(default=None, init=False, repr=False)

    def __call__(
        self, captions: Sequence[str], length: int
    ) -> tuple[Int32[np.ndarray, "n {length}"], Int64[np.ndarray, " n"]]:
        """The tokens of captions, see `Captions`. Raises ConfigError where vocab.txt is not found, or is another."""
        if self._captions is None:
            from tokenizers import BertWordPieceTokenizer

            path = self.weights.find()[0] / "vocab.txt"
            got = sha256(path.read_bytes()).hexdigest()
            if got != self.digest:
                raise ConfigError("conditioner.tokenizer.digest", f"a vocab.txt with SHA-256 {self.digest}", got)
            tokenizer = BertWordPieceTokenizer(str(path), lowercase=True)
            self._captions = Captions(tokenizer._tokenizer, "[PAD]")
        return self._captions(captions, length)


def json_captions(path: Path, pad: str) -> "Captions":
    """The `Captions` of a tokenizer.json; pad: its padding token. Raises ConfigError for a vocabulary without it."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return Captions(tokenizer, pad)


class Captions:
    """Tokens of captions by a tokenizer of the tokenizers library; pad: its padding token.

    What is cut off is printed once for each caption. Raises ConfigError for a vocabulary without the padding token.
    """

    def __init__(self, tokenizer: "tokenizers.Tokenizer", pad: str) -> None:
        number = tokenizer.token_to_id(pad)
        if number is None:
            raise ConfigError("conditioner.encoder.pad", "a token of the vocabulary", pad)
        self.tokenizer, self.pad = tokenizer, int(number)
        self._reported: set[str] = set()

    def __call__(
        self, captions: Sequence[str], length: int
    ) -> tuple[Int32[np.ndarray, "n {length}"], Int64[np.ndarray, " n"]]:
        """(ids padded to `length`, number of tokens that count). A caption that is too long loses its end."""
        ids = np.full((len(captions), length), self.pad, dtype=np.int32)
        counts = np.zeros(len(captions), dtype=np.int64)
        self.tokenizer.enable_truncation(length)
        cut: dict[str, str] = {}
        for first in range(0, len(captions), CHUNK):
            part = list(captions[first : first + CHUNK])
            for i, encoded in enumerate(self.tokenizer.encode_batch(part), first):
                counts[i] = len(encoded.ids)
                ids[i, : counts[i]] = encoded.ids
                if encoded.overflowing:
                    kept = max((end for _, end in encoded.offsets), default=0)
                    cut[captions[i]] = captions[i][kept:]
        self._report(cut, length)
        return ids, counts

    def _report(self, cut: dict[str, str], length: int) -> None:
        new = {caption: rest for caption, rest in cut.items() if caption not in self._reported}
        self._reported |= set(new)
        if not new:
            return
        lines = [f"  …{_short(c[: len(c) - len(rest)], end=True)} | {_short(rest)}" for c, rest in new.items()]
        more = [] if len(lines) <= SHOWN else [f"  and {len(lines) - SHOWN} more"]
        console.print(
            f"[yellow]{counted(len(new), 'caption is', 'captions are')} longer than {counted(length, 'token')}[/]; "
            "what stands behind the line is left out:"
        )
        for line in [*lines[:SHOWN], *more]:
            console.print(for_console(line))


def _short(text: str, end: bool = False) -> str:
    """At most some characters of the beginning, or the end, on one line."""
    text = " ".join(text.split())
    if len(text) <= EXCERPT:
        return text
    return text[-EXCERPT:] if end else f"{text[:EXCERPT]}…"
