"""do=export: an artifact gathered from the store, written in the format of another program."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablatent.conditioning.text_transformer import TextTransformer
from ablatent.core.disk import full_disk_named
from ablatent.core.errors import ConfigError
from ablatent.core.escape import for_console
from ablatent.core.files import read_json, write_atomic, write_json
from ablatent.core.instantiate import make
from ablatent.core.progress import console, counted
from ablatent.core.targets import TARGET
from ablatent.core.tensor_files import write_tensors
from ablatent.inference.import_weights import exported_kinds, path_and_format, stored
from ablatent.interop import compvis, compvis_config, diffusers, text
from ablatent.interop.parts import network_of
from ablatent.schedules.base import NoiseSchedule
from ablatent.schedules.discrete import DiscreteSchedule
from ablatent.stages.context import weights_path
from ablatent.stages.first_stage.kind import FirstStageKind
from ablatent.stages.imported.kind import ImportedKind
from ablatent.stages.models import dummy_inputs, make_conditioner
from ablatent.stages.stored import NOT_MODEL, stored_config
from ablatent.store.artifacts import Artifact, Store
from ablatent.store.identity import Key, stable_name


def export_weights(store: Store, config: Mapping[str, Any]) -> int:
    """Write an artifact's weights into a folder for other programs; the exit code.

    config: with path, format, key, interop. Raises ConfigError for a key, folder or weights that do not fit.
    """
    folder, format_ = path_and_format(config, "a folder to write")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError("path", "a new or empty folder", str(folder), "Nothing is overwritten.")
    artifact = stored(store, str(config["key"]), exported_kinds(), "key")
    options = config["interop"]
    if options["weights"] not in ("ema", "raw"):
        raise ConfigError("interop.weights", "ema or raw", options["weights"])
    found = gather(store, artifact, options["weights"], options["snapshot"])
    try:
        with full_disk_named(folder, "The store is as it was."):
            lines = write(found, format_, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # half of a model, in a folder that was new or empty
        raise
    for line in lines:
        console.print(for_console(f"  {line}"), soft_wrap=True)
    return 0


@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """A diffusion network with its weights, schedule and normalizer.

    network: its whole node; weights: "raw" and "ema", those that are there, → name → tensor; chosen: the one of them
    for formats with one; normalizer: {shift, scale} of raw latents, a value a channel; steps: of its training; text:
    the node of its text transformer, None without; latent_size: side of the latents, None where it is not known.
    """

    network: dict[str, Any]
    weights: dict[str, dict[str, Tensor]]
    chosen: str
    schedule: dict[str, Any]
    parameterization: str
    normalizer: dict[str, list[float]]
    ema_decay: float
    steps: int
    text: dict[str, Any] | None = None
    latent_size: int | None = None

    @property
    def betas(self) -> Tensor:
        """The betas of all T steps, (T,) float64."""
        schedule = make(self.schedule, NoiseSchedule)
        if not isinstance(schedule, DiscreteSchedule):
            expected = "a model of a discrete schedule, which has betas; other formats know no other"
            raise ConfigError(
                "key",
                expected,
                stable_name(self.schedule[TARGET]),
                "The artifact's folder has its weights as safetensors.",
            )
        table: Tensor = schedule.betas
        return table

    @property
    def scale_factor(self) -> float | None:
        """The factor of raw latents; None where they are shifted or scaled channel by channel."""
        shift, scale = self.normalizer["shift"], self.normalizer["scale"]
        return 1.0 / scale[0] if len(set(scale)) == 1 and not any(shift) else None

    @property
    def class_rows(self) -> Tensor | None:
        """The class embedding, (classes + 1, dim), the null class last; None for other conditioners."""
        return self.conditioner.get("embedding.weight")

    @property
    def conditioner(self) -> dict[str, Tensor]:
        """name → tensor of the conditioner, of the chosen weights."""
        return network_of(self.weights[self.chosen], "conditioner.")


@dataclass(frozen=True)
class Gathered:
    """A first stage (its node and tensors), a diffusion network, or both."""

    first_stage: tuple[dict[str, Any], dict[str, Tensor]] | None
    diffusion: Diffusion | None


def gather(store: Store, artifact: Artifact, weights: str, snapshot: str | int) -> Gathered:
    """The networks of an artifact of kind first_stage, diffusion or imported.

    weights: ema | raw; snapshot: a step, or "last". Raises ConfigError for weights that are not there.
    """
    if artifact.kind == FirstStageKind.name:
        return Gathered(_first_stage(artifact), None)
    config = stored_config(artifact)
    first_key = artifact.manifest.inputs.get(FirstStageKind.name)
    first = None if first_key is None else store.open(Key(first_key))
    if artifact.kind == ImportedKind.name:
        there = artifact.json("summary.json")["weights"]
        channels = config["network"]["in_channels"]
        scale = 1.0 / config["scale_factor"]
        found = Diffusion(
            network=dict(config["network"]),
            weights=_weights(artifact.path, there, "last"),
            chosen=weights if weights in there else there[0],
            schedule=config["schedule"],
            parameterization=stable_name(config["parameterization"]["_target_"]),
            normalizer={"shift": [0.0] * channels, "scale": [scale] * channels},
            ema_decay=0.9999,
            steps=0,
            text=_text(config["conditioner"]),
            latent_size=config.get("latent_size"),
        )
        return Gathered(None if first is None else _first_stage(first), found)
    if first is None:
        raise ConfigError("key", "a diffusion stage with its first stage", artifact.key)
    latents = store.open(Key(artifact.manifest.inputs["latents"]))
    found = Diffusion(
        network=_whole_network(artifact, first),
        weights=_weights(artifact.path, ["ema", "raw"], snapshot),
        chosen=weights,
        schedule=config["schedule"],
        parameterization=stable_name(config["parameterization"]["_target_"]),
        normalizer=read_json(latents.path / "normalizer.json"),
        ema_decay=float(config["training"]["ema"]["decay"]),
        steps=int(config["training"]["steps"]),
        text=_text(config["conditioner"]),
        latent_size=int(latents.json("summary.json")["shape"][1]),
    )
    return Gathered(_first_stage(first), found)


def _first_stage(artifact: Artifact) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    from safetensors.torch import load_file

    config = {k: v for k, v in stored_config(artifact).items() if k not in NOT_MODEL}
    state = load_file(str(artifact.path / "model.safetensors"))
    return (config, state) if state else None  # pixel space has no network


def _text(node: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A conditioner node, where it is LDM's text transformer: the only text model that the formats have a name for."""
    return dict(node) if node is not None and stable_name(node["_target_"]) == TextTransformer.__name__ else None


