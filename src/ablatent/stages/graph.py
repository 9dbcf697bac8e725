"""From one job's configuration to its stages. This module alone says what decides a stage. Free of torch.

data ─> first_stage ─> latents ─> diffusion ─> samples ─> scores
  │          │             │          └─> task (in place of samples and scores) ─> restoration (of pictures)
  │          │             └─> noisy_classifier ─> samples, task (where guidance asks for it)
  │          └─> reconstruction
  ├─> embeddings (of captions, for a frozen text encoder) ─> diffusion, samples, task
  ├─> reference (one per split) ──> reconstruction, scores
  └─> judge (where one is chosen) ──> agreement, of the samples with what they were asked for
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ablatent.core.errors import ConfigError
from ablatent.data.base import Fingerprint, ImageData
from ablatent.stages.objects import make
from ablatent.store.identity import digest, key_of, stable_name

# Raised by hand when a stage comes to mean something else under the same configuration; everything below is rebuilt.
VERSIONS = {
    "first_stage": 1,
    "latents": 1,
    "embeddings": 1,
    "diffusion": 1,
    "noisy_classifier": 1,
    "samples": 1,
    "reference": 1,
    "reconstruction": 2,  # also the use of a codebook
    "scores": 1,
    "judge": 1,
    "agreement": 2,  # also scenes of several objects alone
    "task": 2,  # also all restored pictures
    "restoration": 1,
    "imported": 1,
}
# Tasks whose samples have the conditions of validation pictures, their classes too; others take classes in turn.
READ_THEIR_PICTURES = ("Inpaint", "Outpaint", "Conditional")
# Conditioners that read pictures, and nothing that is known of them: captions or classes may change without these.
PICTURES_ALONE = ("LowResolution", "MaskedImage")
# Stages whose artifacts hold scores.json; each is a role of a job too.
SCORED = ("reconstruction", "scores", "agreement", "task", "restoration")
TRAINED = ("first_stage", "diffusion", "noisy_classifier", "judge")


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
    """Whether the job's model has a condition."""
    return stable_name(cfg["conditioner"]["_target_"]) != "NoConditioner"


def reads_annotations(conditioner: Mapping[str, Any]) -> bool:
    """Whether a conditioner node, or a part of it, reads annotations."""
    if "parts" in conditioner:
        return any(reads_annotations(part) for part in conditioner["parts"].values())
    return stable_name(conditioner["_target_"]) not in ("NoConditioner", *PICTURES_ALONE)


def only_classes(cfg: Mapping[str, Any]) -> bool:
    """Whether samples of the job's model need no picture and no annotation: no condition, or a class."""
    return stable_name(cfg["conditioner"]["_target_"]) in ("NoConditioner", "ClassLabel")


