"""Whether a classifier of noisy latents can be built for a job's data and first stage, and its size."""

import torch

from ablatent.core.errors import ConfigError
from ablatent.core.instantiate import make
from ablatent.data.base import ImageData
from ablatent.stages.check_helpers import explained, outline_of, parameter_count, trial_device
from ablatent.stages.first_stage.check import model_of
from ablatent.stages.kind_base import Config, Size
from ablatent.stages.step_memory import trained_size


def check_classifier(config: Config) -> None:
    """Check labels, and shapes from latents to logits. Raises ConfigError."""
    annotations, node = make(config["data"], ImageData).outline(), config["classifier"]
    if annotations.labels is None:
        raise ConfigError(
            "guidance", "data with class labels", f"{config['data']['_target_'].rsplit('.', 1)[-1]} without labels",
            "Use guidance=none, or data with classes (data=fashion_mnist, digits, or image_folder with subfolders).",
        )  # fmt: skip
    shape, classes = _latent_shape(config), len(annotations.classes)
    with torch.device("meta"):
        count = parameter_count(explained("classifier.network", lambda: _network(node, shape, classes)))
    with trial_device(count), torch.no_grad():
        explained("classifier.network", lambda: _network(node, shape, classes)(torch.zeros(2, *shape), torch.zeros(2)))


def classifier_size(config: Config) -> Size:
    """The size of its network; for data that is not there, with a single class."""
    node, shape, outline = config["classifier"], _latent_shape(config), outline_of(config)
    return trained_size(
        "noisy_classifier",
        lambda: _network(node, shape, 1 if outline is None else len(outline.classes)),
        lambda n: [torch.zeros(n, *shape), torch.zeros(n)],
        node["training"],
        config["preset"].get("training", {}).get("steps"),
    )


def _latent_shape(config: Config) -> tuple[int, int, int]:
    size = int(config["data"]["size"])
    return model_of(config).latent_shape(size, size)


def _network(node: Config, shape: tuple[int, int, int], classes: int) -> torch.nn.Module:
    return make(node["network"], torch.nn.Module, in_channels=shape[0], classes=classes)
