"""agreement: whether samples show what they were asked for, as a judge of real pictures sees it."""

from collections.abc import Sequence

import numpy as np

from ablatent.core.errors import StageError
from ablatent.core.files import write_json
from ablatent.data.base import Annotations
from ablatent.evaluation.agreement import agreement
from ablatent.evaluation.judges import Verdict
from ablatent.evaluation.scores import versions
from ablatent.stages.context import Context
from ablatent.stages.judge.build import judge
from ablatent.stages.judge.load import load_judge
from ablatent.stages.scores.build import as_json
from ablatent.store.artifacts import Artifact


def build(ctx: Context) -> None:
    """scores.json, see `agreement`; answers.npy: what the judge says of each sample."""
    made, samples = ctx.input("judge"), ctx.input("samples")
    verdict, network = load_judge(made, ctx.device)
    summary = made.json("summary.json")
    images = np.load(samples.path / "images.npy")
    answers = judge(ctx, verdict, network, images)
    real = {k: v for k, v in summary["held_out"].items() if k != "count"}
    protocol = {
        "judge": made.key,
        "judge_learned": verdict.reads,
        "judge_trained_on": summary["trained_on"],
        "judge_held_out": summary["held_out"]["count"],
        f"judge_{verdict.headline}": real[verdict.headline],
        "settled": summary["settled"],
        "versions": versions(),
    }
    asked = asked_of(samples, verdict, summary["class_names"], summary["segment_names"])
    scores = agreement(verdict, answers, asked, real, protocol)
    np.save(ctx.work.files / "answers.npy", answers)
    write_json(ctx.work.files / "scores.json", {"metrics": as_json(scores)})


def asked_of(samples: Artifact, verdict: Verdict, classes: Sequence[str], segments: Sequence[str]) -> Annotations:
    """What the samples were asked to show. classes, segments: the names that the judge knows, by number.

    Raises StageError for samples of which that is not known.
    """
    labels, boxes, maps = samples.json("summary.json")["labels"], None, samples.path / "conditions_segmentation.npy"
    if (samples.path / "conditions.json").exists():
        boxes = samples.json("conditions.json")["boxes"]
    asked = Annotations(
        labels=None if labels is None else np.asarray(labels, dtype=np.int64),
        classes=tuple(classes),
        boxes=None if boxes is None else [[tuple(box) for box in row] for row in boxes],
        segmentation=np.load(maps) if maps.exists() else None,
        segments=tuple(segments),
    )
    if all(getattr(asked, part) is None for part in verdict.looks_for):
        raise StageError(
            f"{samples.key}: expected samples that were asked for {' or '.join(verdict.looks_for)}, as far as the "
            "store knows; these have none. Draw others, by another samples.seed."
        )
    return asked
