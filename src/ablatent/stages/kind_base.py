"""A stage, one unit of work as plain data, and its kind, which defines such units. Free of torch.

data ─> first_stage ─> latents ─> diffusion ─> samples ─> scores
  │          │             │          └─> task (in place of samples and scores) ─> restoration (of images)
  │          │             └─> noisy_classifier ─> samples, task (where guidance needs it)
  │          └─> reconstruction
  ├─> embeddings (of captions, for a frozen text encoder) ─> diffusion, samples, task
  ├─> reference (one per split) ──> reconstruction, scores
  └─> judge (where one is chosen) ──> agreement, of the samples with their conditions
             └─> reference and all that is scored (where the extractor's features are the judge's)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ablatent.core.errors import AblatentError, ConfigError
from ablatent.core.instantiate import make
from ablatent.core.targets import TARGET
from ablatent.data.base import Fingerprint, ImageData
from ablatent.data.counts import Counts
from ablatent.stages.options import extractor_needs
from ablatent.stages.stage import Stage
from ablatent.store.identity import Key, digest

if TYPE_CHECKING:
    from ablatent.stages.trial import TrialTraining

Config = Mapping[str, Any]


@dataclass
class Fingerprints:
    """Content digests of data sets and what became of their images, once per distinct configuration.

    found: digest of a node → both, or why the data cannot be used.
    """

    found: dict[str, tuple[Fingerprint, Counts] | AblatentError] = field(default_factory=dict)

    def of(self, config: Config) -> Fingerprint:
        """The digests of a data node. Raises ConfigError or DataError for data that is not there."""
        return self._looked_at(config)[0]

    def counts(self, config: Config) -> Counts:
        """How many images of a data node are used, and why others are not. Raises as `of` does."""
        return self._looked_at(config)[1]

    def _looked_at(self, config: Config) -> tuple[Fingerprint, Counts]:
        name = digest(dict(config))
        if name not in self.found:
            try:
                data: ImageData = make(config, ImageData)
                self.found[name] = data.fingerprint(), data.counts()
            except AblatentError as error:  # another job of these data need not look at all images again
                self.found[name] = error
        found = self.found[name]
        if isinstance(found, AblatentError):
            raise found
        return found


@dataclass
class JobGraph:
    """One job while its stages are put together.

    config: resolved, in plain values; content: digests of its data; stages: role → stage, those of earlier kinds.
    """

    config: Config
    content: Fingerprint
    stages: dict[str, Stage] = field(default_factory=dict)

    @property
    def data(self) -> dict[str, Any]:
        """The node of the data set."""
        return dict(self.config["data"])

    @property
    def images(self) -> dict[str, str]:
        """Digests of a stage that reads images alone."""
        return {"images": self.content.images}

    @property
    def annotated(self) -> dict[str, str]:
        """Digests of a stage that reads images and annotations."""
        return {**self.images, "annotations": self.content.annotations}

    def keys(self, *roles: str) -> dict[str, Key]:
        """role → key, of those of the given roles that the job has."""
        return {role: self.stages[role].key for role in roles if role in self.stages}

    @property
    def of_extractor(self) -> dict[str, Key]:
        """role → key, of the stages that the job's extractor reads. Raises ConfigError where the job has none."""
        roles = extractor_needs(self.config)
        if missing := [role for role in roles if role not in self.stages]:
            name = self.config["evaluation"]["extractor"][TARGET].rpartition(".")[2]
            do = "Choose another extractor, or what brings that stage into the job."
            raise ConfigError("evaluation.extractor", f"a job with a stage {missing[0]} for {name}", "none", do)
        return self.keys(*roles)


