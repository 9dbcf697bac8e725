"""Training step of the KL autoencoder, eager and compiled."""

from bench.autoencoder_sides import SIZES, diffusers, ours
from bench.row import Bound, Row, compiled

ROW = Row(
    title="Training step of the KL autoencoder, without loss networks, against diffusers' AutoencoderKL",
    sides={"ours": ours, "diffusers": diffusers},
    cases={
        **SIZES,
        "medium, channels-last": {**SIZES["medium"], "channels_last": True},
        **compiled(SIZES),
    },
    unit="images",
    agree=1e-4,
    bounds=(Bound("diffusers", time=0.95, memory=1.0),),
    seconds=8,
    warmup=2,
    full=frozenset(compiled(SIZES)),
    note="Equal weights, memory format, threads, attention (SDPA) and fused AdamW on both sides; forward pass, backward"
    " pass and step. L1 error and KL. Compiled: through torch.compile as it comes; compiling is not counted.",
)
