"""A sweep of 48 jobs against its distinct stages, and against 48 jobs that share nothing."""

import json
from itertools import count, product
from pathlib import Path

from bench.commands import TINY, run
from bench.row import Bound, Case, Prepared, Row

AXES = (
    ("first_stage", ("kl", "vq")),
    ("schedule", ("linear", "cosine")),
    ("sampler", ("ddim", "ddpm", "dpm_solver")),
    ("sampler.steps", ("4", "5", "6", "8")),
)
WHOLE = "2 × 2 × 3 × 4"
MEASURED = ("first_stage=kl", "first_stage=vq schedule=linear sampler=ddpm sampler.steps=8")
"""Jobs that are run from scratch where not all are: one for each first stage, of different steps."""


def _axes(case: Case) -> list[tuple[str, tuple[str, ...]]]:
    lengths = case.options["lengths"]
    return [(name, values[:n]) for (name, values), n in zip(AXES, lengths, strict=True)]


def ours(case: Case) -> Prepared:
    """The whole sweep, from an empty store."""
    numbers, axes = count(), [f"{name}={','.join(values)}" for name, values in _axes(case)]

    def call() -> None:
        folder = case.shared / f"sweep{next(numbers)}"
        run(case, folder, "-m", *axes, *TINY)
        (case.shared / "last").write_text(str(folder))

    return Prepared(call)


def stages(case: Case) -> Prepared:
    """The seconds that the stages of the sweep took, as their manifests have them: what cannot be saved by sharing.

    Features and prepared images have manifests too, but their seconds are among those of the stages that made them.
    """

    def call() -> float:
        store = Path((case.shared / "last").read_text()) / "store"
        (plan,) = store.glob("sweeps/*/plan.json")
        keys = json.loads(plan.read_text())["stages"]
        manifests = [m for key in keys for m in store.glob(f"objects/*/{key}/manifest.json")]
        return sum(float(json.loads(m.read_text())["wall_seconds"]) for m in manifests)

    return Prepared(call)


def from_scratch(case: Case) -> Prepared:
    """Jobs one by one, each from an empty store: all of them, or a few whose mean stands for each."""
    axes = [[f"{name}={value}" for value in values] for name, values in _axes(case)]
    every = [" ".join(job) for job in product(*axes)]
    jobs, numbers = every if case.options.get("all") else MEASURED, count()

    def call() -> None:
        for job in jobs:
            run(case, case.scratch / f"job{next(numbers)}", *job.split(), *TINY)

    return Prepared(call, times=len(every) / len(jobs))


ROW = Row(
    title="A sweep of tiny jobs (first stages × schedules × samplers × steps) in one command",
    sides={"ours": ours, "its stages": stages, "jobs from scratch": from_scratch},
    cases={
        "2 × 2 × 3 × 1": {"lengths": (2, 2, 3, 1)},
        WHOLE: {"lengths": (2, 2, 3, 4)},
        f"{WHOLE}, all from scratch": {"lengths": (2, 2, 3, 4), "all": True},
    },
    bounds=(
        Bound("its stages", time=1.1, cases=(WHOLE, f"{WHOLE}, all from scratch")),
        Bound("jobs from scratch", time=0.2, cases=(WHOLE, f"{WHOLE}, all from scratch")),
    ),
    seconds=1,
    rounds=(1, 1),
    warmup=0,
    full=frozenset({WHOLE, f"{WHOLE}, all from scratch"}),
    note="Its stages: the sum of what the manifests say each distinct stage took, without planning and report. Jobs"
    f" from scratch: {len(MEASURED)} of them were run, each with an empty store, and their mean multiplied, but for the"
    " case that says otherwise.",
)
