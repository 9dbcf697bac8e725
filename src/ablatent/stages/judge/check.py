"""Whether a judge can learn from a job's data, and has a use: samples whose condition it sees, or its features; its
size."""

import torch

from ablatent.core.errors import ConfigError
from ablatent.core.instantiate import make
from ablatent.data.augment import ShiftMirror
from ablatent.data.base import ImageData
from ablatent.evaluation.judge_verdict import Verdict
from ablatent.evaluation.trained_judge import make_judge
from ablatent.stages.check_helpers import outline_of, parameter_count, trial_device
from ablatent.stages.kind_base import Config, Size
from ablatent.stages.options import gives_features, readers_of, requested_of
from ablatent.stages.step_memory import trained_size


def check_judge(config: Config) -> None:
    """The data has what the judge learns; the samples' conditions have what it looks for, or its features are used.

    Raises ConfigError.
    """
    judge = config["judge"]
    verdict = make(judge["verdict"], Verdict)
    make(judge["augment"], ShiftMirror)
    data = make(config["data"], ImageData)
    annotations = data.annotations()
    verdict.check(annotations)
    least, there = 2 if verdict.calibrates else 1, data.counts().validation
    if there < least:
        do = "Hold more images out, or choose judge=none."
        raise ConfigError("judge", f"data with at least {least} validation images, which measure it", there, do)
    requested = requested_of(config)
    if not requested & set(verdict.condition_parts) and not gives_features(config):
        name, readers = type(verdict).__name__, readers_of(config, verdict.condition_parts)
        raise ConfigError(
            "judge",
            f"for {name}, samples with a condition of: {', '.join(verdict.condition_parts)}",
            f"a condition of {', '.join(sorted(requested)) or 'nothing'}",
            f"Choose {readers + ', ' if readers else ''}another judge, or judge=none.",
        )
    outputs, size = len(verdict.names(annotations)), int(config["data"]["size"])
    with torch.device("meta"):
        count = parameter_count(make_judge(judge, outputs))
    with trial_device(count), torch.no_grad():
        network = make_judge(judge, outputs).eval()
        logits = network(torch.zeros(1, 3, size, size))
        target = torch.from_numpy(verdict.targets(annotations.rows([0]))).to(logits.device)
        try:
            verdict.loss(logits, target)
        except (RuntimeError, ValueError) as e:
            expected = (
                f"answers that fit {type(verdict).__name__} (what it learns of an image: {tuple(target.shape[1:])})"
            )
            got = f"{tuple(logits.shape[1:])}: {str(e).splitlines()[0]}"
            raise ConfigError("judge.network", expected, got) from None


def judge_size(config: Config) -> Size:
    """The size of its network; for data that is not there, with a single output."""
    judge, side, outline = config["judge"], int(config["data"]["size"]), outline_of(config)
    outputs = 1 if outline is None else len(make(judge["verdict"], Verdict).names(outline))
    return trained_size(
        "judge",
        lambda: make_judge(judge, outputs),
        lambda n: [torch.zeros(n, 3, side, side)],
        judge["training"],
        config["preset"].get("judge", {}).get("steps"),
    )
