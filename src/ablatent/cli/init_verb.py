"""do=init: a folder with options of one's own to begin with, from the files of starter/."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from ablatent.cli.verb import Config, Verb
from ablatent.core.errors import ConfigError
from ablatent.core.escape import for_console
from ablatent.core.fields import Fields, Text
from ablatent.core.files import write_atomic
from ablatent.core.progress import console
from ablatent.store.artifacts import Store
from ablatent.sweep.plan import Composed

STARTER = Path(__file__).with_name("starter")
SUFFIX = ".txt"
"""Of the files of the starter, which are no modules or options of this package."""


class InitKeys(Fields):
    """The keys of do=init."""

    path: Annotated[Text | None, "the folder to make: a new one, or an empty one"]


class InitVerb(Verb):
    """Make a folder with a sampler, a data set, an experiment and a test of one's own."""

    reads = ("store",)
    keys = InitKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        written = write_starter(config["path"])
        for file in written:
            console.print(f"  {for_console(file)}")
        text = f"Next: cd {shlex.quote(str(config['path']))} && ablatent experiments=mine"
        console.print(for_console(text), soft_wrap=True)
        return 0


def write_starter(path: str | None) -> list[Path]:
    """Write the files of the starter into a folder; their paths. Raises ConfigError for one with something in it."""
    expected = "a folder that does not exist, or is empty"
    if path is None:
        raise ConfigError("path", expected, None, "Name it: do=init path=my-project.")
    folder = Path(path).expanduser()
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError("path", expected, path, "Nothing was written. Name another one.")
        written = []
        for source in sorted(STARTER.rglob(f"*{SUFFIX}")):
            target = folder / source.relative_to(STARTER).with_suffix("")
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, source.read_bytes())
            written.append(target)
    except OSError as error:
        raise ConfigError("path", "a folder that can be made", path, f"{error.strerror}: {error.filename}.") from None
    return written
