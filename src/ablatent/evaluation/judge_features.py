"""Features of a judge: of a network that learned the images of the job's own data, as Inception did not."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.weights import digest_tensors
from ablatent.evaluation.scores import NOT_INCEPTION, Extractor
from ablatent.evaluation.trained_judge import trained_judge
from ablatent.networks.judge import JudgeBackbone
from ablatent.store.artifacts import Artifact


class JudgeExtractor(Extractor):
    """The vector of each image from which the job's judge takes its logits, of images as they are.

    Only scores of one judge may be compared: its key, the digest of its tensors and its headline on held-out images
    stand in the protocol. Images must have sides that the judge's network takes.
    """

    needs_stages: ClassVar[tuple[str, ...]] = ("judge",)
    renamed: ClassVar[Mapping[str, tuple[str, str]]] = NOT_INCEPTION

    layer = "pooled"
    label = "(judge)"
    resize = "none"
    remark = (
        "(judge): on features of a judge, trained on the real images of this data; FD and KD are the distances that "
        "are called FID and KID on Inception's. Compare them with those by the same judge only."
    )

    def __init__(self, suffix: Annotated[str, "of the names of scores"]) -> None:
        self.suffix, self.name = suffix, "judge/pooled"
        self._about: dict[str, Any] = {}
        self._network: JudgeBackbone | None = None

    def check(self) -> None:
        """There is nothing to find: a stage of the job trains it."""

    def read(self, artifact: Artifact, config: Mapping[str, Any]) -> None:
        """Take the judge."""
        verdict, network = trained_judge(artifact, config)
        summary, side = artifact.json("summary.json"), network.factor
        self._network = network
        self.name, self.digest = f"{artifact.key}/{self.layer}", digest_tensors(network.state_dict())
        self.dim = network.pooled(torch.zeros(1, 3, side, side)).shape[1]
        self._about = {
            "judge_learned": verdict.reads,
            "judge_trained_on": summary["trained_on"],
            f"judge_{verdict.headline}": summary["held_out"][verdict.headline],
        }

    def load(self, device: torch.device | str = "cpu") -> None:
        self._judge().to(device)

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Raises ConfigError for sides that the network does not take."""
        return self._judge().pooled(images.float() / 127.5 - 1)

    def protocol(self) -> dict[str, Any]:
        return super().protocol() | self._about

    def _judge(self) -> JudgeBackbone:
        if self._network is None:
            do = "Choose another extractor there: only evaluation.extractor reads stages of the job."
            raise ConfigError("extractor", f"a trained judge for {self.name}", "none", do)
        return self._network
