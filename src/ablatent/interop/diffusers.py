"""Folders of diffusers: a model (config.json and its weights), or a pipeline (unet or transformer, vae or vqvae,
scheduler)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.files import read_json
from ablatent.core.targets import TARGET, target_of
from ablatent.core.tensor_files import read_tensors, shards_of
from ablatent.diffusion.parameterization import X0, Eps, Parameterization, V
from ablatent.interop import diffusers_config as fields
from ablatent.interop import diffusers_dit as dit
from ablatent.interop import text
from ablatent.interop.diffusers_fields import AUTOENCODERS, DITS, check
from ablatent.interop.diffusers_names import autoencoder_entries, current, unet_entries
from ablatent.interop.layout import check_groups, fresh_buffers, normal_groups, on_meta
from ablatent.interop.parts import EPS, DiffusionPart, FirstStagePart, Parts, class_label, diffusion_config, weights_of
from ablatent.interop.published import DIT, Options, Published, published
from ablatent.interop.renaming import to_external, to_internal
from ablatent.networks.dit import DiT
from ablatent.networks.unet import UNet
from ablatent.schedules.base import NoiseSchedule
from ablatent.schedules.cosine import Cosine
from ablatent.schedules.custom import Custom
from ablatent.schedules.linear import Linear
from ablatent.schedules.scaled_linear import ScaledLinear

CONFIG, SCHEDULER = "config.json", "scheduler_config.json"
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
TEXT, TEXT_WEIGHTS = "bert", ("model.safetensors", "pytorch_model.bin")
VARIANTS = ("fp16", "bf16", "fp32")
"""Of the same weights, which stand in file names: diffusion_pytorch_model.fp16.safetensors."""
MODELS = {"vae": "first_stage", "vqvae": "first_stage", "unet": "diffusion", "transformer": "diffusion"}
FREQUENCIES = "network.freq_shift is false, and diffusers computes with true: outputs differ there"
_PARAMETERIZATIONS: dict[str, type[Parameterization]] = {"epsilon": Eps, "v_prediction": V, "sample": X0}
_SCHEDULES: dict[str, type[NoiseSchedule]] = {"linear": Linear, "scaled_linear": ScaledLinear}


def read(path: Path, options: Options | None) -> Parts:
    """The parts of a folder, or of a file of weights and the config.json beside it; with options None the autoencoder
    alone. Raises DataError, ConfigError."""
    folder, chosen = _place(path)
    parts = Parts()
    models = [folder] if (folder / CONFIG).is_file() else [folder / name for name in MODELS if (folder / name).is_dir()]
    if not models:
        raise DataError(
            f"{folder}: expected {CONFIG} and {WEIGHTS[0]}, or folders {', '.join(MODELS)} that hold them; got neither."
        )
    scale = None
    for model in models:
        settings = _json(model / CONFIG)
        autoencoder = check(settings, str(model / CONFIG)) in AUTOENCODERS
        if not autoencoder and options is None:
            continue
        weights = current(read_tensors(chosen or _weights(model)))
        if autoencoder:
            parts.first_stage = _first_stage(settings, weights, model)
            scale = settings.get("scaling_factor", 0.18215)
        elif options is not None:
            parts.diffusion = _diffusion(settings, weights, model, options, parts.notes)
    if options is not None and parts.diffusion is not None:
        _scale(parts, options, scale)
    if parts.diffusion is not None and (folder / TEXT / CONFIG).is_file():
        _text(parts.diffusion, folder / TEXT, parts.notes)
        models.append(folder / TEXT)
    for other in sorted(p for p in folder.iterdir() if p.is_dir() and p not in models and p.name != "scheduler"):
        parts.not_read[f"{other.name}/"] += sum(1 for f in other.rglob("*") if f.is_file())
    return parts


def files_of(path: Path) -> list[Path]:
    """The files that `read` reads, for the record."""
    folder, chosen = _place(path)
    found = [f for f in (folder, *(folder / name for name in (*MODELS, TEXT, "scheduler"))) if f.is_dir()]
    files = [f / n for f in found for n in (CONFIG, SCHEDULER) if (f / n).is_file()]
    for place in found:
        names = TEXT_WEIGHTS if place.name == TEXT else WEIGHTS
        weights = chosen or next(iter(_candidates(place, names)), None)
        if weights is not None:
            files += [f for f in dict.fromkeys((weights, *shards_of(weights))) if f not in files]
    return files


def _place(path: Path) -> tuple[Path, Path | None]:
    """(the folder of a model or a pipeline, the file of its weights where the path names one)."""
    if path.is_dir():
        return path, None
    of_weights = path.name != CONFIG and (path.parent / CONFIG).is_file()
    return path.parent, path if of_weights else None


def _candidates(folder: Path, names: Sequence[str]) -> list[Path]:
    """The weights in a folder, the best first: as a file or as shards with an index, whole before reduced precision,
    and in the order of `names`."""
    found = []
    for variant in ("", *VARIANTS):
        for name in names:
            stem, _, suffix = name.rpartition(".")
            inner = f".{variant}" if variant else ""
            found += [f"{stem}{inner}.{suffix}", f"{stem}.{suffix}.index{inner}.json"]
    return [folder / name for name in found if (folder / name).is_file()]


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: expected a JSON object; got {error}.") from None


def _text(part: DiffusionPart, folder: Path, notes: list[str]) -> None:
    """Add a text transformer to what belongs to a UNet."""
    node, state = text.diffusers_in(_json(folder / CONFIG), read_tensors(_weights(folder, TEXT_WEIGHTS)), str(folder))
    part.config["conditioner"] = node
    for weights in part.weights.values():
        weights |= {f"conditioner.{k}": v for k, v in state.items()}
    notes.append("text transformer: mask_padding=False (as latent-diffusion's pipeline has it)")


def _weights(folder: Path, names: Sequence[str] = WEIGHTS) -> Path:
    found = _candidates(folder, names)
    if not found:
        there = ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "an empty folder"
        raise DataError(
            f"{folder}: expected {' or '.join(names)}, also of a variant ({', '.join(VARIANTS)}), or its index; got "
            f"{there}. Other files are read by path=FILE."
        )
    return found[0]


def _first_stage(settings: Mapping[str, Any], weights: Mapping[str, Tensor], folder: Path) -> FirstStagePart:
    config = fields.autoencoder_in(settings, str(folder / CONFIG))
    model = on_meta(config)
    check_groups(model, settings.get("norm_num_groups", 32), str(folder / CONFIG))
    state = to_internal(weights, autoencoder_entries(config, model), model.state_dict(), str(folder))
    return FirstStagePart(config, {**state, **fresh_buffers(model)})


def _diffusion(
    settings: Mapping[str, Any], weights: Mapping[str, Tensor], folder: Path, options: Options, notes: list[str]
) -> DiffusionPart:
    what, conditioner, rows, side = str(folder / CONFIG), None, {}, None
    if settings["_class_name"] in DITS:
        config = dit.network_in(settings, what, options.freq_shift)
        state, table = dit.weights_in(config, weights, str(folder))
        conditioner, rows = class_label(table, "vector"), {"embedding.weight": table}
        side = dit.latent_size(settings)
        notes.append(
            f"frequencies of the time: freq_shift={options.freq_shift} (diffusers computes with true, Peebles & Xie "
            "trained with false; key interop.freq_shift)"
        )
    else:
        config = fields.unet_in(settings, what)
        model = on_meta(config)
        check_groups(model, settings.get("norm_num_groups", 32), what)
        state = to_internal(weights, unet_entries(config, model), model.state_dict(), str(folder))
    places = [folder / "scheduler" / SCHEDULER, folder.parent / "scheduler" / SCHEDULER]
    found = next((p for p in places if p.is_file()), None)
    schedule, parameterization = _scheduler(None if found is None else _json(found), config, options, found, notes)
    whole = diffusion_config(config, schedule, parameterization, conditioner, latent_size=side)
    return DiffusionPart(whole, weights_of({"raw": state}, rows))


def _scheduler(
    settings: Mapping[str, Any] | None, config: Mapping[str, Any], options: Options, path: Path | None, notes: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(schedule, parameterization) of a scheduler's configuration; as published where there is none."""
    node: dict[str, Any]
    if settings is None:
        model = _published(config)
        kind_of_betas = Linear if model.linear else ScaledLinear
        start, end = options.beta_start or model.betas[0], options.beta_end or model.betas[1]
        node = {"T": options.T, "beta_start": start, "beta_end": end, "zero_terminal_snr": False}
        notes.append(
            f"schedule: {kind_of_betas.__name__} T={options.T} beta_start={start:g} beta_end={end:g}, eps "
            f"(from {model.name}; keys interop.T, interop.beta_start, interop.beta_end)"
        )
        return {TARGET: target_of(kind_of_betas), **node}, dict(EPS)
    if (name := str(settings.get("_class_name"))).startswith(("FlowMatch", "EDMEuler", "EDMDPM")):
        raise DataError(f"{path}: expected a scheduler with betas, as others are not imported; got {name}.")
    zero, kind = bool(settings.get("rescale_betas_zero_snr", False)), settings.get("beta_schedule", "linear")
    T = settings.get("num_train_timesteps", 1000)
    if settings.get("trained_betas") is not None:
        node = {
            TARGET: target_of(Custom),
            "betas": list(settings["trained_betas"]),
            "zero_terminal_snr": zero,
        }
    elif kind in _SCHEDULES:
        ends = {"beta_start": settings.get("beta_start", 0.0001), "beta_end": settings.get("beta_end", 0.02)}
        node = {TARGET: target_of(_SCHEDULES[kind]), "T": T, **ends, "zero_terminal_snr": zero}
    elif kind == "squaredcos_cap_v2":
        cosine = {TARGET: target_of(Cosine), "T": T, "s": 0.008, "max_beta": 0.999}
        node = {**cosine, "zero_terminal_snr": zero}
    else:
        known = ", ".join([*_SCHEDULES, "squaredcos_cap_v2"])
        raise DataError(f"{path}: expected beta_schedule to be one of {known}, or trained_betas; got {kind!r}.")
    predicted = settings.get("prediction_type", "epsilon")
    if predicted not in _PARAMETERIZATIONS:
        known = ", ".join(_PARAMETERIZATIONS)
        raise DataError(f"{path}: expected prediction_type to be one of {known}; got {predicted!r}.")
    return node, {TARGET: target_of(_PARAMETERIZATIONS[predicted])}


