"""Names of finished models: a sweep and job, the key of a stage, or the id of a W&B run. Free of torch."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.stages.diffusion.kind import DiffusionKind
from ablatent.stages.first_stage.kind import FirstStageKind
from ablatent.stages.imported.kind import ImportedKind
from ablatent.stages.samples.kind import MODEL
from ablatent.store.identity import Key, SweepId
from ablatent.store.layout import object_folder
from ablatent.store.pins import key_named
from ablatent.store.records import PlannedJob
from ablatent.store.sweeps import plans
from ablatent.store.verify import read_manifest
from ablatent.tracking.run_links import run_id, stage_links

ABOUT_SAMPLING = ("sampler", "guidance", "samples", "task")
MODELS = (DiffusionKind.name, ImportedKind.name)
"""Kinds that are models by themselves."""


@dataclass(frozen=True)
class Reference:
    """A model of the store.

    inputs: role → key of the stages that sampling reads; overrides, config: of the job that trained it, empty and None
    without one.
    """

    inputs: dict[str, Key]
    overrides: list[str]
    config: dict[str, Any] | None

    @property
    def imported(self) -> bool:
        """Whether it is the network of another program, without a training of this store."""
        return ImportedKind.name in self.inputs


def find(root: Path, name: str | None) -> Reference:
    """The model of that name in the store at `root`. Raises ConfigError, which names `model`, where there is none."""
    jobs = list(_jobs(root))
    if name is None:
        newest = f"The newest is model={jobs[0][0]}:{jobs[0][1].index}." if jobs else "The store has no sweep yet."
        forms = "SWEEP:INDEX, the key of a diffusion or imported stage, or a W&B run id"
        raise ConfigError("model", forms, None, newest)
    if name.rpartition("-")[0] in MODELS:
        return _by_key(root, key_named(root, name, "model"), jobs)
    sweep, _, which = name.partition(":")
    in_sweep = [job for found, job in jobs if found == sweep]
    if in_sweep:
        return _of_job(root, _job(in_sweep, sweep, which))
    key = _tracked(root, name)
    if key is not None:
        return _by_key(root, key, jobs)
    for found, job in jobs:
        if run_id(found, job.index, job.name or "single run") == name:
            return _of_job(root, job)
    known = [found for found, _ in jobs]
    near = did_you_mean(sweep, known) or "do=status lists the sweeps."
    raise ConfigError("model", f"a sweep, a stage or a run of {root}", name, near)


def _jobs(root: Path) -> Iterator[tuple[SweepId, PlannedJob]]:
    """(sweep, job) of every sweep, the newest first; a sweep whose plan cannot be read is named and left out."""
    for sweep, plan in plans(root):
        for job in plan.jobs:
            yield sweep, job


def _job(jobs: Sequence[PlannedJob], sweep: str, which: str) -> PlannedJob:
    """A job of a sweep by its index or its name; its only one where neither is given."""
    fitting = [j for j in jobs if which in (str(j.index), j.name)] if which else list(jobs)
    if len(fitting) != 1:
        some = ", ".join(f"{j.index} ({j.name})" if j.name else str(j.index) for j in jobs[:8])
        raise ConfigError("model", f"{sweep}:JOB with one of the jobs {some}", f"{sweep}:{which}" if which else sweep)
    return fitting[0]


def _of_job(root: Path, job: PlannedJob) -> Reference:
    if DiffusionKind.name not in job.stages:
        reason = job.refused or "It has no diffusion model."
        raise ConfigError("model", "a job with a diffusion model", job.index, reason)
    inputs = {role: key for role, key in job.stages.items() if role in MODEL}
    for key in inputs.values():
        if not object_folder(root, key).exists():
            raise ConfigError("model", "a job whose stages are built", key, "Run its sweep first (again).")
    return Reference(inputs, list(job.overrides), dict(job.config))


def _by_key(root: Path, key: Key, jobs: Sequence[tuple[str, PlannedJob]]) -> Reference:
    """The model of a stage, by the newest job that has it, else by its inputs alone."""
    for _, job in jobs:
        if job.stages.get(key.kind) == key:
            return _of_job(root, job)
    recorded = read_manifest(object_folder(root, key), key).inputs
    inputs = {role: found for role, found in recorded.items() if role in MODEL}
    if FirstStageKind.name not in inputs:
        do = "Import the UNet together with its autoencoder (one checkpoint, or a folder with both)."
        raise ConfigError("model", "a network whose first stage is known", key, do)
    return Reference({key.kind: key, **inputs}, [], None)


def _tracked(root: Path, run: str) -> Key | None:
    """The diffusion stage whose training has this id in a tracker, or None."""
    for key, links in stage_links(root):
        if key.startswith(f"{DiffusionKind.name}-") and any(link.get("id") == run for link in links.values()):
            return Key(key)
    return None


# Groups and keys of the job itself (its title, its seeds, where it ran), not of its model.
ABOUT_THE_JOB = {
    "hydra",
    "out",
    "do",
    "title",
    "question",
    "claims",
    "seed",
    "task",
    "tracking",
    "executor",
    "store",
    "metric",
    "evaluation",
}


def merge_overrides(job: Sequence[str], typed: Sequence[str]) -> list[str]:
    """A job's overrides and those that were typed; the latter win.

    Where an option of a group is typed, the job's settings of that group are dropped.
    """
    typed_keys = {o.partition("=")[0] for o in typed}
    kept = []
    for override in job:
        key = override.partition("=")[0]
        top = re.split("[.@/]", key.lstrip("+~"))[0]
        chosen_anew = top in typed_keys and top in ABOUT_SAMPLING
        option = override.startswith("-")  # of Hydra's own, which no job has: the file may come from anybody
        if key not in typed_keys and not option and top not in ABOUT_THE_JOB and not chosen_anew:
            kept.append(override)
    return [*kept, *typed]
