"""Features of the FID Inception against torch-fidelity's own network."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from ablatent.core.tensor_files import read_tensors
from ablatent.core.weights import PretrainedFile
from ablatent.evaluation.inception import InceptionExtractor, convert
from bench.row import Bound, Case, Prepared, Row


def _node(case: Case) -> dict[str, Any]:
    return dict(yaml.safe_load((case.root / "conf" / "extractor" / "inception_2048.yaml").read_text()))


def _images(case: Case) -> torch.Tensor:
    side = case.options["side"]
    drawn = np.random.default_rng(0).integers(0, 256, size=(case.options["batch"], 3, side, side), dtype=np.uint8)
    return torch.from_numpy(drawn).to(case.device)


def _weights(case: Case) -> PretrainedFile:
    return PretrainedFile(**{k: v for k, v in _node(case)["weights"].items() if k != "_target_"})


def ours(case: Case) -> Prepared:
    """Our extractor."""
    images = _images(case)
    options = {k: v for k, v in _node(case).items() if k not in ("_target_", "weights")}
    extractor = InceptionExtractor(weights=_weights(case), **options)
    extractor.load(case.device)
    return _prepared(extractor, images)


def torch_fidelity(case: Case) -> Prepared:
    """torch-fidelity's FeatureExtractorInceptionV3 as it is, with the same weights."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    images, found = _images(case), _weights(case).find()
    state = convert(read_tensors(found.path), str(found.path))
    path = Path(case.scratch, "inception.pth")
    torch.save({"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008), **state}, path)
    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    network.to(case.device).eval()
    return _prepared(lambda x: network(x)[0], images)


def _prepared(features: Any, images: torch.Tensor) -> Prepared:
    def call() -> None:
        with torch.no_grad():
            features(images)

    def value() -> dict[str, np.ndarray]:
        with torch.no_grad():
            return {"features": features(images).float().cpu().numpy()}

    return Prepared(call, value=value, units=len(images))


ROW = Row(
    title="Inception features (2048) against torch-fidelity as it is",
    sides={"ours": ours, "torch-fidelity": torch_fidelity},
    cases={"32 px": {"side": 32, "batch": 16}, "256 px": {"side": 256, "batch": 16}},
    unit="images",
    agree=1e-4,
    bounds=(Bound("torch-fidelity", time=1 / 1.8),),
    seconds=25,
    note="Batches of 16 uint8 images; equal weights.",
)
