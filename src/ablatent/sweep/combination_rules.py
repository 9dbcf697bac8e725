"""Rules on plain values, checked before torch is imported. Each rule: configuration → None, or raises ConfigError.

The classes themselves check the same when they are constructed; here the answer takes less than a second.
"""

from collections.abc import Mapping
from typing import Any

from ablatent.claims.claim import claims_of
from ablatent.core.declared import declared
from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.instantiate import make
from ablatent.core.options import options_of
from ablatent.core.targets import TARGET
from ablatent.core.values import get
from ablatent.data.base import ImageData
from ablatent.diffusion.compatibility import check_terminal_snr, check_whole_times
from ablatent.stages.all_kinds import kinds_of
from ablatent.stages.options import (
    check_dropout,
    conditioned,
    gives_features,
    guidance_declares,
    judged,
    needs_of,
    readers_of,
    task_declares,
)
from ablatent.store.identity import stable_name
from ablatent.sweep import weights_rules

Config = Mapping[str, Any]


def sampler_steps(cfg: Config) -> None:
    """Raise ConfigError for more sampler steps than the schedule has."""
    steps, T = get(cfg, "sampler.steps"), get(cfg, "schedule.T")
    if steps is not None and T is not None and steps > T:
        raise ConfigError("sampler.steps", f"an integer from 1 to schedule.T={T}", steps)


def size_divides(cfg: Config) -> None:
    """Raise ConfigError for images that the autoencoder's factor, stem * 2^(levels - 1), does not divide."""
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
    """Raise ConfigError for a schedule of zero terminal SNR with a parameterization that is undefined there."""
    node = cfg["parameterization"]
    name = stable_name(node[TARGET]).lower()
    always = bool(declared(cfg["schedule"], "ends_in_noise", False))
    zero = always or bool(get(cfg, "schedule.zero_terminal_snr"))
    check_terminal_snr(name, declared(node, "defined_without_signal", True), zero, always)


def whole_times(cfg: Config) -> None:
    """Raise ConfigError for what is defined over whole times with a schedule of real ones."""
    continuous = bool(declared(cfg["schedule"], "continuous", False))
    for group in ("weighting", "timestep_sampler"):
        check_whole_times(group, _name(cfg[group]), bool(declared(cfg[group], "discrete_only", False)), continuous)
    check_whole_times("diffusion.learned_variance", "true", bool(get(cfg, "diffusion.learned_variance")), continuous)


def fsdp_fits(cfg: Config) -> None:
    """Raise ConfigError for runtime.strategy=fsdp on one device, compiled, or in float16."""
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


def graphs_fit(cfg: Config) -> None:
    """Raise ConfigError for CUDA graphs with several micro-batches: each writes its gradients where the last did."""
    graphs = get(cfg, "runtime.compile") and get(cfg, "runtime.compile_mode") == "graphs"
    if graphs and get(cfg, "runtime.grad_accum_steps") != 1:
        expected = "blocks or network with runtime.grad_accum_steps above 1"
        raise ConfigError("runtime.compile_mode", expected, "graphs")


def guidance_needs_condition(cfg: Config) -> None:
    """Raise ConfigError for guidance by the null condition with a model that did not learn one."""
    if not guidance_declares(cfg, "uses_null"):
        return
    if not conditioned(cfg):
        readers = readers_of(cfg) or "conditioner=low_resolution conditioner.dropout=0.1"
        do = f"This data allows {readers}. Or choose guidance=none."
        raise ConfigError("guidance", "none with conditioner=none", f"scale {get(cfg, 'guidance.scale')}", do)
    check_dropout(cfg)


def learned_variance(cfg: Config) -> None:
    """Raise ConfigError for a sampler that needs a learned variance with a model that has none."""
    if get(cfg, "sampler.variance") == "learned" and not get(cfg, "diffusion.learned_variance"):
        raise ConfigError(
            "sampler.variance",
            "a fixed variance where the model has not learned one",
            "learned",
            "Train with diffusion.learned_variance=true, or choose sampler.variance=beta_tilde.",
        )


