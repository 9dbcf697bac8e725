"""How time and memory of a training grow: with the images, the batch, the side of the latents, the width.

python benchmarks/growth.py [--quick] [--only images,batch,side,width,ahead,epoch] [--folder FOLDER]

Trains a UNet on synthetic cached latents of 3 channels; each case in a process of its own, the cases of a table in
turn, several times over. `epoch` trains a network of one layer over a whole epoch, for memory after every latent was
read: RssAnon, which mapped files are not in, and the resident set, which they are in. --folder: where latents are
written (1.5 GB for a million), else a temporary one. Writes results/growth.json and results/growth.md, and keeps the
tables of before that were not asked for.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
PLAIN: dict[str, Any] = {"images": 10_000, "batch": 32, "side": 8, "width": 32, "steps": 60, "network": "unet"}
EPOCH = {**PLAIN, "batch": 250, "network": "layer", "steps": None}
# table → (its title, the cases: what they change)
TABLES: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "images": ("Images", [{"images": 10**k} for k in (3, 4, 5, 6)]),
    "batch": ("Batch", [{"batch": b, "steps": 30} for b in (8, 16, 32, 64)]),
    "side": ("Side of the latents", [{"side": s, "batch": 8, "steps": 30, "images": 1000} for s in (8, 16, 32)]),
    "width": ("Channels of the first level", [{"width": w, "batch": 16, "steps": 30} for w in (32, 64, 128)]),
    "ahead": ("Batches made ahead of their steps", [{"ahead": a} for a in (0, 1, 2, 4)]),
    "epoch": ("Images, after a whole epoch", [{**EPOCH, "images": 10**k} for k in (4, 5, 6)]),
}
QUICK = {"images": 10**5, "steps": 20}
WARM_UP = 10
"""Steps that do not count."""


def memory() -> dict[str, int]:
    """RssAnon and VmRSS of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {
        name: 1024 * int(line.split()[1])
        for name in ("RssAnon", "VmRSS")
        for line in lines
        if line.startswith(f"{name}:")
    }


def machine() -> str:
    """Processor, cores and versions."""
    import numpy
    import torch

    about = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    name = {k.strip(): v.strip() for k, v in about.items()}.get("model name", platform.processor())
    cores = len(os.sched_getaffinity(0))
    threads = torch.get_num_threads()
    return f"{name}, {cores} cores, torch {torch.__version__} with {threads} threads, numpy {numpy.__version__}"


def latents(folder: Path, images: int, side: int) -> Path:
    """mean.npy, std.npy and normalizer.json of so many images, made where they are not there."""
    import numpy as np

    from ablatent.core.arrays import new_array
    from ablatent.data.latents import LatentNormalizer

    there = folder / f"latents-{images}-{side}"
    if (there / "normalizer.json").is_file():
        return there
    there.mkdir(parents=True, exist_ok=True)
    for name, scale in (("mean", 1.0), ("std", 0.1)):
        array = new_array(there / f"{name}.npy", np.float32, (1, images, 3, side, side))
        part = np.abs(np.random.default_rng(0).standard_normal((1000, 3, side, side), dtype=np.float32)) * scale
        for i in range(0, images, 1000):
            array[0, i : i + 1000] = part[: images - i]
        array.flush()
    LatentNormalizer((0.0,) * 3, (1.0,) * 3).save(there / "normalizer.json")
    return there


