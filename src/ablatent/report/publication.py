"""What do=publish sends of a sweep, gathered from the store."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablatent.core.files import sha256
from ablatent.core.progress import track
from ablatent.report import tables
from ablatent.report.code_link import commit_in_markdown
from ablatent.report.markdown import markdown_table
from ablatent.report.model import UNREADABLE, JobResult, Stored, Sweep
from ablatent.report.overview import overview_of
from ablatent.report.published_claims import claims_in
from ablatent.store.verify import MANIFEST
from ablatent.tracking.base import flat_axes
from ablatent.tracking.publication import Publication, PublishedArtifact, PublishedFile, PublishedRun
from ablatent.tracking.run_links import job_run_id

CHECKPOINTS, SAMPLES = "checkpoints", "samples"
IMAGES = "images.npy"
NFE = "nfe"
LINK = "stage"
"""The type of artifacts that are only links between others."""
RunOf = Callable[[str], str | None]
"""From the key of a trained stage to the id of its run, None where the tracker has none."""


def publication_of(sweep: Sweep, run_of: RunOf, wanted: Collection[str], report: Path) -> Publication:
    """A sweep as it is published. wanted: of CHECKPOINTS and SAMPLES, as artifacts; report: the folder of its report,
    whose verdicts are taken.

    Raises DataError for an artifact that is damaged.
    """
    trainings = list(_training_runs(sweep, run_of))
    jobs = [_job_run(sweep, job) for job in sweep.jobs]
    other = [run.id for key, run in trainings if all(job.built.get(key) != "built" for job in sweep.jobs)]
    overview = replace(overview_of(sweep), costs=_costs(sweep), curve_axes=curve_axes(sweep), other_runs=other)
    runs = dict(trainings)
    return Publication(
        overview=overview,
        title=sweep.title or f"Sweep {sweep.id}",
        question=sweep.question,
        created=sweep.created,
        command=sweep.command,
        claims=claims_in(report),
        results=markdown_table(tables.results(sweep, bool(sweep.seed_axes))),
        remarks=[
            f"{sweep.metrics[metric].label}: jobs were measured by different protocols ({', '.join(fields)} differ)."
            for metric, fields in tables.incomparable(sweep).items()
        ],
        code=list(_code(sweep)),
        runs=[*runs.values(), *jobs],
        artifacts=_artifacts(sweep, runs, {job.index: run for job, run in zip(sweep.jobs, jobs, strict=True)}, wanted),
    )


def _training_runs(sweep: Sweep, run_of: RunOf) -> Iterator[tuple[str, PublishedRun]]:
    """(key, run) of the trained stages that have one. Axes that are the same for all jobs on a stage are its own."""
    for stored in sweep.objects.values():
        run = run_of(stored.key) if stored.planned.trained else None
        if run is not None:
            config = flat_axes({axis: value for axis in sweep.axes for value in _own_value(sweep, stored, axis)})
            yield (
                stored.key,
                PublishedRun(id=run, name=stored.key, group=sweep.id, job_type=stored.kind, config=config),
            )


def _own_value(sweep: Sweep, stored: Stored, axis: str) -> list[Any]:
    """The value of an axis that all jobs on a stage have, in a list; an empty list where they differ."""
    values = {json.dumps(job.axes.get(axis)): job.axes.get(axis) for job in sweep.users.get(stored.key, [])}
    return list(values.values()) if len(values) == 1 else []


def _job_run(sweep: Sweep, job: JobResult) -> PublishedRun:
    nfe = evaluations(sweep, job)
    return PublishedRun(
        id=job_run_id(sweep.id, job.index, job.name),
        name=job.name,
        group=sweep.id,
        job_type="job",
        config={**flat_axes(job.axes), **({} if nfe is None else {NFE: nfe})},
    )


def evaluations(sweep: Sweep, job: JobResult) -> float | None:
    """NFE of a sample of the job, as reports have it: calls of the network, whatever guidance puts into each."""
    counts = (_evaluations(sweep, key) for key in job.stages.values())
    return next((count for count in counts if count is not None), None)


def _evaluations(sweep: Sweep, key: str) -> float | None:
    try:
        about = sweep.objects[key].summary if key in sweep.objects else {}
        return float(about["nfe"]) if "nfe" in about else None
    except UNREADABLE:  # the report names what is damaged
        return None


def _costs(sweep: Sweep) -> dict[str, list[str]]:
    """NFE → the metrics that are measured of what was sampled; empty where nothing was."""
    measured = {
        name
        for name, score in sweep.metrics.items()
        if any(_evaluations(sweep, key) is not None for key in sweep.closure([score.stage]))
    }
    return {NFE: [name for name in sweep.metrics if name in measured]} if measured else {}


def curve_axes(sweep: Sweep) -> dict[str, list[str]]:
    """Curve → the axes, but for seeds, that give each training with it one value, and not all of them the same."""
    trainings: dict[str, list[Stored]] = {}
    for stored in sweep.readable:
        try:
            for name in stored.curves() if stored.planned.trained else ():
                trainings.setdefault(name, []).append(stored)
        except UNREADABLE:
            continue
    found = {
        name: [axis for axis in sweep.plain_axes if _tells_apart(sweep, axis, of)] for name, of in trainings.items()
    }
    return {name: axes for name, axes in found.items() if axes}


def _tells_apart(sweep: Sweep, axis: str, trainings: list[Stored]) -> bool:
    values = [_own_value(sweep, stored, axis) for stored in trainings]
    return all(values) and len({json.dumps(value) for value in values}) > 1


def _code(sweep: Sweep) -> Iterator[str]:
    """Lines of Markdown: the commits by which the sweep's stages were built."""
    states = [stored.manifest.git for stored in sweep.readable if stored.manifest and stored.manifest.git]
    for commit in dict.fromkeys(str(state.get("commit", "unknown")) for state in states):
        dirty = any(state.get("dirty") for state in states if state.get("commit") == commit)
        yield f"Code: {commit_in_markdown(commit)}{', with changes that were not committed' if dirty else ''}."


