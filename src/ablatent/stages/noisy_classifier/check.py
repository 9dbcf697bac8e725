"""Whether a classifier of noisy latents can be built for a job's data and first stage."""

import torch

from ablatent.core.errors import ConfigError
from ablatent.core.instantiate import make
from ablatent.data.base import ImageData
from ablatent.stages.check_helpers import explained, parameter_count, trial_device
from ablatent.stages.first_stage.check import model_of
from ablatent.stages.kind_base import Config


def check_classifier(config: Config) -> None:
    """Check labels, and shapes from latents to logits. Raises ConfigError."""
    annotations, node = make(config["data"], ImageData).outline(), config["classifier"]
    if annotations.labels is None:
        raise ConfigError(
            "guidance", "data with class labels", f"{config['data']['_target_'].rsplit('.', 1)[-1]} without labels",
            "Use guidance=none, or data with classes (data=fashion_mnist, digits, or image_folder with subfolders).",
        )  # fmt: skip
    size = int(config["data"]["size"])

    def network(channels: int) -> torch.nn.Module:
        return make(node["network"], torch.nn.Module, in_channels=channels, classes=len(annotations.classes))

    shape = model_of(config).latent_shape(size, size)
    with torch.device("meta"):
        count = parameter_count(explained("classifier.network", lambda: network(shape[0])))
    with trial_device(count), torch.no_grad():
        explained("classifier.network", lambda: network(shape[0])(torch.zeros(2, *shape), torch.zeros(2)))
