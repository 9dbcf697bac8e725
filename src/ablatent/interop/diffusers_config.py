"""config.json of diffusers' models in our terms, and back. Fields that would change the result are refused.

`attention_head_dim` is the number of heads in UNet2DConditionModel (a name that was kept by mistake), the channels of a
head in UNet2DModel.
"""

from collections.abc import Sequence
from typing import Any

from ablatent.core.errors import DataError
from ablatent.core.targets import TARGET, target_of
from ablatent.first_stage.kl import KLAutoencoder
from ablatent.first_stage.vq import VQAutoencoder
from ablatent.interop.diffusers_fields import ATTENDING, UNET, Json, check
from ablatent.interop.layout import heads_by_width, integer_multiples
from ablatent.networks.unet import UNet


def autoencoder_in(settings: Json, what: str) -> dict[str, Any]:
    """The first_stage node (without training) of an AutoencoderKL or a VQModel."""
    kind = check(settings, what)
    ch, mult = integer_multiples(settings["block_out_channels"], what)
    z = settings.get("latent_channels", 4 if kind == "AutoencoderKL" else 3)
    config = {
        "ch": ch,
        "ch_mult": mult,
        "num_res_blocks": settings.get("layers_per_block", 1),
        "z_channels": z,
        "attn_factors": _attention(settings, what),
        "mid_blocks": 2,
        "mid_attention": settings.get("mid_block_add_attention", True),
        "dropout": 0.0,
        "stem": 1,
    }
    if kind == "AutoencoderKL":
        return {TARGET: target_of(KLAutoencoder), **config}
    if settings.get("vq_embed_dim") not in (None, z):
        raise DataError(f"{what}: expected vq_embed_dim = latent_channels = {z}; got {settings['vq_embed_dim']}.")
    codes = {"n_embed": settings.get("num_vq_embeddings", 256), "beta": 0.25, "restart_every": None, "init": "uniform"}
    return {TARGET: target_of(VQAutoencoder), **config, **codes}


def autoencoder_out(config: Json, groups: int, scale: float) -> dict[str, Any]:
    """config.json of an autoencoder; scale: by which diffusion multiplies its raw latents."""
    levels, factors = len(config["ch_mult"]), config["attn_factors"]
    down = ["AttnDownEncoderBlock2D" if 2**i in factors else "DownEncoderBlock2D" for i in range(levels)]
    up = ["AttnUpDecoderBlock2D" if 2**i in factors else "UpDecoderBlock2D" for i in reversed(range(levels))]
    settings = {
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "in_channels": config.get("image_channels", 3),
        "out_channels": config.get("image_channels", 3),
        "down_block_types": down,
        "up_block_types": up,
        "block_out_channels": [config["ch"] * m for m in config["ch_mult"]],
        "layers_per_block": config["num_res_blocks"],
        "latent_channels": config["z_channels"],
        "norm_num_groups": groups,
        "mid_block_add_attention": config["mid_attention"],
        "scaling_factor": scale,
    }
    if "n_embed" not in config:
        return settings
    return {
        **settings,
        "_class_name": "VQModel",
        "num_vq_embeddings": config["n_embed"],
        "vq_embed_dim": config["z_channels"],
    }


def unet_in(settings: Json, what: str) -> dict[str, Any]:
    """The network node of a UNet2DModel or a UNet2DConditionModel."""
    kind = check(settings, what)
    crossed = kind == "UNet2DConditionModel"
    ch, mult = integer_multiples(settings["block_out_channels"], what)
    factors = _attention(settings, what)
    total, out = settings.get("in_channels", 4 if crossed else 3), settings.get("out_channels", 4 if crossed else 3)
    latent = out if out <= total else total
    shift = settings.get("resnet_time_scale_shift", "default")
    if shift not in ("default", "scale_shift"):
        raise DataError(f"{what}: expected resnet_time_scale_shift = default or scale_shift; got {shift!r}.")
    groups = settings.get("norm_num_groups", 32)
    if (
        not crossed
        and settings.get("attn_norm_num_groups") != groups
        and (shift != "default" or settings.get("attn_norm_num_groups"))
    ):
        got = settings.get("attn_norm_num_groups")
        raise DataError(f"{what}: expected attn_norm_num_groups = norm_num_groups = {groups}; got {got}.")
    vector = None
    if settings.get("class_embed_type") is not None:
        if not crossed or settings["class_embed_type"] != "projection":
            raise DataError(
                f"{what}: expected class_embed_type = null or projection; got {settings['class_embed_type']!r}."
            )
        vector = settings["projection_class_embeddings_input_dim"]
    return {
        TARGET: target_of(UNet),
        "in_channels": latent,
        "out_channels": out,
        "ch": ch,
        "ch_mult": mult,
        "num_res_blocks": _one(settings.get("layers_per_block", 2), "layers_per_block", what),
        "attn_factors": factors,
        **(_number_of_heads(settings, ch, mult, factors, what) if crossed else _head_channels(settings)),
        "context_dim": _one(settings.get("cross_attention_dim", 1280), "cross_attention_dim", what)
        if crossed
        else None,
        "vector_dim": vector,
        "spatial_channels": total - latent,
        "transformer_depth": _one(
            settings.get("transformer_layers_per_block", 1), "transformer_layers_per_block", what
        ),
        "dropout": 0.0,
        "scale_shift": shift == "scale_shift",
        "resblock_updown": not crossed and _resized(settings, what),
        "checkpointing": False,
    }


