"""Artifacts outlive the places of the classes that they name."""

from pathlib import Path

import pytest

from ablatent.core.errors import StageError
from ablatent.stages.stored import stored_config
from ablatent.store.artifacts import Artifact
from ablatent.store.identity import Key
from ablatent.store.records import Manifest


def artifact(target: str) -> Artifact:
    config = {"sampler": {"_target_": target, "steps": 3}, "seed": 0}
    key = Key(f"samples-{'0' * 32}")
    about = {"kind": "samples", "key": key, "attempt": "0", "files": {}, "created": "now", "wall_seconds": 0.0}
    return Artifact(key, Path(), Manifest(**about, config=config))


@pytest.mark.parametrize("place", ["samplers.ddim.DDIM", "samplers.deterministic.DDIM", "gone.DDIM"])
def test_a_moved_class_is_found_where_it_is_now(place):
    config = stored_config(artifact(f"ablatent.{place}"))
    assert config["sampler"] == {"_target_": "ablatent.samplers.ddim.DDIM", "steps": 3} and config["seed"] == 0


def test_other_packages_are_left_alone_and_a_class_that_is_gone_is_named():
    assert stored_config(artifact("torch.optim.AdamW"))["sampler"]["_target_"] == "torch.optim.AdamW"
    with pytest.raises(StageError, match=r"samplers\.ddim\.Vanished"):
        stored_config(artifact("ablatent.samplers.ddim.Vanished"))
