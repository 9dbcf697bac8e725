"""Training on a million cached latents against ten thousand: does time or memory grow?"""

import numpy as np

from ablatent.data.latents import LatentNormalizer, Latents
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.parameterization import Eps
from ablatent.schedules.linear import Linear
from ablatent.training.diffusion import DiffusionTraining, LatentBatches
from bench.equal_networks import our_network, unet_config
from bench.row import Bound, Case, Maker, Prepared, Row
from bench.training_loop import STEPS, TrainingInTurns, diffusion_trainee

SHAPE = (3, 8, 8)


def over(images: int) -> Maker:
    """The side that trains on so many latents."""

    def side(case: Case) -> Prepared:
        shape = (1, images, *SHAPE)
        arrays = {}
        for name in ("mean", "std"):
            array = np.lib.format.open_memmap(case.scratch / f"{name}.npy", mode="w+", dtype=np.float32, shape=shape)
            for first in range(0, images, 65536):
                array[0, first : first + 65536] = 0.5
            array.flush()
            arrays[name] = np.load(case.scratch / f"{name}.npy", mmap_mode="r")
        latents = Latents(arrays["mean"], arrays["std"], LatentNormalizer((0.0,) * 3, (1.0,) * 3))
        batch = case.options["batch"]
        settings = DiffusionTraining(
            steps=STEPS, batch_size=batch, warmup_steps=0, decay="none", clip=1.0, loss="mse",
            ema={"decay": 0.999, "warmup": True, "extra_decays": []}, snapshots=[], validate_every=STEPS,
            precision="32-true",
        )  # fmt: skip
        network = our_network(unet_config(in_channels=3, out_channels=3, ch=16, ch_mult=[1, 2]))
        denoiser = Denoiser(network, Linear(1000, 1e-4, 0.02, False), Eps())
        trainee = diffusion_trainee(denoiser, settings)
        batches = LatentBatches(latents, np.arange(images), {}, batch, 0)
        training = TrainingInTurns(trainee, batches, case.scratch, device="gpu" if case.device == "cuda" else "cpu")
        return Prepared(loop=training.run, units=batch)

    return side


ROW = Row(
    title="Step of a diffusion training on 10⁶ cached latents (3×8×8) against 10⁴",
    sides={"10⁶": over(1_000_000), "10⁴": over(10_000)},
    cases={"batch 32": {"batch": 32}, "batch 1024": {"batch": 1024}},
    bounds=(Bound("10⁴", time=1.05, megabytes=300),),
    unit="images",
    seconds=20,
    warmup=3,
    note="A UNet of 0.3M parameters. The memory of the first side beyond that of the second is the growth; mapped files"
    " do not count.",
)
