"""What every verb of `do=` offers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ablatent.core.fields import Fields
from ablatent.store.artifacts import Store
from ablatent.sweep.plan import Composed

Config = Mapping[str, Any]


class Verb(ABC):
    """The base of verbs.

    Declared, as literals that are read before torch is imported: reads: the config groups and keys of config.yaml that
    it reads, beside its own; empty: all of a job. takes_jobs: whether it takes the several jobs of -m.
    writes: whether it writes into the store whatever it finds there.
    keys: the class whose fields are its own keys, those of its YAML.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    takes_jobs: ClassVar[bool] = False
    writes: ClassVar[bool] = False
    keys: ClassVar[type[Fields]] = Fields

    typed: Sequence[str] = ()
    """The arguments of the command as typed, but for the verb, which is do=VERB."""

    @abstractmethod
    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        """Run the verb on the jobs of one command; the exit code.

        config: of the first job that could be composed; command: as typed. Raises AblatentError where it cannot run.
        """

    def then(self, code: int) -> Sequence[str]:
        """The words of the next command that somebody may want after this one, which ended with that exit code; empty
        for none."""
        return ()
