"""Judges out of configurations and out of the store, and what a plan checks of them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ablatent.core.errors import ConfigError
from ablatent.evaluation.judges import Verdict
from ablatent.stages.graph import guided_by
from ablatent.stages.models import needs_of
from ablatent.stages.objects import make, stored_config
from ablatent.store.artifacts import Artifact
from ablatent.sweep.check import SMALL, check_arguments
from ablatent.sweep.rules import readers_of


def make_judge(config: Mapping[str, Any], outputs: int) -> nn.Module:
    """The network of a judge node, with fresh weights."""
    network: nn.Module = make(config["network"], outputs=outputs)
    return network


def load_judge(artifact: Artifact, device: torch.device) -> tuple[Verdict, nn.Module]:
    """(verdict with what was chosen on real pictures, network in evaluation mode, frozen, float32)."""
    from safetensors.torch import load_file

    config, summary = stored_config(artifact), artifact.json("summary.json")
    network = make_judge(config, len(summary["names"]))
    network.load_state_dict(load_file(str(artifact.path / "model.safetensors")))
    return make({**config["verdict"], **summary["calibrated"]}), network.to(device).eval().requires_grad_(False)


def check_judge(cfg: Mapping[str, Any]) -> None:
    """The data has what the judge learns, the model is asked for what the judge looks for, and all arguments fit."""
    judge = cfg["judge"]
    for part, filled in (("verdict", 0), ("network", 1), ("optimizer", 1), ("augment", 0)):
        check_arguments(f"judge.{part}", judge[part], filled)
    verdict: Verdict = make(judge["verdict"])
    make(judge["augment"])
    known = make(cfg["data"]).annotations()
    verdict.check(known)
    asked = needs_of(cfg["conditioner"]) | ({"labels"} if guided_by(cfg) == "ClassifierGuidance" else set())
    if not asked & set(verdict.condition_parts):
        name, readers = type(verdict).__name__, readers_of(cfg, verdict.condition_parts)
        raise ConfigError(
            "judge",
            f"for {name}, samples that are asked for one of: {', '.join(verdict.condition_parts)}",
            f"a condition of {', '.join(sorted(asked)) or 'nothing'}",
            f"Choose {readers + ', ' if readers else ''}another judge, or judge=none.",
        )
    outputs, size = len(verdict.names(known)), int(cfg["data"]["size"])
    with torch.device("meta"):
        network = make_judge(judge, outputs)
    count = sum(p.numel() for p in network.parameters())
    with torch.device("cpu" if count < SMALL else "meta"), torch.no_grad():
        network = make_judge(judge, outputs).eval()
        logits = network(torch.zeros(1, 3, size, size))
        target = torch.from_numpy(verdict.targets(known.rows([0]))).to(logits.device)
        try:
            verdict.loss(logits, target)
        except (RuntimeError, ValueError) as e:
            wanted = (
                f"answers that fit {type(verdict).__name__} (what it learns of a picture: {tuple(target.shape[1:])})"
            )
            raise ConfigError("judge.network", wanted, f"{tuple(logits.shape[1:])}: {str(e).splitlines()[0]}") from None
