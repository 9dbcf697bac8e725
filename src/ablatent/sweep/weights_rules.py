"""Rules on the weights that a job keeps and samples: of snapshots, of averages, of the model that guidance leads away
from. As those of `combination_rules`: configuration → None, or raises ConfigError."""

from collections.abc import Mapping
from typing import Any

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.values import get
from ablatent.stages.diffusion.kind import DiffusionKind
from ablatent.stages.options import guidance_declares
from ablatent.training.power_ema import Average, check_kept, combination, kept_averages

Config = Mapping[str, Any]


def kept_snapshots(cfg: Config) -> list[int]:
    """The steps whose weights a diffusion training keeps."""
    return sorted({*(get(cfg, "training.snapshots") or []), get(cfg, "training.steps")})


def snapshots_in_time(cfg: Config) -> None:
    """Raise ConfigError for a snapshot beyond the last training step."""
    steps = get(cfg, "training.steps")
    beyond = [s for s in get(cfg, "training.snapshots") or [] if not 0 < s <= steps]
    if beyond:
        raise ConfigError("training.snapshots", f"steps from 1 to training.steps={steps}", beyond)


def averages_have_widths(cfg: Config) -> None:
    """Raise ConfigError for a number of snapshots of power-function averages where there are none."""
    key = "training.ema.power_snapshots"
    count, usual = get(cfg, key), DiffusionKind.neutral[key]
    if count not in (None, usual) and not get(cfg, "training.ema.power_widths"):
        do = "Choose widths, training.ema.power_widths=[0.05,0.1]."
        raise ConfigError(key, f"{usual}, which does nothing, with training.ema.power_widths=[]", count, do)


def sampled_weights(cfg: Config) -> None:
    """Raise ConfigError for sampled weights that the training does not keep."""
    _check_weights(cfg, "samples", _sampled_step(cfg))


def snapshot(cfg: Config) -> None:
    """Raise ConfigError for a sampled snapshot that the training does not keep."""
    step, kept = get(cfg, "samples.snapshot"), kept_snapshots(cfg)
    if step not in ("last", None) and step not in kept:
        raise ConfigError("samples.snapshot", f"last, or one of {kept} (training.snapshots and the last)", step)


def guidance_needs_snapshot(cfg: Config) -> None:
    """Raise ConfigError for guidance by a weaker model of this training whose weights are not kept, or which is not of
    an earlier step; one of another training was looked up in the store."""
    if not guidance_declares(cfg, "uses_weak") or get(cfg, "guidance.model") is not None:
        return
    kept, sampled = kept_snapshots(cfg), _sampled_step(cfg)
    step, weights = get(cfg, "guidance.snapshot"), get(cfg, "guidance.weights")
    weak = {"first": kept[0], "last": kept[-1]}.get(step, step)
    earlier = f"training.snapshots=[{max(get(cfg, 'training.steps') // 4, 1)}]"
    do = f"Keep an earlier one: {earlier}; name another model by guidance.model; or choose guidance=none."
    if weak not in kept:
        expected = f"first, last, or one of {kept} (training.snapshots and the last)"
        raise ConfigError("guidance.snapshot", expected, step, do)
    _check_weights(cfg, "guidance", weak)
    same = all(get(cfg, f"guidance.{name}") == get(cfg, f"samples.{name}") for name in ("weights", "ema_width"))
    if weak > sampled or (weak == sampled and same):
        got = f"{step}: {weights} weights after {weak} steps"
        raise ConfigError("guidance.snapshot", f"an earlier snapshot than the sampled one ({sampled})", got, do)


def _sampled_step(cfg: Config) -> int:
    step = get(cfg, "samples.snapshot")
    return int(get(cfg, "training.steps") if step in ("last", None) else step)


def _check_weights(cfg: Config, node: str, step: int) -> None:
    """Raise ConfigError unless a node names weights that a diffusion training keeps, or a width of a power-function
    average at that step that it can make."""
    key, width = f"{node}.weights", get(cfg, f"{node}.ema_width")
    options = ["ema", "raw", *(f"ema_{float(decay)}" for decay in get(cfg, "training.ema.extra_decays") or [])]
    if get(cfg, key) not in options:
        do = did_you_mean(str(get(cfg, key)), options) or "Further decays are kept by training.ema.extra_decays=[0.99]."
        raise ConfigError(key, "one of " + ", ".join(options), get(cfg, key), do)
    if width is None:
        return
    if get(cfg, key) != "ema":
        raise ConfigError(key, f"ema with {node}.ema_width, which takes their place", get(cfg, key))
    count, widths = get(cfg, "training.ema.power_snapshots"), get(cfg, "training.ema.power_widths") or []
    averages = kept_averages(get(cfg, "training.steps"), count, widths, kept_snapshots(cfg)) if widths else []
    check_kept(averages, width, f"{node}.ema_width")
    combination([a for a in averages if a.step <= step], Average(step, float(width)), f"{node}.ema_width")


RULES = (snapshots_in_time, averages_have_widths, snapshot, sampled_weights, guidance_needs_snapshot)
