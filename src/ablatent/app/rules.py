"""What plain values alone can refuse, before torch is imported. Each rule: configuration → None or ConfigError.

The classes themselves check the same where they are constructed; here the answer comes in a second.
"""

from collections.abc import Mapping
from typing import Any

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.diffusion.compatibility import check_terminal_snr

Config = Mapping[str, Any]
VERBS = ("run", "plan", "report", "status", "verify")
CHOICES = {
    "do": VERBS,
    "store.on_code_change": ("warn", "rebuild", "error"),
    "runtime.device": ("auto", "cpu", "gpu"),
    "runtime.precision": ("32-true", "bf16-mixed", "16-mixed"),
    "latents.normalizer": ("channel", "scalar", "none"),
    "samples.weights": ("ema", "raw"),
    "training.loss": ("square", "absolute", "huber"),
    "training.decay": ("none", "cosine", "linear"),
    "first_stage.training.decay": ("none", "cosine", "linear"),
}
POSITIVE = (
    "sampler.steps",
    "samples.count",
    "training.steps",
    "training.batch_size",
    "training.validate_every",
    "first_stage.training.steps",
    "first_stage.training.batch_size",
    "first_stage.training.validate_every",
    "data.size",
    "runtime.batch_size",
    "schedule.T",
)


def get(cfg: Config, key: str) -> Any:
    """The value at a dotted key, or None."""
    value: Any = cfg
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def choices(cfg: Config) -> None:
    for key, options in CHOICES.items():
        value = get(cfg, key)
        if value is not None and value not in options:
            raise ConfigError(key, "one of " + ", ".join(options), value, did_you_mean(str(value), options))


def positive(cfg: Config) -> None:
    for key in POSITIVE:
        value = get(cfg, key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigError(key, "an integer of at least 1", value)


def sampler_steps(cfg: Config) -> None:
    steps, T = get(cfg, "sampler.steps"), get(cfg, "schedule.T")
    if steps is not None and T is not None and steps > T:
        raise ConfigError("sampler.steps", f"an integer from 1 to schedule.T={T}", steps)


def size_divides(cfg: Config) -> None:
    """The factor of an autoencoder: its stem times two for each level after the first."""
    size, mult = get(cfg, "data.size"), get(cfg, "first_stage.ch_mult")
    if not isinstance(mult, list):
        return
    factor = int(get(cfg, "first_stage.stem") or 1) * 2 ** (len(mult) - 1)
    if size % factor:
        up = -(-size // factor) * factor
        raise ConfigError(
            "data.size",
            f"a multiple of {factor}, the downsampling factor of first_stage",
            size,
            f"Use data.size={up}, or a shorter first_stage.ch_mult.",
        )


def terminal_snr(cfg: Config) -> None:
    target = get(cfg, "parameterization._target_")
    if target:
        check_terminal_snr(target, bool(get(cfg, "schedule.zero_terminal_snr")))


def guidance_needs_condition(cfg: Config) -> None:
    scale = get(cfg, "guidance.scale")
    if scale is not None and scale != 1 and str(get(cfg, "conditioner._target_")).endswith("NoConditioner"):
        raise ConfigError(
            "guidance", "none with conditioner=none", f"scale {scale:g}", "Choose conditioner=class, or guidance=none."
        )


def snapshot(cfg: Config) -> None:
    wanted, steps = get(cfg, "samples.snapshot"), get(cfg, "training.steps")
    kept = sorted({*(get(cfg, "training.snapshots") or []), steps})
    if wanted not in ("last", None) and wanted not in kept:
        raise ConfigError("samples.snapshot", f"last, or one of {kept} (training.snapshots and the last)", wanted)


RULES = (choices, positive, sampler_steps, size_divides, terminal_snr, guidance_needs_condition, snapshot)


def apply_rules(cfg: Config) -> None:
    """Raise the first ConfigError."""
    for rule in RULES:
        rule(cfg)
