"""Training step of the KL autoencoder, eager on both sides."""

from bench.autoencoder_sides import SIZES, diffusers, ours
from bench.row import Bound, Row

ROW = Row(
    title="Training step of the KL autoencoder, without loss networks, against diffusers' AutoencoderKL, eager",
    sides={"ours": ours, "diffusers": diffusers},
    cases={**SIZES, "medium, channels-last": {**SIZES["medium"], "channels_last": True}},
    unit="images",
    agree=1e-4,
    bounds=(Bound("diffusers", time=0.95, memory=1.0),),
    seconds=8,
    note="Equal weights, memory format, threads, attention (SDPA) and fused AdamW on both sides; forward pass, backward"
    " pass and step. L1 error and KL.",
)
