"""What plain values alone can refuse, before torch is imported. Each rule: configuration → None or ConfigError.

The classes themselves check the same where they are constructed; here the answer comes in a second.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ablatent.cli.raw_overrides import KEYS
from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.diffusion.compatibility import check_terminal_snr
from ablatent.stages.graph import conditioned, guided_by, judged
from ablatent.core.instantiate import make
from ablatent.store.identity import stable_name

Config = Mapping[str, Any]
VERBS = ("run", "plan", "report", "status", "verify", "sample", "import", "export")
CHOICES = {
    "do": VERBS,
    "store.on_code_change": ("warn", "rebuild", "error"),
    "runtime.device": ("auto", "cpu", "gpu"),
    "runtime.strategy": ("ddp", "fsdp"),
    "runtime.precision": ("32-true", "bf16-mixed", "16-mixed"),
    "latents.normalizer": ("channel", "scalar", "none"),
    "training.loss": ("mse", "l1", "huber"),
    "training.decay": ("none", "cosine", "linear"),
    "first_stage.training.decay": ("none", "cosine", "linear"),
    "classifier.training.decay": ("none", "cosine", "linear"),
    "classifier.network.pool": ("attention", "mean"),
    "judge.training.decay": ("none", "cosine", "linear"),
}
POSITIVE = (
    *("sampler.steps", "samples.count", "samples.decode_tile", "data.size", "schedule.T"),
    *("runtime.batch_size", "runtime.devices", "runtime.grad_accum_steps"),
    *(
        f"{whose}training.{what}"
        for whose in ("", "first_stage.", "classifier.", "judge.")
        for what in ("steps", "batch_size", "validate_every")
    ),
)
LISTS = ("training.snapshots", "training.ema.extra_decays")
# A part of what may be known of pictures → an option of conditioner that reads it.
READERS = {"labels": "class", "captions": "text_minilm", "boxes": "layout", "segmentation": "semantic"}
READ_CAPTIONS = ("TextTransformer", "FrozenText")


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


def lists(cfg: Config) -> None:
    """Keys whose values other rules go through."""
    for key in LISTS:
        value = get(cfg, key) or []
        if not isinstance(value, list) or any(type(v) not in (int, float) for v in value):
            raise ConfigError(key, f"a list of numbers, {key}=[NUMBER, …]", value)


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


def fsdp_fits(cfg: Config) -> None:
    if get(cfg, "runtime.strategy") != "fsdp":
        return
    if get(cfg, "runtime.devices") == 1:
        raise ConfigError("runtime.strategy", "ddp with runtime.devices=1", "fsdp", "One device has nothing to spread.")
    if get(cfg, "runtime.compile"):
        raise ConfigError("runtime.compile", "false with runtime.strategy=fsdp", True, "Use runtime.strategy=ddp.")
    if get(cfg, "training.precision") == "16-mixed":
        raise ConfigError(
            "training.precision", "32-true or bf16-mixed with runtime.strategy=fsdp", "16-mixed",
            "Its gradient scaling does not reach spread gradients. Or use runtime.strategy=ddp.",
        )  # fmt: skip


def guidance_needs_condition(cfg: Config) -> None:
    """Classifier-free guidance combines two predictions of a model that learned both, by dropping its condition."""
    if guided_by(cfg) not in ("ClassifierFree", "RescaledClassifierFree"):
        return
    if not conditioned(cfg):
        readers = readers_of(cfg) or "conditioner=low_resolution conditioner.dropout=0.1"
        do = f"This data allows {readers}. Or choose guidance=none."
        raise ConfigError("guidance", "none with conditioner=none", f"scale {get(cfg, 'guidance.scale')}", do)
    check_dropout(cfg)


def check_dropout(cfg: Config) -> None:
    """Raise ConfigError for a model that never went without its condition, or without any part of it."""
    dropouts = dropouts_of("conditioner", cfg["conditioner"])
    if all(dropout in (0, None) for dropout in dropouts.values()):
        raise ConfigError(
            " or ".join(dropouts) or "conditioner",
            f"above 0 where guidance (scale {get(cfg, 'guidance.scale')}) uses the null condition",
            0.0,
            "0.1 is usual. Or choose guidance=none, auto or classifier, which need no null condition.",
        )


def dropouts_of(path: str, conditioner: Config) -> dict[str, Any]:
    """Key → probability with which a conditioner node, or each of its parts, is dropped in training."""
    own = {f"{path}.dropout": conditioner["dropout"]} if "dropout" in conditioner else {}
    parts = conditioner.get("parts", {})
    return own | {k: v for name, part in parts.items() for k, v in dropouts_of(f"{path}.parts.{name}", part).items()}


def readers_of(cfg: Config, parts: Iterable[str] = tuple(READERS)) -> str:
    """The options of conditioner that read one of these parts of what is known of the job's data: 'conditioner=class or
    conditioner=layout'; empty where the data has none of them. Raises ConfigError or DataError for data not there."""
    known = make(cfg["data"]).outline()
    return " or ".join(f"conditioner={READERS[p]}" for p in READERS if p in parts and getattr(known, p) is not None)


