"""Checkpoints of CompVis latent-diffusion and stable-diffusion v1, in and out.

first_stage_model.*, model.diffusion_model.*, its average model_ema.* (names without their dots), cond_stage_model.*,
scale_factor, and the tables of the schedule. A file of one part alone has no prefix.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablatent.core.errors import DataError
from ablatent.core.tensor_files import read_tensors
from ablatent.interop import text
from ablatent.interop.compvis_names import autoencoder_entries, unet_entries
from ablatent.interop.compvis_shapes import autoencoder_config, schedule_of, unet_config
from ablatent.interop.layout import check_groups, fresh_buffers, on_meta
from ablatent.interop.parts import EPS, DiffusionPart, FirstStagePart, Parts, class_label, diffusion_config, weights_of
from ablatent.interop.published import Options
from ablatent.interop.renaming import check_finite, to_external, to_internal
from ablatent.networks.unet import UNet

GROUPS = 32
FIRST_STAGE, UNET, EMA, COND = "first_stage_model.", "model.diffusion_model.", "model_ema.", "cond_stage_model."
TEXT = "cond_stage_model.transformer."
CLASS_ROWS = "cond_stage_model.embedding.weight"
EMA_COUNTERS = ("decay", "num_updates")


@dataclass(kw_only=True)
class Split:
    """The tensors of a checkpoint by part, without their prefixes.

    prefixes: part → what stood before its names. class_rows: the embedding of the classes. text: LDM's text
    transformer. not_read: what is left, the start of the name → how many tensors.
    """

    first_stage: dict[str, Tensor] = field(default_factory=dict)
    unet: dict[str, Tensor] = field(default_factory=dict)
    ema: dict[str, Tensor] = field(default_factory=dict)
    class_rows: Tensor | None = None
    text: dict[str, Tensor] = field(default_factory=dict)
    scale_factor: float | None = None
    betas: Tensor | None = None
    prefixes: dict[str, str] = field(default_factory=dict)
    not_read: Counter[str] = field(default_factory=Counter)


def split(state: Mapping[str, Tensor], what: str) -> Split:
    """The parts of a checkpoint; DataError where there is none."""
    parts = Split()
    if any(name.startswith((FIRST_STAGE, UNET)) for name in state):
        parts.prefixes = {"first_stage": FIRST_STAGE, "unet": UNET}
        if f"{TEXT}token_emb.weight" in state:  # CLIP's has the same prefix, and other names
            parts.prefixes["text"] = TEXT
    elif any(name.startswith("input_blocks.") for name in state):
        parts.prefixes = {"unet": ""}
    elif any(name.startswith(("encoder.", "decoder.")) for name in state):
        parts.prefixes = {"first_stage": ""}
    else:
        starts = Counter(name.split(".")[0] for name in state).most_common(5)
        raise DataError(
            f"{what}: expected names of CompVis ({FIRST_STAGE}*, {UNET}*, encoder.*, input_blocks.*); got "
            f"{len(state)} tensors by others: {', '.join(f'{k} ({n})' for k, n in starts)}."
        )
    for name, tensor in state.items():
        if not _place(parts, name, tensor):
            parts.not_read[".".join(name.split(".")[:2]) if name.startswith(COND) else name.split(".")[0]] += 1
    return parts


def _place(parts: Split, name: str, tensor: Tensor) -> bool:
    """Put one tensor where it belongs; whether it is read."""
    for part, prefix in parts.prefixes.items():
        if name.startswith(prefix) and not name.startswith((f"{prefix}loss.", f"{prefix}model_ema.")):
            getattr(parts, part)[name[len(prefix) :]] = tensor
            return True
    if name.startswith(EMA):
        parts.ema[name.removeprefix(EMA)] = tensor
        return True
    if name == CLASS_ROWS and tensor.ndim == 2:
        parts.class_rows = tensor
    elif name == "scale_factor":
        parts.scale_factor = float(tensor)
    elif name == "betas":
        parts.betas = tensor
    else:
        return name.startswith(("alphas_cumprod", "sqrt_", "log_one_minus", "posterior_", "lvlb_", "logvar"))
    return True


def averaged(ema: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The averaged UNet under the UNet's own names, those that are there; what fits none keeps its name."""
    dotted = {_without_dots(name): name for name in names}
    return {dotted.get(k, f"{EMA}{k}"): v for k, v in ema.items() if k not in EMA_COUNTERS}


