"""Training step of the UNet, compiled on both sides."""

from bench.row import Bound, Row
from bench.unet_sides import SIZES, diffusers, ours

ROW = Row(
    title="Training step of the UNet against diffusers' UNet2DModel, torch.compile",
    sides={"ours": ours, "diffusers": diffusers},
    cases={name: {**options, "compiled": True} for name, options in SIZES.items()},
    unit="images",
    agree=1e-4,
    bounds=(Bound("diffusers", time=0.95, memory=1.0),),
    seconds=8,
    warmup=2,
    note="As unet_step, both networks through torch.compile with its default settings; compiling is not counted.",
)
