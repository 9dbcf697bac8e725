"""Configurations of the reference code (the config.yaml beside a checkpoint) for networks of ours.

Attention of its autoencoders is given by resolutions of 256-pixel images, attention of its UNets by factors.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ablatent.core.errors import ConfigError, DataError
from ablatent.interop.published import Published
from ablatent.schedules.linear import Linear
from ablatent.schedules.scaled_linear import ScaledLinear

SIZE = 256
Json = Mapping[str, Any]
BESIDE = "config.yaml"
PARAMETERIZATIONS = ("eps", "x0", "v")


def described_beside(
    file: Path, ch: int, ch_mult: Sequence[int], context_dim: int | None, channels: int
) -> Published | None:
    """What the config.yaml beside a checkpoint says of its model; None where there is none, or of another shape."""
    try:
        model = yaml.safe_load((file.parent / BESIDE).read_bytes())["model"]["params"]
        unet = model["unet_config"]["params"]
        shape = (unet["model_channels"], list(unet["channel_mult"]), unet.get("context_dim"), unet["in_channels"])
        heads, head_channels = (int(unet.get(name, -1)) for name in ("num_heads", "num_head_channels"))
        betas = (float(model.get("linear_start", 1e-4)), float(model.get("linear_end", 2e-2)))
        scale = float(model.get("scale_factor", 1.0))
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return None
    if shape != (ch, list(ch_mult), context_dim, channels) or max(heads, head_channels) < 1:
        return None
    return Published(
        f"{BESIDE} beside it",
        ch,
        tuple(ch_mult),
        context_dim=context_dim,
        channels=channels,
        heads=None if head_channels > 0 else heads,
        head_channels=head_channels if head_channels > 0 else None,
        betas=betas,
        scale=scale,
    )


def first_stage_config(config: Json) -> dict[str, Any]:
    """target and params of an autoencoder; DataError where the reference has no such one."""
    if not config["mid_attention"] and config["attn_factors"]:
        raise DataError(
            "export: expected attention in the middle or nowhere, as the reference's autoencoders have it; got "
            f"mid_attention=false, attn_factors={list(config['attn_factors'])}. Use format=diffusers."
        )
    quantised = "n_embed" in config
    params = {
        "embed_dim": config["z_channels"],
        "lossconfig": {"target": "torch.nn.Identity"},
        "ddconfig": {
            "double_z": not quantised,
            "z_channels": config["z_channels"],
            "resolution": SIZE,
            "in_channels": config.get("image_channels", 3),
            "out_ch": config.get("image_channels", 3),
            "ch": config["ch"],
            "ch_mult": list(config["ch_mult"]),
            "num_res_blocks": config["num_res_blocks"],
            "attn_resolutions": [SIZE // f for f in config["attn_factors"]],
            "dropout": 0.0,
            **({} if config["mid_attention"] else {"attn_type": "none"}),
        },
    }
    if quantised:
        return {"target": "ldm.models.autoencoder.VQModelInterface", "params": {**params, "n_embed": config["n_embed"]}}
    return {"target": "ldm.models.autoencoder.AutoencoderKL", "params": params}


def unet_config(config: Json) -> dict[str, Any]:
    """target and params of a UNet."""
    crossed = config["context_dim"] is not None
    tokens = {
        "use_spatial_transformer": True,
        "transformer_depth": config["transformer_depth"],
        "context_dim": config["context_dim"],
    }
    params = {
        "image_size": 32,
        "in_channels": config["in_channels"] + config["spatial_channels"],
        "out_channels": config["out_channels"],
        "model_channels": config["ch"],
        "channel_mult": list(config["ch_mult"]),
        "num_res_blocks": config["num_res_blocks"],
        "attention_resolutions": list(config["attn_factors"]),
        "num_heads": -1 if config["heads"] is None else config["heads"],
        "num_head_channels": -1 if config["head_channels"] is None else config["head_channels"],
        "use_scale_shift_norm": config["scale_shift"],
        "resblock_updown": config["resblock_updown"],
        **(tokens if crossed else {}),
    }
    return {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel", "params": params}


def model_config(unet: Json, first_stage: Json | None, about: Json) -> dict[str, Any]:
    """The whole LatentDiffusion. about: schedule (node), parameterization (eps, x0, v), scale_factor, ema (whether the
    file has averages), classes (rows and width of the class embedding, or None), text (cond_stage_config of a text
    transformer, or None). Raises ConfigError for another parameterization."""
    if about["parameterization"] not in PARAMETERIZATIONS:
        expected = f"one that the format has ({', '.join(PARAMETERIZATIONS)})"
        raise ConfigError("parameterization", expected, about["parameterization"])
    schedule = about["schedule"]
    params = {
        "unet_config": unet_config(unet),
        "first_stage_config": None if first_stage is None else first_stage_config(first_stage),
        "cond_stage_config": "__is_unconditional__",
        "parameterization": about["parameterization"],
        "scale_factor": about["scale_factor"],
        "use_ema": about["ema"],
        "channels": unet["in_channels"],
        "image_size": 32,
    }
    names = {ScaledLinear.__name__: "linear", Linear.__name__: "sqrt_linear"}
    name = names.get(str(schedule["_target_"]).rsplit(".", 1)[-1])
    if name is not None and not schedule["zero_terminal_snr"]:
        ends = {"linear_start": schedule["beta_start"], "linear_end": schedule["beta_end"]}
        params |= {"beta_schedule": name, "timesteps": schedule["T"], **ends}
    if about["classes"] is not None:
        rows, width = about["classes"]
        embedder = {"n_classes": rows, "embed_dim": width, "key": "class_label"}
        params["cond_stage_config"] = {"target": "ldm.modules.encoders.modules.ClassEmbedder", "params": embedder}
        params["conditioning_key"] = "crossattn"
    elif about.get("text") is not None:
        params |= {"cond_stage_config": about["text"], "conditioning_key": "crossattn"}
    elif unet["spatial_channels"]:
        params["conditioning_key"] = "concat"
    return {"model": {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": params}}