def frozen_texts(conditioner: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What decides the cached captions of each frozen text encoder among a conditioner node and its parts."""
    if stable_name(conditioner["_target_"]) == "FrozenText":
        return [{name: conditioner[name] for name in ("encoder", "max_length", "stored")}]
    return [found for part in conditioner.get("parts", {}).values() for found in frozen_texts(part)]


def guided_by(cfg: Mapping[str, Any]) -> str | None:
    """The name of the class that guides the job's sampler, None where its scale makes it no guidance."""
    name = stable_name(str(cfg["guidance"]["_target_"]))
    neutral = 0 if name == "ClassifierGuidance" else 1
    return None if cfg["guidance"].get("scale", neutral) == neutral else name


def restores(cfg: Mapping[str, Any]) -> bool:
    """Whether the job's task makes pictures of which it is known what they should be."""
    task = stable_name(cfg["task"]["_target_"])
    return task == "Inpaint" or (task == "Conditional" and cfg["task"]["reads"] == "pixels")


def judged(cfg: Mapping[str, Any]) -> bool:
    """Whether a judge says of the job's samples if they show what they were asked for."""
    return cfg["judge"]["verdict"] is not None


def stages_of(cfg: Mapping[str, Any], fingerprints: Fingerprints) -> dict[str, Stage]:
    """role → stage of one job, each after what it reads. Raises ConfigError or DataError for data that is not there.

    A task that is not plain sampling ends the job in place of samples and scores; task=reconstruct ends it before.
    """
    data = dict(cfg["data"])
    content = fingerprints.of(data)
    images = {"images": content.images}
    annotated = {**images, "annotations": content.annotations}
    model = _model(cfg, images, annotated, data)
    # inputs of what draws from the model: its generative stages, and the classifier where guidance asks for it
    keys = {role.removeprefix("noisy_"): stage.key for role, stage in model.items()}
    drawn = {"sampler": cfg["sampler"], "guidance": cfg["guidance"], **cfg["samples"]}
    # of validation pictures, where samples have their conditions
    known = annotated if reads_annotations(cfg["conditioner"]) or guided_by(cfg) == "ClassifierGuidance" else images
    task = stable_name(cfg["task"]["_target_"])
    if task == "Reconstruct":
        return _reconstructed(cfg, model["first_stage"], images, data)
    if task == "Sample":
        samples = Stage("samples", drawn, keys, {} if only_classes(cfg) else known, data)
        return {**_scored(cfg, model, samples, images, data), **_judged(cfg, samples, annotated, data)}
    config = {**drawn, "task": cfg["task"], "extractor": cfg["evaluation"]["extractor"]}
    del config["count"]  # a task has a count of its own
    theirs = conditioned(cfg) if task in READ_THEIR_PICTURES else not only_classes(cfg)
    stages = {**model, "task": Stage("task", config, keys, known if theirs else images, data)}
    if restores(cfg):
        measured = {name: cfg["evaluation"][name] for name in ("extractor", "perceptual", "metrics")}
        stages["restoration"] = Stage("restoration", measured, {"task": stages["task"].key})
    return stages


def _model(
    cfg: Mapping[str, Any], images: dict[str, str], annotated: dict[str, str], data: dict[str, Any]
) -> dict[str, Stage]:
    """first_stage, latents, diffusion, and noisy_classifier where guidance asks for one."""
    first_stage = Stage("first_stage", dict(cfg["first_stage"]), {}, images, data)
    if "digest" in cfg["first_stage"]:  # imported: its weights alone decide it, whatever the images
        first_stage = Stage("first_stage", dict(cfg["first_stage"]))
    latents = Stage("latents", dict(cfg["latents"]), {"first_stage": first_stage.key}, images, data)
    stages = {"first_stage": first_stage, "latents": latents, **_embeddings(cfg, annotated, data)}
    stages["diffusion"] = Stage(
        "diffusion",
        {
            **{name: cfg[name] for name in ("network", "schedule", "parameterization", "weighting", "conditioner")},
            **{name: cfg[name] for name in ("timestep_sampler", "optimizer", "training")},
            **cfg["diffusion"],
        },
        {role: stage.key for role, stage in stages.items()},
        annotated if reads_annotations(cfg["conditioner"]) else images,
        data,
    )
    if guided_by(cfg) == "ClassifierGuidance":
        config = {"schedule": cfg["schedule"], **cfg["classifier"]}
        stages["noisy_classifier"] = Stage("noisy_classifier", config, {"latents": latents.key}, annotated, data)
    return stages


def _embeddings(cfg: Mapping[str, Any], annotated: dict[str, str], data: dict[str, Any]) -> dict[str, Stage]:
    """The captions through a frozen text encoder, where the conditioner has one."""
    found = frozen_texts(cfg["conditioner"])
    if any(other != found[0] for other in found[1:]):
        got = ", ".join(f"{f['encoder']['name']} (max_length {f['max_length']}, {f['stored']})" for f in found)
        raise ConfigError("conditioner.parts", "at most one frozen text encoder", got)
    captions = {"annotations": annotated["annotations"]}
    return {"embeddings": Stage("embeddings", found[0], {}, captions, data)} if found else {}


def _reference(cfg: Mapping[str, Any], split: str, images: dict[str, str], data: dict[str, Any]) -> Stage:
    evaluation = cfg["evaluation"]
    count = evaluation["reference_count" if split == "train" else "reconstruction_count"]
    return Stage("reference", {"split": split, "count": count, "extractor": evaluation["extractor"]}, {}, images, data)


def _reconstructed(
    cfg: Mapping[str, Any], first_stage: Stage, images: dict[str, str], data: dict[str, Any]
) -> dict[str, Stage]:
    """A first stage and its scored reconstructions."""
    evaluation = cfg["evaluation"]
    reference = _reference(cfg, "validation", images, data)
    reconstruction = Stage(
        "reconstruction",
        {
            "count": evaluation["reconstruction_count"],
            "extractor": evaluation["extractor"],
            "perceptual": evaluation["perceptual"],
            "metrics": {name: evaluation["metrics"][name] for name in evaluation["reconstruction_metrics"]},
        },
        {"first_stage": first_stage.key, "reference": reference.key},
        images,
        data,
    )
    return {"first_stage": first_stage, "reference_validation": reference, "reconstruction": reconstruction}


def _scored(
    cfg: Mapping[str, Any], model: dict[str, Stage], samples: Stage, images: dict[str, str], data: dict[str, Any]
) -> dict[str, Stage]:
    """All stages of a job whose samples are scored, in the order in which they are built."""
    evaluation = cfg["evaluation"]
    train = _reference(cfg, "train", images, data)
    scores = Stage(
        "scores",
        {"metrics": evaluation["metrics"], "extractor": evaluation["extractor"]},
        {"samples": samples.key, "reference": train.key},
    )
    return {
        **_reconstructed(cfg, model["first_stage"], images, data),
        **{role: stage for role, stage in model.items() if role != "first_stage"},
        "samples": samples,
        "reference_train": train,
        "scores": scores,
    }


def _judged(
    cfg: Mapping[str, Any], samples: Stage, annotated: dict[str, str], data: dict[str, Any]
) -> dict[str, Stage]:
    """A judge, and what it says of the samples; nothing where none is chosen."""
    if not judged(cfg):
        return {}
    judge = Stage("judge", dict(cfg["judge"]), {}, annotated, data)
    return {"judge": judge, "agreement": Stage("agreement", {}, {"samples": samples.key, "judge": judge.key})}
