"""The parts of gpu.py that time and weigh networks: speed, diffusers, paper."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ablatent.first_stage.kl import KLAutoencoder
from ablatent.networks.dit import DiT
from ablatent.networks.unet import UNet
from ablatent.training.compiling import compile_in_training

ROOT = Path(__file__).resolve().parents[1]


def step_of(
    part: Any, network: nn.Module, loss: Callable[[], Tensor], precision: str, extra: Any = ()
) -> Callable[[], None]:
    """An optimiser step as a training takes it: loss, backward pass, clipping, fused Adam. extra: what follows."""
    from ablatent.training.sharded import clip_gradients

    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)
    parameters = [p for p in network.parameters() if p.requires_grad]

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(part.device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            value = loss()
        value.backward()
        clip_gradients(parameters, 1.0)
        optimizer.step()
        for call in extra:
            call()

    return step


def timed(part: Any, step: Callable[[], None], seconds: float = 3.0) -> dict[str, float]:
    """Seconds of the first step, and milliseconds of the others: median and spread of up to fifty."""
    began = time.perf_counter()
    step()
    part.wait()
    first, times = time.perf_counter() - began, []
    step()
    part.wait()
    until = time.perf_counter() + min(seconds, max(part.left - 5, 0.5))
    while len(times) < 3 or (len(times) < 50 and time.perf_counter() < until):
        began = time.perf_counter()
        step()
        part.wait()
        times.append(1e3 * (time.perf_counter() - began))
    low, _, high = statistics.quantiles(times, n=4)
    return {"first_s": round(first, 2), "ms": round(statistics.median(times), 2), "iqr_ms": round(high - low, 2)}


def networks(part: Any) -> dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]]:
    """name → (what makes it, the shape of its inputs): sizes of released models on a GPU, toys on a CPU."""
    ch, width, depth, batch = (192, 768, 12, 32) if part.gpu else (32, 128, 6, 4)
    mult = [1, 2, 4] if part.gpu else [1, 2]
    heads: Any = {"attn_factors": [2, 4], "head_channels": 32}
    unet = {
        "in_channels": 4,
        "out_channels": 4,
        "ch": ch,
        "ch_mult": mult,
        "num_res_blocks": 2,
    }
    if not part.gpu:
        heads["attn_factors"] = [2]
    dit = {"in_channels": 4, "out_channels": 4, "patch_size": 2, "width": width, "depth": depth, "head_channels": 32}
    kl = {
        "ch": 128 if part.gpu else 32, "ch_mult": mult, "num_res_blocks": 2, "z_channels": 4,
        "attn_factors": [], "mid_blocks": 2, "mid_attention": True, "dropout": 0.0, "stem": 1,
    }  # fmt: skip
    side = 32 if part.gpu else 16
    return {
        "UNet": (lambda: UNet(**unet, **heads), (batch, 4, side, side)),
        "DiT": (lambda: DiT(**dit), (batch, 4, side, side)),
        "KLAutoencoder": (lambda: KLAutoencoder(**kl), (8, 3, 128, 128) if part.gpu else (2, 3, 32, 32)),
    }


def speed(part: Any) -> None:
    """A training step of each network: as it is, in channels-last, in bf16, compiled in each mode, with kernels that
    need not give the same bits; and the steps after which compiling has paid."""
    modes = ("blocks", "network", "graphs") if part.gpu else ("blocks", "network")
    variants: list[tuple[str, dict[str, Any]]] = [
        ("eager", {}), ("bf16", {"precision": "bf16-mixed"}),
        ("bf16, channels last", {"precision": "bf16-mixed", "format": torch.channels_last}),
        ("bf16, any bits", {"precision": "bf16-mixed", "deterministic": False}),
        *((f"bf16, compiled: {mode}", {"precision": "bf16-mixed", "compiled": mode}) for mode in modes),
    ]  # fmt: skip
    if not part.gpu:
        variants = [("eager", {}), *((f"compiled: {mode}", {"compiled": mode}) for mode in modes)]
    for name, (make, shape) in networks(part).items():
        plain: dict[str, float] = {}
        for title, options in variants:
            if part.left < 15:
                part.tell(rows=[{"network": name, "variant": title, "note": "no time left"}])
                continue
            try:
                row = {"network": name, "variant": title, **_speed(part, make, shape, **options)}
            except Exception as e:  # the other variants follow
                part.tell(rows=[{"network": name, "variant": title, "note": f"{type(e).__name__}: {e}"[:300]}])
                continue
            precision = options.get("precision", "32-true")
            if "compiled" not in options:
                plain.setdefault(precision, row["ms"])  # the first: as it is
            elif precision in plain:
                gain = plain[precision] - row["ms"]
                row["pays_after_steps"] = round(1e3 * row["first_s"] / gain) if gain > 0 else "never"
            part.tell(rows=[row])


def _speed(
    part: Any, make: Callable[[], nn.Module], shape: tuple[int, ...], precision: str = "32-true",
    format: torch.memory_format = torch.contiguous_format, deterministic: bool = True, compiled: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    was = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(was and deterministic, warn_only=True)
    torch.manual_seed(0)
    network = make().to(part.device, memory_format=format).train()
    x = torch.randn(shape, device=part.device).to(memory_format=format)
    if isinstance(network, KLAutoencoder):
        noise = torch.randn(len(x), *network.latent_shape(*shape[2:]), device=part.device)

        def loss() -> Tensor:
            return (network(x, noise).x_hat - x).abs().mean()
    else:
        t = torch.rand(len(x), device=part.device) * 999

        def loss() -> Tensor:
            return (network(x, t) - x).square().mean()

    try:
        if compiled is not None:
            parts = [network.encoder, network.decoder] if isinstance(network, KLAutoencoder) else [network]
            compile_in_training(parts, compiled)
        if part.gpu:
            torch.cuda.reset_peak_memory_stats()
        found: dict[str, Any] = timed(part, step_of(part, network, loss, precision))
        if part.gpu:
            found["peak_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
    finally:
        torch.use_deterministic_algorithms(was, warn_only=True)
        torch.compiler.reset()
    return found


def diffusers(part: Any) -> None:
    """The rows of `make bench` that train networks beside diffusers', on this device."""
    if not (ROOT / "benchmarks" / "bench").is_dir():
        part.tell(note="benchmarks/bench is not here")
        return
    for row in ("unet_step", "dit_step", "autoencoder_step"):
        if part.left < 20:
            part.tell(rows=[{"row": row, "table": "no time left"}])
            continue
        command = [
            sys.executable,
            str(ROOT / "benchmarks" / "bench"),
            "--quick",
            "--device",
            part.device.type,
            f"{row}:small",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=part.left, check=False)
        part.tell(rows=[{"row": row, "code": done.returncode, "table": (done.stdout + done.stderr)[-1500:]}])
    failed = [found["row"] for found in part.found.get("rows", []) if found.get("code")]
    if failed:
        raise SystemExit(f"rows that failed: {failed}")