def _weights(folder: Path, kinds: list[str], snapshot: str | int) -> dict[str, dict[str, Tensor]]:
    from safetensors.torch import load_file

    return {kind: load_file(str(weights_path(folder, kind, snapshot))) for kind in kinds}


def _whole_network(artifact: Artifact, first_stage: Artifact) -> dict[str, Any]:
    """A diffusion stage's network node with the arguments that follow from its neighbours."""
    config, summary = stored_config(artifact), artifact.json("summary.json")
    learned = bool(config["learned_variance"])
    latent_channels = int(first_stage.json("summary.json")["latent_channels"])
    channels = int(stored_config(first_stage).get("image_channels", 3))
    with torch.device("meta"):
        counts = summary["classes"], summary.get("segments", 0)
        setting = dummy_inputs((latent_channels, 1, 1), 1, *counts, channels)
        conditioner = make_conditioner(config["conditioner"], setting)
    return {
        **config["network"],
        "in_channels": latent_channels,
        "out_channels": latent_channels * (2 if learned else 1),
        "context_dim": conditioner.context_dim,
        "vector_dim": conditioner.vector_dim,
        "spatial_channels": conditioner.spatial_channels,
    }


def write(found: Gathered, format_: str, folder: Path) -> list[str]:
    """Write the files of a format (compvis | diffusers); lines on what was written and what the format cannot hold."""
    messages = _compvis(found, folder) if format_ == "compvis" else _diffusers(found, folder)
    diffusion = found.diffusion
    if diffusion is not None and diffusion.scale_factor is None:
        write_json(folder / "normalizer.json", diffusion.normalizer)
        messages.append(
            f"{folder}/normalizer.json: latents are shifted and scaled channel by channel, z = (raw - shift) / scale; "
            "the format has one factor only (train with latents.normalizer=scalar or none for that)"
        )
    return messages


