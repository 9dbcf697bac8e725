"""The parts of gpu.py: gpu_parts.py NAME DEVICE SECONDS FOLDER writes FOLDER/result.json, again after each row."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]


class Part:
    """What a part knows: the device, how long it may take, a folder, and how to tell what it has found."""

    def __init__(self, device: str, seconds: float, folder: Path):
        self.device, self.folder = torch.device(device), folder
        self.end = time.monotonic() + seconds
        self.found: dict[str, Any] = {}

    @property
    def gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()

    def tell(self, **values: Any) -> None:
        """Keep values by name; a list is added to the list of that name."""
        for name, value in values.items():
            self.found[name] = [*self.found.get(name, []), *value] if isinstance(value, list) else value
        part = self.folder / "result.tmp"
        part.write_text(json.dumps(self.found))
        part.replace(self.folder / "result.json")  # whole, whenever this process is stopped

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.gpu:
            torch.cuda.synchronize()


def machine(part: Part) -> None:
    """What the numbers depend on."""
    import platform

    part.tell(torch=torch.__version__, python=platform.python_version(), cores=os.cpu_count())
    if part.gpu:
        devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        part.tell(
            cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version(), devices=[
                {"name": d.name, "memory_gib": round(d.total_memory / 2**30, 1)} for d in devices
            ],
        )  # fmt: skip


def steps(part: Part) -> None:
    """A few steps of each training with torch's own alarm: an operation that waits for the device is an error."""
    import rank_cases

    from ablatent.training.loop import Runtime, fit
    from ablatent.training.record import Recorder

    precisions = ["32-true", "bf16-mixed", *(["16-mixed"] if part.gpu else [])]
    for case in ("kl", "vq", "diffusion"):
        for precision in precisions:
            folder = part.folder / f"{case}-{precision}"
            folder.mkdir()
            scratch = rank_cases.Folder(folder)
            torch.manual_seed(0)
            made = rank_cases.diffusion if case == "diffusion" else rank_cases.first_stage
            trainee, batches = made(*([] if case == "diffusion" else [case]), "adam", scratch)
            restarts = (2, 5, 8) if case == "vq" else ()  # of codes: they are decided by the host
            take = trainee.take_step

            def step(micro: Any, n: int, take: Any = take, restarts: Any = restarts) -> Any:
                with alarm(part) if n > 1 and n not in restarts else contextlib.nullcontext():
                    return take(micro, n)

            trainee.take_step = step
            runtime = Runtime(device="gpu" if part.gpu else "cpu", precision=precision)
            outcome = "no wait"
            try:
                fit(trainee, batches, scratch, Recorder(folder, scratch, every=5), runtime, case)
            except RuntimeError as e:
                outcome = str(e)[:300]
            part.tell(steps=[{"training": case, "precision": precision, "outcome": outcome}])
    wrong = [row for row in part.found["steps"] if row["outcome"] != "no wait"]
    if wrong:
        raise SystemExit(f"steps that wait: {wrong}")


@contextlib.contextmanager
def alarm(part: Part) -> Iterator[None]:
    """Inside, what waits for the device raises RuntimeError; on a CPU, the calls that would."""
    if part.gpu:
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return
    from waits import Waits

    with Waits(lambda: None) as waits:
        yield
    if waits.seen:
        raise RuntimeError(str(waits.seen))