def _scale(parts: Parts, options: Options, scale: float | None) -> None:
    """Put the scale of the latents into the diffusion part."""
    if parts.diffusion is None:
        return
    source = "the autoencoder's scaling_factor"
    if options.scale_factor is not None:
        scale, source = options.scale_factor, "interop"
    elif scale is None:
        model = _published(parts.diffusion.config["network"])
        scale, source = model.scale, model.name
    parts.diffusion.config["scale_factor"] = float(scale)
    parts.notes.append(f"scale of the latents: {scale:g} (from {source}; key interop.scale_factor)")


def _published(network: Mapping[str, Any]) -> Published:
    """The released model of a network node; of a DiT of other latents than those of 4 channels, its betas alone."""
    if network[TARGET] == target_of(DiT):
        return DIT if network["in_channels"] == 4 else replace(DIT, name="the default values", scale=1.0)
    total = network["in_channels"] + network["spatial_channels"]
    return published(network["ch"], network["ch_mult"], network["context_dim"], total)


def first_stage_out(
    config: Mapping[str, Any], state: Mapping[str, Tensor], scale: float
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(config.json, tensors) of an autoencoder; DataError, ConfigError where diffusers has no such network."""
    model = on_meta(config)
    table = autoencoder_entries(config, model)
    return fields.autoencoder_out(config, _groups(model), scale), to_external(state, table)


@dataclass(frozen=True)
class NetworkOut:
    """A diffusion network as diffusers has it. folder: in a pipeline; config: its config.json; has_classes: the
    embedding of the classes is among the tensors; messages: on what the format cannot hold."""

    folder: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    has_classes: bool = False
    messages: tuple[str, ...] = ()


def network_out(
    config: Mapping[str, Any], state: Mapping[str, Tensor], rows: Tensor | None, side: int | None
) -> NetworkOut:
    """A network node with its tensors. rows: of a conditioner of classes; side: of the latents, where it is known.

    Raises DataError, ConfigError where diffusers has no such network.
    """
    if config[TARGET] != target_of(DiT):
        return NetworkOut("unet", *unet_out(config, state))
    messages = () if config["freq_shift"] else (FREQUENCIES,)
    return NetworkOut("transformer", *dit.model_out(config, state, rows, side), True, messages)


def unet_out(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(config.json, tensors) of a UNet; DataError, ConfigError where diffusers has no such network."""
    model = on_meta(config, UNet)
    return fields.unet_out(config, _groups(model)), to_external(state, unet_entries(config, model))


def scheduler_out(schedule: Mapping[str, Any], parameterization: str, betas: list[float]) -> dict[str, Any]:
    """scheduler_config.json (DDIM, trailing). schedule: a node; parameterization: the name of its class; betas: the
    schedule's table. Raises ConfigError for another parameterization."""
    name = str(schedule["_target_"]).rsplit(".", 1)[-1]
    kinds = {schedule_class.__name__: kind for kind, schedule_class in _SCHEDULES.items()}
    predicted = {kind.__name__: external for external, kind in _PARAMETERIZATIONS.items()}
    if parameterization not in predicted:
        raise ConfigError("parameterization", "eps, v or x0", parameterization)
    settings = {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": len(betas),
        "prediction_type": predicted[parameterization],
        "clip_sample": False,
        "timestep_spacing": "trailing",
    }
    if name in kinds and not schedule["zero_terminal_snr"]:
        return {**settings, **{k: schedule[k] for k in ("beta_start", "beta_end")}, "beta_schedule": kinds[name]}
    return {**settings, "trained_betas": betas}


def _groups(model: Any) -> int:
    found = normal_groups(model)
    if len(found) != 1:
        raise DataError(
            f"export: expected one number of groups in all normalisations, as diffusers has; got {sorted(found)}. "
            "Widths of at least 128 that are divisible by 32 have 32 everywhere."
        )
    return found.pop()
