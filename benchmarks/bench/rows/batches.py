"""Making the batch of a step from cached latents, by the number of images."""

import numpy as np

from ablatent.core.ranks import BatchShard
from ablatent.data.latents import LatentNormalizer, Latents
from ablatent.training.diffusion import LatentBatches
from bench.row import Case, Prepared, Row

SHAPE, BATCH = (3, 8, 8), 32


def ours(case: Case) -> Prepared:
    """Consecutive batches of a training; latents on disk, of which no byte is written: they are a sparse file."""
    shape = (1, case.options["images"], *SHAPE)
    mean, std = (
        np.lib.format.open_memmap(case.scratch / f"{name}.npy", mode="w+", dtype=np.float32, shape=shape)
        for name in ("mean", "std")
    )
    latents = Latents(mean, std, LatentNormalizer((0.0,) * SHAPE[0], (1.0,) * SHAPE[0]))
    batches = LatentBatches(latents, np.arange(shape[1]), {}, BATCH, 0)
    steps = iter(range(10**9))

    def call() -> None:
        batches(next(steps), BatchShard())

    return Prepared(call, units=BATCH)


ROW = Row(
    title="Making a batch of 32 cached latents (3×8×8), by the number of images",
    sides={"ours": ours},
    cases={f"{n:,}": {"images": n} for n in (10_000, 100_000, 1_000_000)},
    seconds=4,
    warmup=2,
    note="One call of the batches of a diffusion training: rows of the epoch, latents, times, noise.",
)
