"""Training step of the DiT, eager and compiled."""

from bench.dit_sides import SIZES, diffusers, ours
from bench.row import Bound, Row, compiled

ROW = Row(
    title="Training step of the DiT against diffusers' DiTTransformer2DModel",
    sides={"ours": ours, "diffusers": diffusers},
    cases={**SIZES, **compiled(SIZES)},
    unit="images",
    agree=1e-4,
    bounds=(Bound("diffusers", time=0.95, memory=1.0),),
    seconds=8,
    warmup=2,
    full=frozenset(compiled(SIZES)),
    note="Equal weights, memory format, threads, attention (SDPA) and fused AdamW on both sides; forward pass, backward"
    " pass and step. diffusers embeds the time in each block anew, as its class does. Compiled: through"
    " torch.compile as it comes; compiling is not counted.",
)
