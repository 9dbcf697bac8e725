"""Does sample i depend on the batch that it is drawn in? On the trained models of a store's newest sweep.

python benchmarks/batch_invariance.py [STORE] [COUNT]

Draws COUNT samples (64) of each job in batches of 1, 7 and 64 and compares with batches of 64: the noise x_T must be
equal to the bit, the images within one grey level (GroupNorm and attention kernels differ in the last bits by batch).
"""

import json
import sys

import numpy as np
import torch

from ablatent.core.instantiate import make
from ablatent.data.tensors import to_images
from ablatent.samplers.base import Sampler
from ablatent.stages.context import Context, set_up_torch
from ablatent.stages.kind_base import Stage
from ablatent.stages.samples.build import load_generator
from ablatent.store.artifacts import Store
from ablatent.store.work import Work
from ablatent.sweep.run_sweep import newest_sweep
from ablatent.tracking.base import NoTracking, RunSpec

SIZES = (64, 7, 1)


@torch.no_grad()
def main(root: str = "store", count: int = 64) -> int:
    store = Store(root)
    plan = json.loads((store.root / "sweeps" / newest_sweep(store) / "plan.json").read_text())
    worst = 0
    for job in plan["jobs"]:
        spec = plan["stages"][job["stages"]["samples"]]
        runtime = job["config"]["runtime"]
        set_up_torch(runtime)
        stage = Stage(**spec)
        run = NoTracking().open(RunSpec("", "", "", "", {}))
        ctx = Context(stage, store, Work(stage.key, store.work_folder(stage.key), "", ""), runtime, run)
        generator, sampler = load_generator(ctx), make(stage.config["sampler"], Sampler)
        drawn = {}
        for size in SIZES:
            parts = list(generator(sampler, int(stage.config["seed"]), range(count), size))
            images = [to_images(generator.model.decode(z)) for _, z in parts]
            drawn[size] = (torch.cat([x for x, _ in parts]), np.concatenate(images).astype(int))
        for size in SIZES[1:]:
            equal = torch.equal(drawn[size][0], drawn[SIZES[0]][0])
            levels = int(np.abs(drawn[size][1] - drawn[SIZES[0]][1]).max())
            differing = float((drawn[size][1] != drawn[SIZES[0]][1]).mean())
            print(
                f"{job['name'] or 'single run'}: batches of {size} against {SIZES[0]}: x_T bit-equal {equal}, "
                f"largest difference {levels} grey levels, {differing:.2e} of the values differ"
            )
            worst = max(worst, levels, 0 if equal else 999)
    return 0 if worst <= 1 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2], *map(int, sys.argv[2:3])))
