"""References of a job to the store, first_stage=pretrained, diffusion.init_from and guidance.model, resolved before the
plan.

The stored first stage takes the place of its name, so that planning sees a first stage like others. Free of torch for
jobs without such references.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablatent.core.declared import declared
from ablatent.core.errors import ConfigError
from ablatent.core.instantiate import make
from ablatent.core.targets import class_of
from ablatent.core.values import get
from ablatent.first_stage.pretrained import PretrainedFirstStage
from ablatent.inference.guiding_model import GuidedModel, check_guiding, names_model, with_whole_key
from ablatent.stages.diffusion.kind import DiffusionKind
from ablatent.stages.first_stage.kind import FirstStageKind
from ablatent.stages.imported.kind import ImportedKind
from ablatent.stages.stage import Stage
from ablatent.stages.stored import NOT_MODEL
from ablatent.store.artifacts import Artifact, Store
from ablatent.store.identity import FileName, digest


@dataclass
class Resolver:
    """Resolves the references of configurations to a store; each distinct first stage is looked up once.

    first_stages: digest of a node → the stored configuration.
    """

    store: Store
    first_stages: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __call__(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration with the stored first stage in the place of its name, and the whole keys of init_from and
        of the model that guidance leads away from.

        Raises ConfigError or DataError where the store has none of that name.
        """
        node, out = config["first_stage"], dict(config)
        if declared(node, "stands_for_stored", False):
            name = digest(node)
            if name not in self.first_stages:
                self.first_stages[name] = first_stage(node, self.store)
            out["first_stage"] = self.first_stages[name]
        if config["diffusion"]["init_from"] is not None:
            out |= _init_from(config, self.store)
        if "guidance" in config:
            out["guidance"] = with_whole_key(config["guidance"], self.store)
        return out

    def check_stages(self, config: Mapping[str, Any], stages: Mapping[str, Stage]) -> None:
        """Raise ConfigError where guidance leads a job's model away from a stored one that does not fit it."""
        if names_model(config["guidance"]) and DiffusionKind.name in stages:
            diffusion = stages[DiffusionKind.name]
            guided = GuidedModel(diffusion.key, diffusion.config, diffusion.inputs, diffusion.digests)
            check_guiding(self.store, config["guidance"], guided)


def _init_from(config: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """The nodes that name an imported or trained network by its whole key; where a training is lengthened, with the
    number of all its steps.

    Raises ConfigError where the store has no such network, and where a training would not go on from it.
    """
    from ablatent.inference.import_weights import stored

    node, training = config["diffusion"], config["training"]
    found = stored(store, str(node["init_from"]), (ImportedKind.name, DiffusionKind.name), "diffusion.init_from")
    out = {"diffusion": {**node, "init_from": found.key}}
    if found.kind == DiffusionKind.name:
        _check_longer(config, found)
        begun = int(found.json("summary.json")["steps"])
        out["training"] = {**training, "steps": begun + training["steps"]}
    return out


def _check_longer(config: Mapping[str, Any], found: Artifact) -> None:
    """Raise ConfigError for a job whose network, conditioner or optimiser are not those of the training that it goes on
    with, and for snapshots that lie before its end."""
    for name in ("network", "conditioner"):
        if digest(config[name]) != digest(dict(found.manifest.config[name])):
            raise ConfigError(name, f"that of {found.key}, which diffusion.init_from names", "another one")
    if widths := get(config, "training.ema.power_widths"):
        do = "Their snapshots would begin in the middle. Train it in one, with the steps of both."
        raise ConfigError("training.ema.power_widths", "[] where diffusion.init_from names a training", widths, do)
    expected, got = (class_of(c["optimizer"]).__name__ for c in (found.manifest.config, config))
    if expected != got:
        raise ConfigError("optimizer", f"{expected}, as in {found.key}, whose state is taken over", got)
    begun = int(found.json("summary.json")["steps"])
    if early := [step for step in config["training"]["snapshots"] if step <= begun]:
        do = "Steps are counted from the beginning of the first training."
        raise ConfigError("training.snapshots", f"steps from {begun + 1} on", early, do)


def first_stage(node: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """The configuration of the stored first stage that a node of first_stage=pretrained names.

    A file is imported first, and downloaded where it is a URL. Raises ConfigError, DataError where it is not found.
    """
    from ablatent.core.weights import PretrainedFile
    from ablatent.inference.import_weights import publish_first_stage, read, stored

    chosen = make(node, PretrainedFirstStage)
    if chosen.key is not None:
        artifact = stored(store, chosen.key, (FirstStageKind.name,), "first_stage.key")
    else:
        from pathlib import Path

        path = None if chosen.path is None else Path(chosen.path).expanduser()
        if path is not None and not path.exists():
            raise ConfigError("first_stage.path", "a file or folder that exists", chosen.path)
        if path is None or path.is_file():
            found = PretrainedFile(name="first_stage", path=chosen.path, url=chosen.url, sha256=chosen.sha256).find()
            if chosen.sha256 is not None and not found.sha256.startswith(chosen.sha256):
                raise ConfigError("first_stage.sha256", chosen.sha256, found.sha256, f"Other bytes in {found.path}.")
            path = found.path
        parts, source = read(path, str(chosen.format), None)
        if parts.first_stage is None:
            raise ConfigError("first_stage.path", "a file with an autoencoder", str(path))
        artifact, _ = publish_first_stage(store, parts.first_stage, source)
    config = dict(artifact.manifest.config)
    return config if "digest" in config else dict(_trained_here(store, artifact).manifest.config)


def _trained_here(store: Store, artifact: Artifact) -> Artifact:
    """A first stage trained in this store, as an imported one: its weights alone decide it, not its training."""
    from safetensors.torch import load_file

    from ablatent.inference.import_weights import publish_first_stage
    from ablatent.interop.parts import FirstStagePart

    state = load_file(str(artifact.path / "model.safetensors"))
    if not state:
        raise ConfigError("first_stage.key", "a first stage with weights", artifact.key, "Choose first_stage=identity.")
    config = {k: v for k, v in artifact.manifest.config.items() if k not in NOT_MODEL}
    source = {
        "path": artifact.key,
        "format": "store",
        "sha256": artifact.manifest.files[FileName("model.safetensors")].sha256,
    }
    return publish_first_stage(store, FirstStagePart(config, state), source)[0]
