"""A first stage that is not trained here: which one, until it is looked up."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Sha256, StageKey, Text
from ablatent.core.here import program


@dataclass(frozen=True)
class PretrainedFirstStage:
    """The name of a first stage with published weights, frozen.

    key: of a first stage in the store. Or path, or url with sha256: a file in a format (compvis, diffusers).
    Before a plan is made, the network itself takes the place of this node. Raises ConfigError unless exactly one of the
    three is given, with what belongs to it.
    """

    stands_for_stored: ClassVar[bool] = True
    """Planning puts the stored first stage in its place."""

    key: Annotated[StageKey | None, "of a stored first stage"] = None
    path: Annotated[Text | None, "a file or folder"] = None
    url: Annotated[Text | None, "an address to download from"] = None
    sha256: Annotated[Sha256 | None, "of the file"] = None
    format: Annotated[Text | None, "of path or url: compvis or diffusers"] = None

    def __post_init__(self) -> None:
        given = [name for name in ("key", "path", "url") if getattr(self, name) is not None]
        if len(given) != 1:
            do = f"Import one with: {program()} do=import path=FILE format=compvis"
            raise ConfigError("first_stage.key", "a key (first_stage-…), or a path, or a url", given or None, do)
        if self.key is not None:
            return
        if self.format not in ("compvis", "diffusers"):
            raise ConfigError("first_stage.format", "compvis or diffusers beside a path or url", self.format)
        if self.url is not None and self.sha256 is None:
            raise ConfigError("first_stage.sha256", "the SHA-256 of the file beside its url", self.sha256)
