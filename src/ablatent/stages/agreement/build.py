"""agreement: whether samples show what their conditions demand, by a judge that learned from real images."""

from collections.abc import Sequence

import numpy as np

from ablatent.core.errors import StageError
from ablatent.core.files import write_json
from ablatent.data.base import Annotations
from ablatent.evaluation.agreement import agreement
from ablatent.evaluation.judge_verdict import Verdict
from ablatent.evaluation.scores import versions
from ablatent.stages.context import Context
from ablatent.stages.judge.judging import judge
from ablatent.stages.judge.load import load_judge
from ablatent.stages.scores.build import as_json
from ablatent.store.artifacts import Artifact


def build(ctx: Context) -> None:
    """scores.json, see `agreement`; answers.npy: what the judge finds in each sample."""
    trained_judge, samples = ctx.input("judge"), ctx.input("samples")
    verdict, network = load_judge(trained_judge, ctx.device)
    summary = trained_judge.json("summary.json")
    images = np.load(samples.path / "images.npy", mmap_mode="r")
    answers = judge(ctx, verdict, network, images)
    real = {k: v for k, v in summary["held_out"].items() if k != "count"}
    protocol = {
        "judge": trained_judge.key,
        "judge_learned": verdict.reads,
        "judge_trained_on": summary["trained_on"],
        "judge_held_out": summary["held_out"]["count"],
        f"judge_{verdict.headline}": real[verdict.headline],
        "calibrated": summary["calibrated"],
        "versions": versions(),
    }
    conditions = conditions_of(samples, verdict, summary["class_names"], summary["segment_names"])
    scores = agreement(verdict, answers, conditions, real, protocol)
    np.save(ctx.work.files / "answers.npy", answers)
    write_json(ctx.work.files / "scores.json", {"metrics": as_json(scores)})


def conditions_of(samples: Artifact, verdict: Verdict, classes: Sequence[str], segments: Sequence[str]) -> Annotations:
    """What the samples should show, a row a sample. classes, segments: the names that the judge has, by number.

    Raises StageError for samples whose stored conditions have nothing that the judge scores.
    """
    labels, maps = samples.json("summary.json")["labels"], samples.path / "conditions_segmentation.npy"
    stored = samples.json("conditions.json") if (samples.path / "conditions.json").exists() else {}
    boxes = stored.get("boxes")
    conditions = Annotations(
        labels=None if labels is None else np.asarray(labels, dtype=np.int64),
        classes=tuple(classes),
        boxes=None if boxes is None else [[tuple(box) for box in row] for row in boxes],
        segmentation=np.load(maps) if maps.exists() else None,
        segments=tuple(segments),
        extra={name: np.asarray(values) for name, values in stored.get("extra", {}).items()},
    )
    if all(conditions.part(part) is None for part in verdict.scored_parts):
        raise StageError(
            f"{samples.key}: expected samples whose conditions have {' or '.join(verdict.scored_parts)}; as stored, "
            "these have none. Draw others, by another samples.seed."
        )
    return conditions