def guidance_needs_snapshot(cfg: Config) -> None:
    """Autoguidance needs weights of an earlier step than those that are sampled."""
    if guided_by(cfg) != "AutoGuidance":
        return
    steps, kept = get(cfg, "training.steps"), kept_snapshots(cfg)
    wanted, weights = get(cfg, "guidance.snapshot"), get(cfg, "guidance.weights")
    check_weights(cfg, "guidance.weights")
    weak = kept[0] if wanted == "first" else wanted
    sampled = get(cfg, "samples.snapshot")
    sampled = steps if sampled in ("last", None) else sampled
    do = f"Keep an earlier one: training.snapshots=[{max(steps // 4, 1)}], or choose guidance=none."
    if weak not in kept:
        raise ConfigError("guidance.snapshot", f"first, or one of {kept} (training.snapshots and the last)", wanted, do)
    if weak > sampled or (weak == sampled and weights == get(cfg, "samples.weights")):
        got = f"{wanted}: {weights} weights after {weak} steps"
        raise ConfigError("guidance.snapshot", f"an earlier snapshot than the sampled one ({sampled})", got, do)


def kept_snapshots(cfg: Config) -> list[int]:
    """The steps whose weights a diffusion training keeps."""
    return sorted({*(get(cfg, "training.snapshots") or []), get(cfg, "training.steps")})


def check_weights(cfg: Config, key: str) -> None:
    """ConfigError unless the value at `key` names weights that a diffusion training keeps."""
    options = ["ema", "raw", *(f"ema_{float(decay)}" for decay in get(cfg, "training.ema.extra_decays") or [])]
    if get(cfg, key) not in options:
        do = did_you_mean(str(get(cfg, key)), options) or "Further decays are kept by training.ema.extra_decays=[0.99]."
        raise ConfigError(key, "one of " + ", ".join(options), get(cfg, key), do)


def snapshots_in_time(cfg: Config) -> None:
    steps = get(cfg, "training.steps")
    beyond = [s for s in get(cfg, "training.snapshots") or [] if not 0 < s <= steps]
    if beyond:
        raise ConfigError("training.snapshots", f"steps from 1 to training.steps={steps}", beyond)


def sampled_weights(cfg: Config) -> None:
    check_weights(cfg, "samples.weights")


def learned_variance(cfg: Config) -> None:
    if get(cfg, "sampler.variance") == "learned" and not get(cfg, "diffusion.learned_variance"):
        raise ConfigError(
            "sampler.variance",
            "a fixed variance where the model has not learned one",
            "learned",
            "Train with diffusion.learned_variance=true, or choose sampler.variance=beta_tilde.",
        )


def snapshot(cfg: Config) -> None:
    wanted, kept = get(cfg, "samples.snapshot"), kept_snapshots(cfg)
    if wanted not in ("last", None) and wanted not in kept:
        raise ConfigError("samples.snapshot", f"last, or one of {kept} (training.snapshots and the last)", wanted)


def decode_tiles(cfg: Config) -> None:
    tile, overlap = get(cfg, "samples.decode_tile"), get(cfg, "samples.decode_overlap")
    if tile is not None and not (type(overlap) is int and 0 <= overlap <= tile // 2):
        expected = f"an integer from 0 to {tile // 2}, half of samples.decode_tile"
        raise ConfigError("samples.decode_overlap", expected, overlap)


def judge_has_work(cfg: Config) -> None:
    """A judge looks at samples for what they were asked for, by validation pictures or by classes in turn."""
    if not judged(cfg):
        return
    do = "Choose judge=none."
    if (task := stable_name(cfg["task"]["_target_"])) != "Sample":
        do = "Use task=sample: its samples are asked for all that the model reads. Or choose judge=none."
        raise ConfigError("judge", "none with a task whose images the judge does not look at", task, do)
    if get(cfg, "samples.prompts") is not None:
        raise ConfigError("samples.prompts", "null with a judge, which cannot know what they ask for", "prompts", do)


def captions_stay_true(cfg: Config) -> None:
    """The captions of composed scenes say left and right, which a mirrored picture would belie."""

    def reads_captions(conditioner: Config) -> bool:
        parts = conditioner.get("parts", {}).values()
        return stable_name(conditioner["_target_"]) in READ_CAPTIONS or any(reads_captions(part) for part in parts)

    scenes = stable_name(cfg["data"]["_target_"]) == "OpenMojiScenes"
    if scenes and get(cfg, "latents.flip") and reads_captions(cfg["conditioner"]):
        raise ConfigError(
            "latents.flip", "false where captions say what is left and right", True, "Use latents.flip=false."
        )


def requests(cfg: Config) -> None:
    """What do=sample reads means nothing to a job."""
    for key in ("model", *KEYS, "out", "repeat", "size"):
        if key not in ("n", "seed") and get(cfg, key) is not None:
            raise ConfigError(key, f"null with do={cfg['do']}", get(cfg, key), "It belongs to do=sample.")


RULES = (
    requests,
    choices,
    positive,
    lists,
    sampler_steps,
    size_divides,
    fsdp_fits,
    terminal_snr,
    guidance_needs_condition,
    learned_variance,
    snapshots_in_time,
    sampled_weights,
    snapshot,
    guidance_needs_snapshot,
    decode_tiles,
    judge_has_work,
    captions_stay_true,
)


def apply_rules(cfg: Config) -> None:
    """Raise the first ConfigError."""
    for rule in RULES:
        rule(cfg)