PAPER = (
    "celebahq_ldm4", "imagenet_ldm8", "imagenet_ldm4", "text2img", "kl-f8", "vq-f4", "kl-f16", "churches_ldm8",
    "inpainting", "super_resolution", "semantic_synthesis", "layout_openimages", "bedrooms_ldm4", "ffhq_ldm4", "vq-f8",
    "vq-f16", "kl-f4", "kl-f32", "vq-f32", "vq-f2", "vq-f4-noattn",
)  # fmt: skip
"""Presets of conf/preset/paper, the most different ones first; those of tables 13 and 14 repeat their networks."""


def paper(part: Any) -> None:
    """One step of each network of the presets, at the largest batch that fits, its memory against the plan's."""
    from ablatent.core.errors import MissingData
    from ablatent.stages.diffusion.check import diffusion_sizes
    from ablatent.stages.first_stage.check import first_stage_size
    from composing import composed

    free = torch.cuda.mem_get_info()[0] if part.gpu else 2 * 10**9
    for name in PAPER if part.gpu else ("tiny",):
        preset = f"paper/{name}" if part.gpu else name
        if part.left < 20:
            part.tell(networks=[{"preset": preset, "note": "no time left"}])
            continue
        try:
            try:
                config = composed(f"preset={preset}", *([] if part.gpu else ["data=digits"]))
            except MissingData:  # no image is read, so that any folder will do
                config = composed(f"preset={preset}", f"data.root={part.folder}")
            whole = [first_stage_size(config)] + ([] if config.get("network") is None else diffusion_sizes(config)[:1])
            for size in whole:
                if size.activations is not None:
                    part.tell(networks=[{"preset": preset, "network": size.part, **_weighed(part, config, size, free)}])
        except Exception as e:  # whatever a preset says, the others follow
            part.tell(networks=[{"preset": preset, "note": f"{type(e).__name__}: {e}"[:300]}])


