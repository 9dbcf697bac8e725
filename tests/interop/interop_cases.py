"""Networks in the published configurations, with fewer channels where the structure is the same."""

from typing import Any

import torch
from torch import nn

KL_F8 = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
}
TEXT_TO_IMAGE = {
    "sample_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 1280,
    "attention_head_dim": 8,
}
CLASS_F8 = {
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3,
    "up_block_types": ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (256, 512, 1024),
    "layers_per_block": 2,
    "cross_attention_dim": 512,
    "attention_head_dim": (8, 16, 32),
}
CELEBA_F4 = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownBlock2D", *("AttnDownBlock2D",) * 3),
    "up_block_types": (*("AttnUpBlock2D",) * 3, "UpBlock2D"),
    "block_out_channels": (224, 448, 672, 896),
    "layers_per_block": 2,
    "attention_head_dim": 32,
}
CHURCHES = {
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": (*("AttnDownBlock2D",) * 4, "DownBlock2D"),
    "up_block_types": ("ResnetUpsampleBlock2D", *("AttnUpBlock2D",) * 4),
    "block_out_channels": (192, 384, 384, 768, 768),
    "layers_per_block": 2,
    "attention_head_dim": 24,
    "downsample_type": "resnet",
    "upsample_type": "resnet",
    "resnet_time_scale_shift": "scale_shift",
    "attn_norm_num_groups": 32,
}
# name: (class, arguments, parameters that the published model has)
FULL: dict[str, tuple[str, dict[str, Any], int | None]] = {
    "kl-f8": ("AutoencoderKL", KL_F8, 83_653_863),
    "text-to-image": ("UNet2DConditionModel", TEXT_TO_IMAGE, 872_300_484),
    "class-conditional f8": ("UNet2DConditionModel", CLASS_F8, 394_984_196),
    "celeba f4": ("UNet2DModel", CELEBA_F4, 274_056_163),
}
SMALL_KL = {**KL_F8, "block_out_channels": (128, 128), "down_block_types": ("DownEncoderBlock2D",) * 2,
            "up_block_types": ("UpDecoderBlock2D",) * 2, "layers_per_block": 1}  # fmt: skip
SMALL_VQ = {
    "down_block_types": ("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
    "up_block_types": ("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
    "block_out_channels": (128, 256),
    "layers_per_block": 1,
    "latent_channels": 3,
    "num_vq_embeddings": 64,
}
SMALL_CROSS = {
    **CLASS_F8,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "block_out_channels": (128, 128),
    "layers_per_block": 1,
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
}
SMALL_PLAIN = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (128, 256),
    "layers_per_block": 1,
    "attention_head_dim": 32,
}
ENCODER, DECODER = "DownEncoderBlock2D", "UpDecoderBlock2D"
DEEP_KL: dict[str, Any] = {"block_out_channels": (128, 128, 256), "layers_per_block": 2}
DEEP_KL |= {"down_block_types": (ENCODER,) * 3, "up_block_types": (DECODER,) * 3}
NO_ATTENTION = {"mid_block_add_attention": False, "down_block_types": (ENCODER,) * 2, "up_block_types": (DECODER,) * 2}
VECTOR = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 24}
SMALL_CHURCHES = {
    **CHURCHES,
    "block_out_channels": (128, 128, 256),
    "layers_per_block": 1,
    "down_block_types": (*("AttnDownBlock2D",) * 2, "DownBlock2D"),
    "up_block_types": ("ResnetUpsampleBlock2D", *("AttnUpBlock2D",) * 2),
    "attention_head_dim": 16,
}
CROSSED: dict[str, dict[str, Any]] = {
    "8 heads": {},
    "32 channels a head": {"attention_head_dim": (4, 8), "block_out_channels": (128, 256)},
    "1 head": {"attention_head_dim": 1},
    "depth 3, 2 blocks": {"transformer_layers_per_block": 3, "layers_per_block": 2},
    "linear projections": {"use_linear_projection": True},
    "more channels in than out": {"in_channels": 9},
    "vector": VECTOR,
    "scale-shift, tokens": {"resnet_time_scale_shift": "scale_shift"},
}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "kl": ("AutoencoderKL", {**SMALL_KL, **DEEP_KL}),
    "vq with attention": ("VQModel", SMALL_VQ),
    "vq without": ("VQModel", {**SMALL_VQ, **NO_ATTENTION}),
    **{name: ("UNet2DConditionModel", {**SMALL_CROSS, **options}) for name, options in CROSSED.items()},
    "plain": ("UNet2DModel", SMALL_PLAIN),
    "plain, one head": ("UNet2DModel", {**SMALL_PLAIN, "attention_head_dim": None}),
    "churches": ("UNet2DModel", SMALL_CHURCHES),
}


def reference_model(kind: str, arguments: dict[str, Any], seed: int = 0) -> nn.Module:
    """A diffusers model whose weights are all drawn, biases and normalisations too, so that none can be mixed up."""
    import diffusers

    torch.manual_seed(seed)
    model: nn.Module = getattr(diffusers, kind)(**arguments)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * (0.02 if p.ndim > 1 else 0.1))
    return model.eval()
