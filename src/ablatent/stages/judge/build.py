"""judge: real images and their annotations → a network that finds the same in generated images."""

from typing import Any

from ablatent.core.files import write_json
from ablatent.core.instantiate import make
from ablatent.data.augment import ShiftMirror
from ablatent.evaluation.agreement import held_out, with_calibration
from ablatent.evaluation.judge_verdict import Verdict
from ablatent.evaluation.trained_judge import make_judge
from ablatent.stages.context import Context
from ablatent.stages.judge.judging import judge
from ablatent.stages.train import optimizer_factory, save_weights, seed_initial_weights, train
from ablatent.training.judge import JudgeBatches, JudgeTrainee, JudgeTraining

CURVE_IMAGES = 512
"""Images that the curves are measured on; the summary is measured on all."""


def build(ctx: Context) -> None:
    """model.safetensors, curves.csv, summary.json: its scores on held-out real images, against their annotations.

    Where a knob is chosen on real images, every second held-out image chooses and the others measure.
    """
    config, seed = ctx.config, int(ctx.config["seed"])
    train_config = JudgeTraining(**config["training"])
    verdict: Verdict = make(config["verdict"], Verdict)
    images, annotations = ctx.images(), ctx.annotations()
    verdict.check(annotations)
    seed_initial_weights(seed)
    network = make_judge(config, len(verdict.names(annotations)))
    rows = images.indices("validation")
    train_rows = images.indices("train")
    batches = JudgeBatches(
        images.pixels,
        verdict.targets(annotations),
        train_rows,
        make(config["augment"], ShiftMirror),
        train_config.batch_size,
        seed,
    )
    optimizer = optimizer_factory(config["optimizer"])
    trainee = JudgeTrainee(network, verdict, train_config, seed, optimizer, batches.validation(rows[:CURVE_IMAGES]))
    train(ctx, trainee, batches)
    if ctx.rank:
        return
    ctx.work.check()
    save_weights(ctx, network.state_dict())
    network = network.to(ctx.device).eval()
    answers, truth = judge(ctx, verdict, network, images.pixels[rows]), annotations.rows(rows)
    calibrated: dict[str, Any] = {}
    if verdict.calibrates:
        calibrated = verdict.calibrated(answers[::2], truth.rows(range(0, len(rows), 2)))
        answers, truth = answers[1::2], truth.rows(range(1, len(rows), 2))
    scores, half_widths, by_name = held_out(with_calibration(verdict, calibrated), answers, truth)
    write_json(
        ctx.work.files / "summary.json",
        {
            "parameters": sum(p.numel() for p in network.parameters()),
            "steps": train_config.steps,
            "trained_on": len(train_rows),
            "names": list(verdict.names(annotations)),
            "class_names": list(annotations.classes),
            "segment_names": list(annotations.segments),
            "headline": verdict.headline,
            "labels": dict(verdict.labels),
            "calibrated": calibrated,
            "held_out": {"count": len(answers), **scores},
            "half_width": half_widths,
            "by_name": by_name,
        },
    )
