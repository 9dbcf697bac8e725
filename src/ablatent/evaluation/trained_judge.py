"""The networks of judges: fresh ones, and those that a stage trained."""

from collections.abc import Mapping
from typing import Any

from ablatent.core.instantiate import make
from ablatent.core.tensor_files import read_tensors
from ablatent.evaluation.judge_verdict import Verdict
from ablatent.networks.judge import JudgeBackbone
from ablatent.store.artifacts import Artifact


def make_judge(config: Mapping[str, Any], outputs: int) -> JudgeBackbone:
    """The network of a judge node, with fresh weights."""
    return make(config["network"], JudgeBackbone, outputs=outputs)


def trained_judge(artifact: Artifact, config: Mapping[str, Any]) -> tuple[Verdict, JudgeBackbone]:
    """(verdict with what was calibrated on real images, network in evaluation mode, frozen, float32, on the CPU).

    config: of the stage, as the current code reads it.
    """
    summary = artifact.json("summary.json")
    network = make_judge(config, len(summary["names"]))
    network.load_state_dict(read_tensors(artifact.path / "model.safetensors"))
    verdict = make({**config["verdict"], **summary["calibrated"]}, Verdict)
    return verdict, network.eval().requires_grad_(False)
