"""Judges out of the store."""

import torch

from ablatent.evaluation.judge_verdict import Verdict
from ablatent.evaluation.trained_judge import trained_judge
from ablatent.networks.judge import JudgeBackbone
from ablatent.stages.stored import stored_config
from ablatent.store.artifacts import Artifact


def load_judge(artifact: Artifact, device: torch.device) -> tuple[Verdict, JudgeBackbone]:
    """(verdict with what was calibrated on real images, network in evaluation mode, frozen, float32)."""
    verdict, network = trained_judge(artifact, stored_config(artifact))
    return verdict, network.to(device)
