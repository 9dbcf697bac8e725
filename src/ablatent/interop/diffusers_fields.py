"""The fields of a diffusers config.json: which classes are read, and what in them our networks can have."""

from collections.abc import Mapping
from typing import Any

from ablatent.core.errors import DataError

Json = Mapping[str, Any]

# field → the value that our networks have (other values are refused); the first is also the value of a missing field
_COMMON: dict[str, Any] = {"act_fn": "silu"}
_AUTOENCODER = {**_COMMON, "in_channels": 3, "out_channels": 3}
UNET = {
    **_COMMON,
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-5,
}
FIXED: dict[str, dict[str, Any]] = {
    "AutoencoderKL": {**_AUTOENCODER, "use_quant_conv": True, "use_post_quant_conv": True},
    "VQModel": {**_AUTOENCODER, "norm_type": "group", "lookup_from_codebook": False},
    "UNet2DModel": {**UNET, "mid_block_type": "UNetMidBlock2D", "add_attention": True},
    "UNet2DConditionModel": {
        **UNET,
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "resnet_out_scale_factor": 1.0,
        "conv_in_kernel": 3,
        "conv_out_kernel": 3,
        "attention_type": "default",
    },
}
AUTOENCODERS = ("AutoencoderKL", "VQModel")
# fields that are read below, or that change no result
READ = (
    *("block_out_channels", "layers_per_block", "down_block_types", "up_block_types", "norm_num_groups", "dropout"),
    *("in_channels", "out_channels", "latent_channels", "scaling_factor", "num_vq_embeddings", "vq_embed_dim"),
    *("mid_block_add_attention", "attention_head_dim", "num_attention_heads", "cross_attention_dim"),
    *("transformer_layers_per_block", "use_linear_projection", "resnet_time_scale_shift", "downsample_type"),
    *("upsample_type", "attn_norm_num_groups", "class_embed_type", "projection_class_embeddings_input_dim"),
    *("sample_size", "force_upcast", "upcast_attention", "num_train_timesteps", "addition_embed_type_num_heads"),
)
ATTENDING = {
    "AttnDownEncoderBlock2D": True,
    "DownEncoderBlock2D": False,
    "AttnUpDecoderBlock2D": True,
    "UpDecoderBlock2D": False,
    "CrossAttnDownBlock2D": True,
    "CrossAttnUpBlock2D": True,
    "AttnDownBlock2D": True,
    "AttnUpBlock2D": True,
    "DownBlock2D": False,
    "UpBlock2D": False,
    "ResnetDownsampleBlock2D": False,
    "ResnetUpsampleBlock2D": False,
}


def check(settings: Json, what: str) -> str:
    """The class of a config.json, one of the four; DataError for others and for fields that ours cannot have."""
    kind = str(settings.get("_class_name"))
    if kind not in FIXED:
        raise DataError(f"{what}: expected _class_name to be one of {', '.join(FIXED)}; got {kind}.")
    for field, value in FIXED[kind].items():
        if settings.get(field, value) != value:
            raise DataError(f"{what}: expected {field} = {value!r} as in our networks; got {settings[field]!r}.")
    for field, value in settings.items():
        if field not in FIXED[kind] and field not in READ and not field.startswith("_") and value not in (None, False):
            raise DataError(f"{what}: expected fields of {kind} that our networks have; got {field} = {value!r}.")
    return kind
