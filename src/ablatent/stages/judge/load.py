"""Judges out of configurations and out of the store."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ablatent.core.instantiate import make
from ablatent.evaluation.judges import Verdict
from ablatent.networks.judge import JudgeBackbone
from ablatent.stages.stored import stored_config
from ablatent.store.artifacts import Artifact


def make_judge(config: Mapping[str, Any], outputs: int) -> nn.Module:
    """The network of a judge node, with fresh weights."""
    return make(config["network"], JudgeBackbone, outputs=outputs)


def load_judge(artifact: Artifact, device: torch.device) -> tuple[Verdict, nn.Module]:
    """(verdict with what was calibrated on real images, network in evaluation mode, frozen, float32)."""
    from safetensors.torch import load_file

    config, summary = stored_config(artifact), artifact.json("summary.json")
    network = make_judge(config, len(summary["names"]))
    network.load_state_dict(load_file(str(artifact.path / "model.safetensors")))
    verdict = make({**config["verdict"], **summary["calibrated"]}, Verdict)
    return verdict, network.to(device).eval().requires_grad_(False)