def _artifacts(
    sweep: Sweep, trainings: Mapping[str, PublishedRun], jobs: Mapping[int, PublishedRun], wanted: Collection[str]
) -> list[PublishedArtifact]:
    """The chosen stages with all their files, and what they stand on with its manifest, so that no link is missing."""
    chosen = {o.key for o in sweep.readable if _artifact_type(o) is not None and _wanted(o, wanted)}
    chain = [o for key, o in sweep.objects.items() if key in sweep.closure(chosen) and o.problem is None]
    keys, found = {o.key for o in chain}, []
    with track("checking files", len(chain), "artifacts") as bar:
        for stored in chain:
            run = trainings.get(stored.key) or jobs[sweep.users[stored.key][0].index]
            found.append(
                PublishedArtifact(
                    key=stored.key,
                    name=stored.key if stored.key in chosen else f"{stored.key}-manifest",
                    type=_artifact_type(stored) or LINK if stored.key in chosen else LINK,
                    run=run,
                    inputs=[key for key in stored.inputs.values() if key in keys],
                    metadata=_metadata(stored),
                    files=_files(stored, stored.key in chosen),
                )
            )
            bar.advance()
    return found


def _artifact_type(stored: Stored) -> str | None:
    """By what a stage is and publishes, whatever its kind; None for one that is only a link between others."""
    return "model" if stored.planned.trained else "dataset" if stored.has(IMAGES) else None


def _wanted(stored: Stored, wanted: Collection[str]) -> bool:
    return (CHECKPOINTS if stored.planned.trained else SAMPLES) in wanted


def _metadata(stored: Stored) -> dict[str, Any]:
    return {
        "stage": stored.key,
        "kind": stored.kind,
        "config": dict(stored.config),
        "inputs": dict(stored.inputs),
        "code": None if stored.manifest is None else stored.manifest.code,
        "sha256": {name: file.sha256 for name, file in stored.files.items()},
    }


def _files(stored: Stored, whole: bool) -> list[PublishedFile]:
    names = list(stored.files) if whole else []
    files = [
        PublishedFile(name=name, path=stored.file(name), size=stored.files[name].size, sha256=stored.files[name].sha256)
        for name in names
    ]
    path = stored.folder / MANIFEST
    return [*files, PublishedFile(name=MANIFEST, path=path, size=path.stat().st_size, sha256=sha256(path))]