def _compvis(found: Gathered, folder: Path) -> list[str]:
    """Write model.ckpt and the reference's config.yaml (JSON, which is YAML)."""
    first, diffusion = found.first_stage, found.diffusion
    state = {} if first is None else compvis.first_stage_out(*first)
    if diffusion is None:
        if first is None:
            raise ConfigError("key", "an artifact with weights", "a first stage without any")
        described = {"model": compvis_config.first_stage_config(first[0])}
    else:
        named = {k: compvis.unet_out(diffusion.network, network_of(v)) for k, v in diffusion.weights.items()}
        rows, (text_node, text_state) = diffusion.class_rows, (None, None)
        if diffusion.text is not None:
            text_node, text_state = text.compvis_out(diffusion.text, diffusion.conditioner)
        metadata = {
            "class_rows": rows,
            "text": text_state,
            "scale_factor": None if diffusion.scale_factor == 1.0 else diffusion.scale_factor,
            "betas": diffusion.betas,
            "ema_decay": diffusion.ema_decay,
            "ema_updates": diffusion.steps,
        }
        described = compvis_config.model_config(
            diffusion.network,
            None if first is None else first[0],
            {
                "schedule": diffusion.schedule,
                "parameterization": diffusion.parameterization.lower(),
                "scale_factor": diffusion.scale_factor or 1.0,
                "ema": "ema" in named,
                "classes": None if rows is None else tuple(rows.shape),
                "text": text_node,
            },
        )
        state = compvis.join(state, named["raw"], named.get("ema"), metadata)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.ckpt").open("wb") as f:  # its own opening of a file hides why it cannot be written
        torch.save({"state_dict": state}, f)
    write_atomic(folder / "config.yaml", (json.dumps(described, indent=2) + "\n").encode())
    return [f"{folder}/model.ckpt: {counted(len(state), 'tensor')}", f"{folder}/config.yaml: for the reference code"]


def _diffusers(found: Gathered, folder: Path) -> list[str]:
    """Write a model's folder for a first stage; unet or transformer, vae or vqvae, and scheduler for a diffusion
    network."""
    first, diffusion = found.first_stage, found.diffusion
    scale = 1.0 if diffusion is None else diffusion.scale_factor or 1.0
    autoencoder = None if first is None else diffusers.first_stage_out(*first, scale)
    if diffusion is None:
        if autoencoder is None:
            raise ConfigError("key", "an artifact with weights", "a first stage without any")
        return [_model(folder, *autoencoder)]
    state, rows = network_of(diffusion.weights[diffusion.chosen]), diffusion.class_rows
    network = diffusers.network_out(diffusion.network, state, rows, diffusion.latent_size)
    scheduler = diffusers.scheduler_out(diffusion.schedule, diffusion.parameterization, diffusion.betas.tolist())
    messages = [_model(folder / network.folder, network.config, network.tensors) + f" ({diffusion.chosen})"]
    messages += network.messages
    if autoencoder is not None:
        name = "vae" if autoencoder[0]["_class_name"] == "AutoencoderKL" else "vqvae"
        messages.append(_model(folder / name, *autoencoder))
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    write_json(folder / "scheduler" / diffusers.SCHEDULER, scheduler)
    messages.append(f"{folder}/scheduler: {scheduler['_class_name']}, {scheduler['prediction_type']}")
    if diffusion.text is not None:
        text_config, text_state = text.diffusers_out(diffusion.text, diffusion.conditioner)
        messages.append(_model(folder / diffusers.TEXT, text_config, text_state, diffusers.TEXT_WEIGHTS[0]))
    if rows is not None and not network.has_classes:
        write_tensors(folder / "class_embedding.safetensors", {"embedding.weight": rows})
        messages.append(
            f"{folder}/class_embedding.safetensors: a row a class, then the null class; diffusers has no model for it"
        )
    return messages


def _model(folder: Path, config: Mapping[str, Any], state: dict[str, Tensor], name: str = diffusers.WEIGHTS[0]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / name, state, {"format": "pt"})
    write_json(folder / diffusers.CONFIG, config)
    return f"{folder}: {config['_class_name']}, {counted(len(state), 'tensor')}"
