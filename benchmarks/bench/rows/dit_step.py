"""Training step of the DiT, eager on both sides."""

from bench.dit_sides import SIZES, diffusers, ours
from bench.row import Bound, Row

ROW = Row(
    title="Training step of the DiT against diffusers' DiTTransformer2DModel, eager",
    sides={"ours": ours, "diffusers": diffusers},
    cases=SIZES,
    unit="images",
    agree=1e-4,
    bounds=(Bound("diffusers", time=0.95, memory=1.0),),
    seconds=8,
    note="Equal weights, memory format, threads, attention (SDPA) and fused AdamW on both sides; forward pass, backward"
    " pass and step. diffusers embeds the time in each block anew, as its class does.",
)