def train(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One training in this process: median seconds of a step, and memory at its end."""
    import numpy as np
    import torch

    from ablatent.conditioning.none import NoConditioner
    from ablatent.data.latents import Latents
    from ablatent.diffusion.denoiser import Denoiser
    from ablatent.diffusion.loss import DiffusionLoss
    from ablatent.diffusion.parameterization import Eps
    from ablatent.diffusion.timesteps import Uniform
    from ablatent.diffusion.weighting import Simple
    from ablatent.networks.unet import UNet
    from ablatent.schedules.linear import Linear
    from ablatent.tracking.base import NoTracking, RunSpec
    from ablatent.training import loop
    from ablatent.training.diffusion import DiffusionTrainee, DiffusionTraining, LatentBatches
    from ablatent.training.record import Recorder

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 3, 1)

        def forward(self, x: Any, *_: Any) -> Any:
            return self.layer(x)

    class Timed(DiffusionTrainee):
        def after_step(self, step: int, recorder: Any) -> None:
            ends.append(time.perf_counter())

    class Scratch:
        path, checkpoint = folder, folder / "none.ckpt"

        def check(self) -> None:
            pass

    batch, ends = case["batch"], list[float]()
    steps = case["steps"] or case["images"] // batch
    config = DiffusionTraining(
        steps=steps, batch_size=batch, warmup_steps=0, decay="none", clip=1.0, validate_every=steps,
        precision="32-true", loss="mse", ema={"decay": 0.999, "warmup": True, "extra_decays": []}, snapshots=[],
    )  # fmt: skip
    torch.manual_seed(0)
    unet = UNet(
        in_channels=3, out_channels=3, ch=case["width"], ch_mult=[1, 2], num_res_blocks=1, attn_factors=[2],
        head_channels=16,
    )  # fmt: skip
    network = unet if case["network"] == "unet" else Layer()
    denoiser = Denoiser(network, Linear(T=1000, beta_start=1e-4, beta_end=0.02, zero_terminal_snr=False), Eps(), False)
    batches = LatentBatches(
        Latents.load(latents(folder, case["images"], case["side"])), np.arange(case["images"]), {}, batch, seed=0
    )
    trainee = Timed(
        loss=DiffusionLoss(denoiser, Simple(), config.loss), timesteps=Uniform(denoiser.schedule),
        conditioner=NoConditioner(),
        train_config=config, seed=0, optimizer=lambda p: torch.optim.Adam(p, 1e-4), validation=[],
        panel=lambda: np.zeros((8, 8, 3), np.uint8),
    )  # fmt: skip
    if "ahead" in case:
        loop.AHEAD["cpu"] = case["ahead"]
    recorder = Recorder(folder, NoTracking().open(RunSpec()))
    loop.fit(trainee, batches, Scratch(), recorder, loop.Runtime(checkpoint_seconds=1e9), "growth")  # type: ignore[arg-type]
    seconds = np.diff(ends[min(WARM_UP, len(ends) // 2) :])
    return {"step": float(np.median(seconds)), "mean_step": float(seconds.mean()), **memory()}


def measure(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`train` in a process of its own."""
    command = [sys.executable, __file__, "--case", json.dumps(case), "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{case} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(name: str, rounds: int, quick: bool, folder: Path) -> list[dict[str, Any]]:
    """The rows of a table: cases in turn, `rounds` times."""
    import ablatent.data.latents  # noqa: F401  so that a missing package is named before anything is measured

    cases = [{**PLAIN, **change} for change in TABLES[name][1]]
    if quick:  # the ends of each table
        cases = [c for c in cases if c["images"] <= QUICK["images"]]
        cases = [{**c, "steps": c["steps"] and QUICK["steps"]} for c in (cases[0], cases[-1])]
    for case in cases:
        latents(folder, case["images"], case["side"])
    found: list[list[dict[str, Any]]] = [[] for _ in cases]
    for _ in range(rounds):
        for case, results in zip(cases, found, strict=True):
            results.append(measure(case, folder))
    rows = []
    for case, results in zip(cases, found, strict=True):
        steps = [1e3 * r["step"] for r in results]
        rows.append(
            {
                **case,
                "step_ms": statistics.median(steps),
                "step_ms_range": [min(steps), max(steps)],
                "mean_step_ms": statistics.median(1e3 * r["mean_step"] for r in results),
                "RssAnon_MB": max(r["RssAnon"] for r in results) / 1e6,
                "VmRSS_MB": max(r["VmRSS"] for r in results) / 1e6,
            }
        )
    return rows


def markdown(record: dict[str, Any]) -> str:
    """The tables as text."""
    lines = [
        "# Growth of a training",
        "",
        "Written by `python benchmarks/growth.py`: what it measures is said there.",
        "",
    ]
    for name, found in record.items():
        lines += [f"## {TABLES[name][0]}", "", found["machine"] + (" (quick)" if found["quick"] else ""), ""]
        head = "images | batch | side | width | ahead | step, ms (range) | mean step, ms | RssAnon, MB | VmRSS, MB"
        lines += [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
        for row in found["rows"]:
            low, high = row["step_ms_range"]
            cells = [
                row["images"],
                row["batch"],
                row["side"],
                row["width"] if row["network"] == "unet" else "one layer",
            ]
            cells += [
                row.get("ahead", ""),
                f"{row['step_ms']:.2f} ({low:.2f} to {high:.2f})",
                f"{row['mean_step_ms']:.2f}",
            ]
            lines.append("| " + " | ".join(map(str, [*cells, round(row["RssAnon_MB"]), round(row["VmRSS_MB"])])) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measure what is asked for, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under two minutes; writes nothing")
    parser.add_argument("--only", default=",".join(TABLES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(train(json.loads(options.case), options.folder)))
        return
    path = RESULTS / "growth.json"
    record = json.loads(path.read_text()) if path.is_file() and not options.quick else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        for name in options.only.split(","):
            rounds = 1 if options.quick or name == "epoch" else options.rounds
            rows = table(name, rounds, options.quick, folder)
            record[name] = {"machine": machine(), "quick": options.quick, "rows": rows}
            print(markdown({name: record[name]}), flush=True)
            if not options.quick:
                path.write_text(json.dumps(record, indent=1) + "\n")
                path.with_suffix(".md").write_text(markdown(record))


if __name__ == "__main__":
    main()
