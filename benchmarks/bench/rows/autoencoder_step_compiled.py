"""Training step of the KL autoencoder, compiled on both sides."""

from bench.autoencoder_sides import SIZES, diffusers, ours
from bench.row import Bound, Row

ROW = Row(
    title="Training step of the KL autoencoder, without loss networks, against diffusers' AutoencoderKL, torch.compile",
    sides={"ours": ours, "diffusers": diffusers},
    cases={name: {**options, "compiled": True} for name, options in SIZES.items()},
    unit="images",
    agree=1e-4,
    bounds=(Bound("diffusers", time=0.95, memory=1.0),),
    seconds=8,
    warmup=2,
    note="As autoencoder_step, through torch.compile with its default settings; compiling is not counted.",
)
