"""Pretrained text encoders of Hugging Face, frozen: captions to token states."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from ablatent.conditioning.tokens import Captions, json_captions
from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count, Digest, Text
from ablatent.core.hub import HubFolder, quiet
from ablatent.core.progress import track
from ablatent.core.tensor_files import read_tensors
from ablatent.core.weights import Found, verify_digest

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
# the text half of models that have another one; of all others, the model itself
HALVES = {"clip": "CLIPTextModel", "t5": "T5EncoderModel"}
BATCH = 64


class CaptionEncoder(ABC):
    """The base of encoders for `FrozenText`: captions to token states, by a network that nothing trains.

    name: in messages; dim: width of the token states; longest: tokens that it takes at most.
    """

    name: str
    dim: int
    longest: int

    @abstractmethod
    def __call__(
        self, captions: Sequence[str], length: int, device: torch.device | str, title: str = "", done: int = 0
    ) -> Iterator[tuple[Int64[np.ndarray, " b"], Float[Tensor, "b l dim"], Int64[np.ndarray, " b"]]]:
        """Batches of (rows of `captions`, states, number of tokens that count, at least one a row), in any order that
        is the same at each call.

        l: of the longest in the batch, at most `length`; title: of the progress bar, none where it is empty; done: so
        many captions are left out, the first whole batches.
        """

    def served(self) -> dict[str, Any]:
        """Which encoder was used, for the record of the stage: plain values by name."""
        return {"name": self.name}


@dataclass(kw_only=True)
class TextEncoder(CaptionEncoder):
    """A folder of the hub's kind (config.json, model.safetensors, tokenizer.json); nothing of it is trained or saved.

    dim: width of its token states; longest: tokens that it takes; pad: the token that its tokenizer fills up with.
    digest: of the tensors of its file (`digest_tensors`), or, where that is null, revision: of its repository.
    """

    name: Annotated[Text, "name in messages and reports"]
    dim: Annotated[Count, "width of the states"]
    longest: Annotated[int, Ge(2), "tokens that the encoder reads"]
    pad: Annotated[Text, "token that fills up short captions"]
    digest: Annotated[Digest | None, "of the tensors; null: the revision names them"]
    revision: Annotated[Text | None, "of the tensors"]
    weights: Annotated[HubFolder, "where the files are found"]
    _model: Any = field(default=None, init=False, repr=False)
    _captions: Captions | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.dim, int) or self.dim < 1:
            raise ConfigError("conditioner.encoder.dim", "an integer >= 1", self.dim)
        pinned = self.weights.path is None and self.revision is not None and self.weights.revision == self.revision
        if self.digest is None and not pinned:
            raise ConfigError(
                "conditioner.encoder.digest",
                "the digest of the tensors, unless they are those of encoder.revision in weights.repo",
                None,
                "Give any digest: the error of the first run shows the right one.",
            )

    def tokens(self, captions: Sequence[str], length: int) -> tuple[np.ndarray, Int64[np.ndarray, " n"]]:
        """(ids (n, length), number of tokens that count in each row); prints what is cut off.

        Raises ConfigError for a tokenizer that cannot be found, or lacks the padding token.
        """
        if self._captions is None:
            self._captions = json_captions(self.weights.find()[0] / TOKENIZER, self.pad)
        return self._captions(captions, length)

    @torch.no_grad()
    def __call__(
        self, captions: Sequence[str], length: int, device: torch.device | str, title: str = "", done: int = 0
    ) -> Iterator[tuple[Int64[np.ndarray, " b"], Float[Tensor, "b l dim"], Int64[np.ndarray, " b"]]]:
        """Batches of (rows, states of the last layer, number of tokens that count); l: of the longest in the batch.

        The states of real tokens do not depend on the padding. title: of the progress bar; empty: the encoder's name.
        done: so many captions are left out, the first whole batches.
        Raises ConfigError or DataError for weights that cannot be found, or are not those of the digest.
        """
        ids, counts = self.tokens(captions, length)
        self._load(device)
        order = np.argsort(counts, kind="stable")  # neighbours are of one length: little padding
        with track(title or self.name, len(captions), "captions", done) as bar:
            for first in range(done, len(order), BATCH):
                rows = order[first : first + BATCH]
                longest = int(counts[rows].max())
                x = torch.from_numpy(ids[rows, :longest]).to(device).long()
                mask = torch.arange(longest) < rearrange(torch.from_numpy(counts[rows]), "b -> b 1")
                states = self._model(input_ids=x, attention_mask=mask.to(device).long()).last_hidden_state
                yield rows, states.float(), counts[rows]
                bar.advance(len(rows))

    def served(self) -> dict[str, Any]:
        """Which encoder was used, for the record: its name, where it was found, and its digest or revision."""
        folder, origin = self.weights.find()
        return {
            "name": self.name,
            "how": origin,
            "folder": str(folder),
            "digest": self.digest,
            "revision": self.revision,
        }

    def _load(self, device: torch.device | str) -> None:
        if self._model is None:
            folder, origin = self.weights.find()
            if self.digest is not None:
                verify_digest(
                    self.name, read_tensors(folder / WEIGHTS), self.digest, Found(folder / WEIGHTS, origin, "")
                )
            model = _read(folder).float().eval().requires_grad_(False)
            width = getattr(model.config, "hidden_size", None)
            if width != self.dim:
                raise ConfigError("conditioner.encoder.dim", f"the width of {self.name}, {width}", self.dim)
            self._model = model
        self._model.to(device)


def _read(folder: Path) -> Any:
    """The text model of a folder: tensors from safetensors, architecture from transformers, no code of the folder."""
    import transformers

    with quiet():
        config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True)
        kind = getattr(transformers, HALVES.get(config.model_type, "AutoModel"))
        return kind.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