def unet_out(config: Json, groups: int) -> dict[str, Any]:
    """config.json of a UNet: a UNet2DConditionModel where tokens are read, else a UNet2DModel."""
    levels, crossed, resized = len(config["ch_mult"]), config["context_dim"] is not None, config["resblock_updown"]
    if (crossed and resized) or (config["vector_dim"] is not None and not crossed):
        raise DataError(
            "export: expected a UNet that diffusers has; got "
            + ("tokens and resizing ResBlocks together" if crossed else "a vector without tokens")
            + ". Use format=compvis."
        )
    attending, plain = ("CrossAttn{}Block2D" if crossed else "Attn{}Block2D"), "{}Block2D"
    # the last of a side resizes nothing
    names = {
        side: [
            (
                attending
                if 2**i in config["attn_factors"]
                else "Resnet{0}sampleBlock2D"
                if resized and i != last
                else plain
            ).format(side)
            for i in order
        ]
        for side, order, last in (("Down", range(levels), levels - 1), ("Up", reversed(range(levels)), 0))
    }
    settings = {
        "_class_name": "UNet2DConditionModel" if crossed else "UNet2DModel",
        "in_channels": config["in_channels"] + config["spatial_channels"],
        "out_channels": config["out_channels"],
        "block_out_channels": [config["ch"] * m for m in config["ch_mult"]],
        "layers_per_block": config["num_res_blocks"],
        "down_block_types": names["Down"],
        "up_block_types": names["Up"],
        "norm_num_groups": groups,
        "resnet_time_scale_shift": "scale_shift" if config["scale_shift"] else "default",
        **UNET,
    }
    heads = heads_by_width(config)
    widths = settings["block_out_channels"]
    if crossed:
        counts = [heads.get(w) or heads[widths[-1]] for w in widths]
        return {
            **settings,
            "cross_attention_dim": config["context_dim"],
            "transformer_layers_per_block": config["transformer_depth"],
            # the number of heads, in spite of the name
            "attention_head_dim": counts[0] if len(set(counts)) == 1 else counts,
            "class_embed_type": None if config["vector_dim"] is None else "projection",
            "projection_class_embeddings_input_dim": config["vector_dim"],
        }
    channels = {w // n for w, n in heads.items()}
    single = set(heads.values()) == {1}
    if len(channels) > 1 and not single:
        raise DataError(
            f"export: expected equal channels a head at each width, as UNet2DModel has; got heads {heads} by width. "
            "Use format=compvis."
        )
    kind = "resnet" if resized else "conv"
    return {
        **settings,
        "attention_head_dim": None if single else channels.pop(),
        "attn_norm_num_groups": groups,
        "downsample_type": kind,
        "upsample_type": kind,
    }


def _one(value: Any, field: str, what: str) -> Any:
    """A field that may be one number for each level."""
    values = set(value) if isinstance(value, Sequence) else {value}
    if len(values) != 1 or not isinstance(next(iter(values)), int):
        raise DataError(f"{what}: expected one number as {field}; got {value}.")
    return values.pop()


def _attention(settings: Json, what: str) -> list[int]:
    """Factors of the levels with attention; both sides must agree."""
    down, up = settings["down_block_types"], settings["up_block_types"]
    if unknown := [name for name in (*down, *up) if name not in ATTENDING]:
        raise DataError(f"{what}: expected blocks of {', '.join(ATTENDING)}; got {unknown[0]}.")
    down_levels, up_levels = [ATTENDING[n] for n in down], [ATTENDING[n] for n in reversed(up)]
    if down_levels != up_levels:
        raise DataError(f"{what}: expected attention at the same levels on both sides; got {list(down)}, {list(up)}.")
    return [2**i for i, attends in enumerate(down_levels) if attends]


def _resized(settings: Json, what: str) -> bool:
    """Whether a UNet2DModel resizes inside ResBlocks; all levels must agree."""
    found = []
    for side, kind in (
        ("down", settings.get("downsample_type", "conv")),
        ("up", settings.get("upsample_type", "conv")),
    ):
        for name in settings[f"{side}_block_types"][:-1]:
            found.append(kind == "resnet" if ATTENDING[name] else name.startswith("Resnet"))
    if len(set(found)) > 1:
        raise DataError(f"{what}: expected all levels to resize alike (convolution or ResBlock); got a mixture.")
    return any(found)


def _head_channels(settings: Json) -> dict[str, int | None]:
    channels = settings.get("attention_head_dim", 8)
    return {"heads": 1, "head_channels": None} if channels is None else {"heads": None, "head_channels": channels}


def _number_of_heads(settings: Json, ch: int, mult: list[int], factors: list[int], what: str) -> dict[str, int | None]:
    given = settings.get("num_attention_heads") or settings.get("attention_head_dim", 8)
    counts = list(given) if isinstance(given, Sequence) else [given] * len(mult)
    used = {i: counts[i] for i in range(len(mult)) if 2**i in factors or i == len(mult) - 1}
    if len(set(used.values())) == 1:
        return {"heads": counts[-1], "head_channels": None}
    channels = {ch * mult[i] / n for i, n in used.items()}
    if len(channels) != 1 or not float(next(iter(channels))).is_integer():
        raise DataError(f"{what}: expected one number of heads, or one of channels a head, at all levels; got {given}.")
    return {"heads": None, "head_channels": int(channels.pop())}
