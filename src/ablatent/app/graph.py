"""From one job's configuration to its stages. This module alone says what decides a stage. Free of torch.

data ─> first_stage ─> latents ─> diffusion ─> samples ─> scores
  │          └─> reconstruction
  └─> reference (one per split) ──> reconstruction, scores
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ablatent.app.objects import make
from ablatent.data.base import Fingerprint, ImageData
from ablatent.store.identity import digest, key_of, stable_name

# Raised by hand when a stage comes to mean something else under the same configuration; everything below is rebuilt.
VERSIONS = {
    "first_stage": 1,
    "latents": 1,
    "diffusion": 1,
    "samples": 1,
    "reference": 1,
    "reconstruction": 1,
    "scores": 1,
}
TRAINED = ("first_stage", "diffusion")


@dataclass(frozen=True)
class Stage:
    """One unit of work: plain data, so that it can be built anywhere.

    config: what decides it; inputs: role → key of the stages it reads; digests: of the data it reads; data: how to
    find that data (decides nothing: its content does).
    """

    kind: str
    config: dict[str, Any]
    inputs: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        return key_of(self.kind, VERSIONS[self.kind], self.config, self.inputs, self.digests)

    def spec(self) -> dict[str, Any]:
        """JSON of everything a builder needs; Stage(**spec) is the stage again."""
        return {name: getattr(self, name) for name in ("kind", "config", "inputs", "digests", "data")}


@dataclass
class Fingerprints:
    """Content digests of data sets, computed once per distinct configuration."""

    known: dict[str, Fingerprint] = field(default_factory=dict)

    def of(self, config: Mapping[str, Any]) -> Fingerprint:
        name = digest(dict(config))
        if name not in self.known:
            data: ImageData = make(config)
            self.known[name] = data.fingerprint()
        return self.known[name]


def conditioned(cfg: Mapping[str, Any]) -> bool:
    """Whether the job's conditioner reads annotations."""
    return stable_name(cfg["conditioner"]["_target_"]) != "NoConditioner"


def stages_of(cfg: Mapping[str, Any], fingerprints: Fingerprints) -> dict[str, Stage]:
    """role → stage of one job, each after what it reads. Raises ConfigError or DataError for data that is not there."""
    data = dict(cfg["data"])
    print_ = fingerprints.of(data)
    images = {"images": print_.images}
    annotated = {**images, "annotations": print_.annotations} if conditioned(cfg) else images
    evaluation = cfg["evaluation"]

    def reference(split: str, count: int | None) -> Stage:
        config = {"split": split, "count": count, "extractor": evaluation["extractor"]}
        return Stage("reference", config, {}, images, data)

    first_stage = Stage("first_stage", dict(cfg["first_stage"]), {}, images, data)
    latents = Stage("latents", dict(cfg["latents"]), {"first_stage": first_stage.key}, images, data)
    diffusion = Stage(
        "diffusion",
        {
            **{name: cfg[name] for name in ("network", "schedule", "parameterization", "weighting", "conditioner")},
            **{name: cfg[name] for name in ("optimizer", "training")},
            **cfg["diffusion"],
        },
        {"latents": latents.key, "first_stage": first_stage.key},
        annotated,
        data,
    )
    samples = Stage(
        "samples",
        {"sampler": cfg["sampler"], "guidance": cfg["guidance"], **cfg["samples"]},
        {"diffusion": diffusion.key, "latents": latents.key, "first_stage": first_stage.key},
        {},
        data,
    )
    count = evaluation["reconstruction_count"]
    train, validation = reference("train", evaluation["reference_count"]), reference("validation", count)
    reconstruction = Stage(
        "reconstruction",
        {
            "count": count,
            "extractor": evaluation["extractor"],
            "perceptual": evaluation["perceptual"],
            "metrics": {name: evaluation["metrics"][name] for name in evaluation["reconstruction_metrics"]},
        },
        {"first_stage": first_stage.key, "reference": validation.key},
        images,
        data,
    )
    scores = Stage(
        "scores",
        {"metrics": evaluation["metrics"], "extractor": evaluation["extractor"]},
        {"samples": samples.key, "reference": train.key},
    )
    return {
        "first_stage": first_stage,
        "reference_validation": validation,
        "reconstruction": reconstruction,
        "latents": latents,
        "diffusion": diffusion,
        "samples": samples,
        "reference_train": train,
        "scores": scores,
    }
