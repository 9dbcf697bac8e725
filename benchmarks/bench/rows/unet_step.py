"""Training step of the UNet, eager and compiled."""

from bench.row import Bound, Row, compiled
from bench.unet_sides import SIZES, diffusers, ours

ROW = Row(
    title="Training step of the UNet against diffusers' UNet2DModel",
    sides={"ours": ours, "diffusers": diffusers},
    cases={
        **SIZES,
        "medium, channels-last": {**SIZES["medium"], "channels_last": True},
        "medium, tokens": {**SIZES["medium"], "context_dim": 128},
        **compiled(SIZES),
    },
    unit="images",
    agree=1e-4,
    bounds=(Bound("diffusers", time=0.95, memory=1.0),),
    seconds=8,
    warmup=2,
    full=frozenset(compiled(SIZES)),
    note="Equal weights, memory format, threads, attention (SDPA) and fused AdamW on both sides; forward pass, backward"
    " pass and step. With tokens: UNet2DConditionModel. Compiled: through torch.compile as it comes; compiling"
    " is not counted.",
)