def ddp(part: Part) -> None:
    """Gradients that are averaged while the backward pass runs: by a group of one on one device, to the bit; and the
    command line with two devices where there are two."""
    import torch.distributed as dist

    from ablatent.networks.unet import UNet
    from ablatent.training.overlap import GradientAverage

    store = f"file://{part.folder}/group"
    dist.init_process_group("nccl" if part.gpu else "gloo", init_method=store, rank=0, world_size=1)
    torch.manual_seed(0)
    network = UNet(in_channels=4, out_channels=4, ch=64, ch_mult=[1, 2], num_res_blocks=1, attn_factors=[2], heads=4)
    for p in network.parameters():  # a fresh network says zero, and all of its gradients are zero
        torch.nn.init.normal_(p, std=0.1)
    network.to(part.device)
    x, t = torch.randn(8, 4, 16, 16, device=part.device), torch.rand(8, device=part.device)
    gradients = []
    for average in (None, GradientAverage(list(network.parameters()))):
        network.zero_grad()
        torch.manual_seed(1)
        with contextlib.nullcontext() if average is None else average.during():
            network(x, t).square().mean().backward()
        if average is not None:
            average.finish()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    same = all(torch.equal(a, b) for a, b in zip(*gradients, strict=True)) and any(bool(g.any()) for g in gradients[0])
    part.tell(backend=dist.get_backend(), group_of_one="equal to the bit" if same else "DIFFERENT")
    dist.destroy_process_group()
    if not same:
        raise SystemExit("averaged gradients of one rank differ from its own")
    if not part.gpu or torch.cuda.device_count() >= 2:
        seconds = command(part, "two", "runtime.devices=2", timeout=part.left)
        part.tell(two_devices_seconds=seconds)
    else:
        part.tell(two_devices="there is one")


def command(part: Part, store: str, *overrides: str, timeout: float) -> float:
    """Seconds of the tiny demo by the command line, in a store of its own. Raises SystemExit where it fails."""
    began = time.monotonic()
    done = subprocess.run(words(part, store, *overrides), capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise SystemExit(f"{overrides}: code {done.returncode}\n{(done.stdout + done.stderr)[-1200:]}")
    return round(time.monotonic() - began, 1)


def words(part: Part, store: str, *overrides: str) -> list[str]:
    """The command of the tiny demo."""
    return [
        *(sys.executable, str(ROOT / "run.py"), "preset=tiny", "data=digits", "perceptual=alex", "tracking=none"),
        *("runtime=gpu" if part.gpu else "runtime=cpu", f"store.path={part.folder / store}"),
        *("samples.count=16", "evaluation.reference_count=32", "evaluation.reconstruction_count=16"),
        *overrides,
    ]


def demo(part: Part) -> None:
    """The tiny demo in bf16, compiled, and killed in the middle of its diffusion training: the resumed weights are
    those of the uninterrupted training, to the bit."""
    longer = ["training.steps=120", "runtime.checkpoint_seconds=0"]
    part.tell(seconds=command(part, "whole", *longer, timeout=part.left))
    log = (part.folder / "killed.txt").open("wb")
    process = subprocess.Popen(words(part, "killed", *longer), stdout=log, stderr=log, start_new_session=True)
    work = part.folder / "killed" / "work"
    while process.poll() is None and not list(work.glob("diffusion-*/last.ckpt")) and part.left > 0:
        time.sleep(0.02)
    killed = process.poll() is None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if not killed and process.returncode:
        raise SystemExit((part.folder / "killed.txt").read_text(errors="replace")[-1200:])
    command(part, "killed", *longer, timeout=part.left)
    weights = [digests(part.folder / name / "objects") for name in ("whole", "killed")]
    same = weights[0] == weights[1] and len(weights[0]) > 0
    part.tell(killed_in_training=killed, resumed="equal to the bit" if same else "DIFFERENT", files=len(weights[0]))
    if not (same and killed):
        raise SystemExit("the resumed weights differ, or it was not killed in time")
    if part.left > 60 or part.gpu:
        part.tell(compiled_seconds=command(part, "compiled", "runtime.compile=true", timeout=part.left))


def digests(objects: Path) -> dict[str, str]:
    """SHA-256 of all files of weights, by their path."""
    return {
        str(path.relative_to(objects)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(objects.glob("*/*/*.safetensors"))
    }


def main() -> None:
    """gpu_parts.py NAME DEVICE SECONDS FOLDER."""
    from gpu_networks import diffusers, paper, speed

    parts: dict[str, Callable[[Part], None]] = {
        f.__name__: f for f in (machine, steps, ddp, demo, speed, diffusers, paper)
    }
    name, device, seconds, folder = sys.argv[1:]
    part = Part(device, float(seconds), Path(folder))
    if part.gpu:
        from ablatent.stages.context import set_up_torch

        set_up_torch({"device": "gpu", "threads": None})
    parts[name](part)


if __name__ == "__main__":
    main()