def decode_tiles(cfg: Config) -> None:
    """Raise ConfigError for an overlap of more than half a tile."""
    tile, overlap = get(cfg, "samples.decode_tile"), get(cfg, "samples.decode_overlap")
    if tile is not None and not (type(overlap) is int and 0 <= overlap <= tile // 2):
        expected = f"an integer from 0 to {tile // 2}, half of samples.decode_tile"
        raise ConfigError("samples.decode_overlap", expected, overlap)


def judge_has_work(cfg: Config) -> None:
    """Raise ConfigError for a judge whose features are not used, of a job whose samples do not have conditions that it
    can compare them with."""
    if not judged(cfg) or gives_features(cfg):
        return
    do = "Choose judge=none."
    if not task_declares(cfg, "scored"):
        do = "Use task=sample: its samples have all conditions that the model reads. Or choose judge=none."
        task = stable_name(cfg["task"][TARGET])
        raise ConfigError("judge", "none with a task whose images the judge does not look at", task, do)
    if get(cfg, "samples.prompts") is not None:
        raise ConfigError("samples.prompts", "null with a judge, which does not read them", "prompts", do)


def extractor_has_judge(cfg: Config) -> None:
    """Raise ConfigError for features of a judge in a job without one, or of one that makes no vector of an image; and
    for a metric whose own extractor reads stages, which only that of the evaluation is given."""
    for name, metric in (get(cfg, "evaluation.metrics") or {}).items():
        if "extractor" in metric and declared(metric["extractor"], "needs_stages"):
            expected = "an extractor that reads no stage of the job; evaluation.extractor may"
            raise ConfigError(f"evaluation.metrics.{name}.extractor", expected, _name(metric["extractor"]))
    if not gives_features(cfg):
        return
    extractor = _name(get(cfg, "evaluation.extractor"))
    if not judged(cfg):
        fitting = " or ".join(f"judge={option}" for option in _judges_of(cfg))
        other = "This data has neither: use data=fashion_mnist, digits, openmoji_scenes, image_folder with subfolders"
        do = f"Write {fitting}" if fitting else other
        raise ConfigError(
            "judge",
            f"one whose features evaluation.extractor ({extractor}) takes: classifier for data with class labels, "
            "objects for data with boxes",
            "judge=none",
            f"{do}, or another evaluation: evaluation=quick or standard.",
        )
    if not declared(cfg["judge"]["network"], "pools"):
        raise ConfigError(
            "judge.network",
            f"one that makes one vector of an image, for evaluation.extractor ({extractor})",
            _name(cfg["judge"]["network"]),
            "Use judge=classifier or judge=objects, or evaluation=quick or standard.",
        )


def _judges_of(cfg: Config) -> list[str]:
    """The options of judge that learn from the job's data and make one vector of an image."""
    annotations = make(cfg["data"], ImageData).outline()
    return [
        option
        for option, node in options_of("judge")
        if node["verdict"] is not None
        and annotations.part(declared(node["verdict"], "reads")) is not None
        and declared(node["network"], "pools")
    ]


def _name(node: Mapping[str, Any]) -> str:
    return stable_name(node[TARGET])


def captions_stay_true(cfg: Config) -> None:
    """Raise ConfigError for mirrored latents with captions that name left and right: they would be false."""
    hold = declared(cfg["data"], "mirrored_captions_hold", True)
    if not hold and get(cfg, "latents.flip") and "captions" in needs_of(cfg["conditioner"]):
        raise ConfigError("latents.flip", "false where captions name left and right", True, "Use latents.flip=false.")


def metrics_exist(cfg: Config) -> None:
    """Raise ConfigError for a metric of reconstructions that is not among the metrics."""
    metrics = list(get(cfg, "evaluation.metrics") or {})
    for name in get(cfg, "evaluation.reconstruction_metrics") or []:
        if name not in metrics:
            expected, do = f"names of evaluation.metrics ({', '.join(metrics)})", did_you_mean(name, metrics)
            raise ConfigError("evaluation.reconstruction_metrics", expected, name, do)


def claims_are_testable(cfg: Config) -> None:
    """Raise ConfigError for a claim that no sweep could test, see `claims.claim.claims_of`, or whose replicates are of
    no kind of stage."""
    for name, claim in claims_of(cfg).items():
        kinds = [kind.name for kind in kinds_of(cfg)] if claim.unit is not None else []
        if claim.unit is not None and claim.unit not in kinds:
            expected, do = f"a kind of stage ({', '.join(kinds)}), or null", did_you_mean(claim.unit, kinds)
            raise ConfigError(f"claims.{name}.unit", expected, claim.unit, do)


RULES = (
    claims_are_testable,
    metrics_exist,
    sampler_steps,
    size_divides,
    fsdp_fits,
    graphs_fit,
    terminal_snr,
    whole_times,
    guidance_needs_condition,
    learned_variance,
    *weights_rules.RULES,
    decode_tiles,
    judge_has_work,
    extractor_has_judge,
    captions_stay_true,
)


def apply_rules(cfg: Config) -> None:
    """Apply all rules of RULES in turn; raises the first ConfigError."""
    for rule in RULES:
        rule(cfg)