def join(
    first_stage: Mapping[str, Tensor] | None,
    unet: Mapping[str, Tensor],
    ema: Mapping[str, Tensor] | None,
    about: Mapping[str, Any],
) -> dict[str, Tensor]:
    """A whole checkpoint. about: class_rows, text (of the text transformer), scale_factor, betas, ema_decay,
    ema_updates; each may be None."""
    state = {f"{FIRST_STAGE}{k}": v for k, v in (first_stage or {}).items()}
    state |= {f"{UNET}{k}": v for k, v in unet.items()}
    if ema is not None:
        state |= {EMA + _without_dots(k): v for k, v in ema.items()}
        state[f"{EMA}decay"] = torch.tensor(float(about["ema_decay"]), dtype=torch.float32)
        state[f"{EMA}num_updates"] = torch.tensor(int(about["ema_updates"]), dtype=torch.int32)
    if about["class_rows"] is not None:
        state[CLASS_ROWS] = about["class_rows"]
    state |= {f"{TEXT}{k}": v for k, v in (about.get("text") or {}).items()}
    if about["scale_factor"] is not None:
        state["scale_factor"] = torch.tensor(float(about["scale_factor"]), dtype=torch.float32)
    betas: Tensor = about["betas"]
    state |= {"betas": betas.float(), "alphas_cumprod": torch.cumprod(1.0 - betas.double(), 0).float()}
    return state


def _without_dots(name: str) -> str:
    """How the average names a parameter of the whole model: without its dots, prefix included."""
    return f"diffusion_model.{name}".replace(".", "")


def read(path: Path, options: Options | None) -> Parts:
    """The parts of a weights file, or of those of an index, without running anything of it; with options None the
    autoencoder alone. Raises DataError, ConfigError."""
    found = split(read_tensors(path), str(path))
    parts = Parts(not_read=found.not_read)
    if found.first_stage:
        parts.first_stage = _first_stage(found, f"{path}: first stage")
    if found.unet and options is not None:
        parts.diffusion = _diffusion(found, options, path, parts.notes)
    return parts


def _first_stage(found: Split, what: str) -> FirstStagePart:
    config = autoencoder_config(found.first_stage, what)
    model = on_meta(config)
    check_groups(model, GROUPS, what)
    table, shapes = autoencoder_entries(config, model), model.state_dict()
    state = to_internal(found.first_stage, table, shapes, what, found.prefixes["first_stage"])
    return FirstStagePart(config, {**state, **fresh_buffers(model)})


def _diffusion(found: Split, options: Options, path: Path, notes: list[str]) -> DiffusionPart:
    what = f"{path}: UNet"
    config, model, heads_note = unet_config(found.unet, options, what, path)
    network = on_meta(config)
    check_groups(network, GROUPS, what)
    table, shapes = unet_entries(config, network, options.heads_first), network.state_dict()
    states = {"raw": to_internal(found.unet, table, shapes, what, found.prefixes["unet"])}
    if found.ema:
        states["ema"] = to_internal(averaged(found.ema, found.unet), table, shapes, f"{what}, its average")
    schedule, source = schedule_of(found.betas, options, model)
    scale, scale_source = options.scale_factor, "interop"
    if scale is None:
        scale, scale_source = (
            (model.scale, model.name) if found.scale_factor is None else (found.scale_factor, "the file")
        )
    conditioner, rows = _classes(found, config, options)
    if found.text:
        conditioner, rows = text.compvis_in(found.text, f"{what}, its text transformer", TEXT)
        heads = f"heads={conditioner['heads']} head_channels={conditioner['head_channels']}"
        notes.append(f"text transformer: {heads} mask_padding=False (from latent-diffusion's BERTEmbedder)")
    notes += [
        heads_note,
        f"schedule: {_short(schedule)} (from {source}; keys interop.T, interop.beta_start, interop.beta_end)",
        f"scale of the latents: {scale:g} (from {scale_source}; key interop.scale_factor)",
    ]
    return DiffusionPart(diffusion_config(config, schedule, dict(EPS), conditioner, scale), weights_of(states, rows))


def _classes(
    found: Split, config: Mapping[str, Any], options: Options
) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """The conditioner of a class-conditional model, whose last row is the null class, and its tensors."""
    rows = found.class_rows
    widths = {config["context_dim"]: "tokens", config["vector_dim"]: "vector"}
    if rows is None or rows.shape[1] not in widths:
        if rows is not None:
            found.not_read[CLASS_ROWS] += 1
        return None, {}
    rows = rows.float().contiguous()
    check_finite({CLASS_ROWS: rows}, "class embedding")
    if not options.null_label:
        rows = torch.cat([rows, torch.zeros_like(rows[:1])])
    return class_label(rows, widths[rows.shape[1]]), {"embedding.weight": rows}


def _short(schedule: Mapping[str, Any]) -> str:
    values = [f"{k}={v}" for k, v in schedule.items() if k in ("T", "beta_start", "beta_end")]
    return " ".join([str(schedule["_target_"]).rsplit(".", 1)[-1], *values])


def first_stage_out(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An autoencoder's tensors by CompVis names; ConfigError, DataError where there is no such network."""
    model = on_meta(config)
    check_groups(model, GROUPS, "export")
    return to_external(state, autoencoder_entries(config, model))


def unet_out(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A UNet's tensors by CompVis names; ConfigError, DataError where there is no such network."""
    model = on_meta(config, UNet)
    check_groups(model, GROUPS, "export")
    return to_external(state, unet_entries(config, model))
