"""Encoding a data set to latents, as the stage does it."""

import os
from dataclasses import replace
from itertools import count
from typing import Any

from hydra import compose, initialize_config_dir

from ablatent.cli.main import plain
from ablatent.stages.stage import Stage
from ablatent.store.artifacts import Store
from ablatent.sweep.builder import Builder
from ablatent.sweep.plan import Composed, make_plan
from bench.image_files import written
from bench.row import Case, Prepared, Row


def _config(case: Case, *overrides: str) -> dict[str, Any]:
    os.environ["ABLATENT_ROOT"] = str(case.root)
    with initialize_config_dir(config_dir=str(case.root / "conf"), version_base="1.3"):
        return plain(compose("config", overrides=list(overrides)))


def _stages(case: Case, images: int) -> tuple[Stage, Stage, Builder]:
    """(first stage of one step, latents, what builds them) of a folder of images."""
    written("jpg", case.scratch / "source", images)
    short = ("first_stage.training.steps=1", "first_stage.loss.disc_start=null")
    config = _config(
        case, f"preset={case.options['preset']}", "data=image_folder", f"data.root={case.scratch / 'source'}",
        "perceptual=none", "first_stage.loss.perceptual_weight=0", "tracking=none", f"runtime.threads={case.threads}",
        f"runtime.device={'gpu' if case.device == 'cuda' else 'cpu'}", "data.limit=null", *short,
    )  # fmt: skip
    (job,) = make_plan([Composed([], config)]).jobs
    if job.refused is not None:
        raise RuntimeError(job.refused)
    return (
        job.stages["first_stage"],
        job.stages["latents"],
        Builder(Store(case.scratch / "store"), config["runtime"], ""),
    )


def ours(case: Case) -> Prepared:
    """The stage `latents`, again under a new key at each turn; images and first stage are found."""
    number = 64 if case.quick else case.options["images"]
    first_stage, latents, build = _stages(case, number)
    build(first_stage)
    turns = count()

    def call() -> None:
        build(replace(latents, config={**latents.config, "turn": next(turns)}))

    return Prepared(call, units=number)


ROW = Row(
    title="Encoding a data set to latents (the stage, with checks and files)",
    sides={"ours": ours},
    cases={"demo, 32 px": {"preset": "demo", "images": 2000}, "tiny, 32 px": {"preset": "tiny", "images": 2000}},
    unit="images",
    seconds=15,
    rounds=(3, 10),
    note="Images are prepared; their first stage is hardly trained, which changes no time.",
)