def _weighed(part: Any, config: dict[str, Any], size: Any, free: int) -> dict[str, Any]:
    """The step's time and memory at the largest batch of which the plan says that it fits, with a quarter to spare."""
    batch = size.batch_size
    while batch > 1 and size.state + size.activations * batch / size.batch_size > 0.75 * free:
        batch //= 2
    predicted = size.state + size.activations * batch / size.batch_size
    row = {"batch": batch, "predicted_gb": round(predicted / 1e9, 2)}
    if predicted > 0.75 * free:
        return {**row, "note": "does not fit"}
    began, precision = time.monotonic(), config[("training" if size.kind == "diffusion" else "first_stage")]
    precision = precision["precision"] if size.kind == "diffusion" else precision["training"]["precision"]
    torch.manual_seed(0)
    if part.gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    network, loss, averages = (_diffusion if size.kind == "diffusion" else _first_stage)(part, config, batch)
    step = step_of(part, network, loss, precision, averages)
    step()
    step()
    part.wait()
    middle = time.monotonic()
    step()
    part.wait()
    row |= {"step_ms": round(1e3 * (time.monotonic() - middle)), "setup_s": round(middle - began, 1)}
    if part.gpu:
        row["measured_gb"] = round((torch.cuda.max_memory_allocated() - before) / 1e9, 2)
        row["measured / predicted"] = round(row["measured_gb"] / row["predicted_gb"], 2)
    return row


def _diffusion(part: Any, config: dict[str, Any], batch: int) -> tuple[nn.Module, Callable[[], Tensor], list[Any]]:
    from ablatent.stages.check_helpers import classes_of
    from ablatent.stages.first_stage.check import model_of
    from ablatent.stages.models import blank_condition, dummy_inputs, make_network
    from ablatent.training.ema import EMAs

    side = int(config["data"]["size"])
    with torch.device("meta"):
        model = model_of(config)
        shape = model.latent_shape(side, side)
        setting = dummy_inputs(shape, side, *classes_of(config), model.image_channels)
        _, conditioner = make_network(config, setting, bool(config["diffusion"]["learned_variance"]))
        like = blank_condition(conditioner, 1, setting)
    with part.device:
        network, _ = make_network(config, setting, bool(config["diffusion"]["learned_variance"]))
        cond, x, t = like.of_ones(batch), torch.randn(batch, *shape), torch.rand(batch) * 999
    emas = EMAs(**config["training"]["ema"])
    emas.start(network)
    return network, lambda: network(x, t, cond).float().square().mean(), [lambda: emas.update(network, 1)]


def _first_stage(part: Any, config: dict[str, Any], batch: int) -> tuple[nn.Module, Callable[[], Tensor], list[Any]]:
    from ablatent.stages.stored import make_first_stage

    side = int(config["data"]["size"])
    model = make_first_stage(config["first_stage"]).to(part.device)
    x = torch.rand(batch, model.image_channels, side, side, device=part.device) * 2 - 1
    noise = torch.randn(batch, *model.latent_shape(side, side), device=part.device)

    def loss() -> Tensor:
        found = model(x, noise)
        model.forget_passes()
        return (found.x_hat - x).abs().mean() + 1e-6 * found.regularizer

    return model, loss, []
