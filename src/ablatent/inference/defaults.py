"""How models are sampled that come without a job."""

from dataclasses import asdict
from typing import Any

from ablatent.core.targets import TARGET, target_of
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.guidance import NoGuidance
from ablatent.tasks.inpaint import Inpaint
from ablatent.tasks.sample import Sample


def node_of(kind: type[Any], **options: Any) -> dict[str, Any]:
    """The configuration node of a class with these options."""
    return {TARGET: target_of(kind), **options}


# For models without a job: imported ones, and stages built by themselves.
DEFAULTS: dict[str, Any] = {
    "sampler": node_of(DDIM, steps=50),
    "guidance": node_of(NoGuidance),
    "task": node_of(Sample),
    "samples": {"weights": "ema", "snapshot": "last", "ema_width": None, "decode_tile": None, "decode_overlap": 16},
    "runtime": {"device": "auto", "devices": 1, "compile": False, "compile_mode": "network", "deterministic": True,
                "threads": None, "batch_size": 64, "checkpoint_seconds": 10.0, "precision": "32-true"},
}  # fmt: skip
INPAINT = node_of(Inpaint, **asdict(Inpaint()))
"""The task in place of plain sampling, of a model that was trained to fill holes: it reads an image and a mask."""