@dataclass(frozen=True)
class Check:
    """One check before anything is built.

    what: the values that decide its outcome, so that a sweep checks each distinct part once; run: raises an
    AblatentError where a job cannot go on.
    """

    name: str
    what: Any
    run: Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of one network of a stage, and the memory of its training where it is trained.

    kind: of the stage; part: name of the network; state: bytes of weights, gradients, the two moments of Adam and the
    averages of weights, all float32. activations: bytes saved by one step between its forward and its backward pass.
    flops: floating-point operations of the forward pass of one image. steps, preset_steps: of the training as planned,
    and as the preset has it. None: of a network that is not trained.
    """

    kind: str
    part: str
    parameters: int
    state: int | None = None
    activations: int | None = None
    flops: int | None = None
    batch_size: int | None = None
    steps: int | None = None
    preset_steps: int | None = None


class StageKind(ABC):
    """One kind of stage: its declarations, its stages in a job, its checks, its sizes and its expected work.

    name: of the kind, the first part of its keys and the role of its stage in a job (unless `stages` says otherwise).
    version: raised by hand when the result of a stage changes under the same configuration; everything below it is
    built again. reads: kinds whose stages it may read: they are put together before. extracts: it takes features of
    images: it also reads the stages that the job's extractor needs (`JobGraph.of_extractor`). trained: it is a
    training: it has a tracker run, curves, and may run on several devices. scored: it writes scores.json. figure: a
    file of it that a job's tracker run shows. training_key: the key of the configuration with the options of its
    training. exported: whether its weights can be written for other programs. sized_by: keys of the configuration that
    alone decide its `sizes`, seeds apart: a sweep asks for each distinct one once; empty: its options, `first_stage`
    and `data`. neutral: options of the stage itself that were added later → the value at which they change nothing:
    keys leave them out then; options of its nodes are named with points, as "training.ema.decay".

    A kind of this package stands in `kind.py` of a folder of its own, beside `build.py` with ``build(ctx: Context)``;
    one of a user's in any module that has a `build` too (see docs/extending.md).
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ()
    extracts: ClassVar[bool] = False
    trained: ClassVar[bool] = False
    scored: ClassVar[bool] = False
    figure: ClassVar[str | None] = None
    training_key: ClassVar[str | None] = None
    exported: ClassVar[bool] = False
    sized_by: ClassVar[tuple[str, ...]] = ()
    neutral: ClassVar[dict[str, Any]] = {}

    @property
    def builder(self) -> str:
        """The module whose `build` builds a stage: build.py beside this file, or this module where it has one."""
        module = type(self).__module__
        return f"{module.removesuffix('.kind')}.build" if module.endswith(".kind") else module

    @abstractmethod
    def stages(self, job: JobGraph) -> dict[str, Stage]:
        """role → stage of this kind in the job; empty for a job without. Raises ConfigError for options that clash."""

    def checks(self, config: Config) -> Iterator[Check]:
        """The checks that must pass before a job with a stage of this kind is started; may import torch."""
        yield from ()

    def sizes(self, config: Config) -> list[Size]:
        """The networks of the stage, for do=plan: parameters and memory of a training step; may import torch."""
        return []

    def passes(self, config: Config) -> dict[str, int]:
        """Kind of a network's stage → forward passes of one image through it, of the stage of this kind in a job, where
        they take most of its time; empty where it is a training, or the number is not known. May import torch."""
        return {}

    def trial(self, config: Config, stage: Stage) -> "TrialTraining | None":
        """The training of a job's stage of this kind on made-up data, a few steps of which do=plan estimate=true times;
        None where there is none. May import Lightning."""
        return None

    def stage(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Key] | None = None,
        digests: Mapping[str, str] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Stage:
        """A stage of this kind with these options, inputs (role → key), digests and data, see `Stage`."""
        return Stage(
            kind=self.name,
            version=self.version,
            config=dict(config),
            inputs=dict(inputs or {}),
            digests=dict(digests or {}),
            data=dict(data or {}),
            builder=self.builder,
            trained=self.trained,
            scored=self.scored,
            figure=self.figure,
            neutral=dict(self.neutral),
        )
