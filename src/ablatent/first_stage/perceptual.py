"""Perceptual distances: LPIPS with a shift-tolerant trunk, and none.

LPIPS: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric". Shift-tolerant
variant: Ghildyal and Liu 2022, "Shift-tolerant Perceptual Similarity Metric": every stride follows a reflect-padded
blur. Written from the papers and the shapes in the published weights file; only that file (BSD) is used, none of its
package's code.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn

from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.core.fields import Digest, OneOf
from ablatent.core.tensor_files import read_tensors
from ablatent.core.weights import Found, PretrainedFile, verify_digest


class Perceptual(nn.Module, ABC):
    """A frozen distance between images: no parameters, nothing in the state dict, always in evaluation mode.

    name: shown in reports, "none" when there is no such distance; smallest: the least height and width, in pixels;
    digest: of its tensors, None when it has none.
    """

    name: str
    smallest: int
    digest: str | None

    def check(self) -> None:
        """Raise ConfigError unless its weights are here or can be downloaded; reads nothing, for planning."""

    @abstractmethod
    def forward(self, x: Float[Tensor, "b 3 h w"], y: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """Distance of each pair, x and y in [-1, 1]; 0 for equal images."""

    def train(self, mode: bool = True) -> "Perceptual":
        """Stays in evaluation mode, whatever `mode` is: a distance has no training behaviour."""
        return super().train(False)


def in_colours(x: Float[Tensor, "b C h w"]) -> Float[Tensor, "b 3 h w"]:
    """Grey images (C = 1) as RGB, which perceptual networks see; RGB as it is."""
    return x.expand(-1, 3, -1, -1)


class NoPerceptual(Perceptual):
    """No perceptual distance: zeros."""

    name = "none"
    digest = None
    smallest = 1

    def forward(self, x: Float[Tensor, "b 3 h w"], y: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        return x.new_zeros(len(x))


@dataclass(frozen=True)
class Trunk:
    """A trunk as data: stages of convolutions with ReLU, a tap at the end of each stage.

    stages: for each convolution its name in the published file, output channels and kernel; padding: for the kernels
    that occur; pool: kernel of the max-pool before each stage in `pooled`, at stride 2, or where the trunk is `blurred`
    at stride 1 with a blur at stride 2 after it; blur_first: such a blur between the first convolution and its ReLU, in
    place of that convolution's stride.
    """

    stages: tuple[tuple[tuple[str, int, int], ...], ...]
    padding: dict[int, int]
    pool: int
    pooled: tuple[int, ...]
    blurred: bool
    blur_first: bool
    smallest: int


VGG = Trunk(
    stages=(
        (("slice1.0", 64, 3), ("slice1.2", 64, 3)),
        (("slice2.6", 128, 3), ("slice2.8", 128, 3)),
        (("slice3.12", 256, 3), ("slice3.14", 256, 3), ("slice3.16", 256, 3)),
        (("slice4.20", 512, 3), ("slice4.22", 512, 3), ("slice4.24", 512, 3)),
        (("slice5.28", 512, 3), ("slice5.30", 512, 3), ("slice5.32", 512, 3)),
    ),
    padding={3: 1},
    pool=2,
    pooled=(1, 2, 3, 4),
    blurred=True,
    blur_first=False,
    smallest=18,
)
ALEX = Trunk(
    stages=(
        (("slice1.0", 64, 11),),
        (("slice2.5", 192, 5),),
        (("slice3.9", 384, 3),),
        (("slice4.11", 256, 3),),
        (("slice5.13", 256, 3),),
    ),
    padding={11: 2, 5: 2, 3: 1},
    pool=3,
    pooled=(1, 2),
    blurred=True,
    blur_first=True,
    smallest=21,
)
TRUNKS = {"vgg": VGG, "alex": ALEX}


class FeatureDistance(Perceptual):
    """Features of a trunk, of unit norm over channels, squared differences, 1x1 heads, mean over places, sum over taps
    (Zhang et al. 2018, eq. 1).

    Raises ConfigError for images of less than `smallest` pixels. A class below this one fills the buffers.
    """

    blur: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk, self.smallest = trunk, trunk.smallest
        # Buffers that are not persistent: no optimiser finds them, no checkpoint carries them.
        for name, shape in self._shapes().items():
            self.register_buffer(name, torch.empty(shape), persistent=False)
        # Python's arithmetic: for torch's on the meta device torch would import its compiler.
        blur = [[a * b / 16 for b in (1.0, 2.0, 1.0)] for a in (1.0, 2.0, 1.0)]
        self.register_buffer("blur", torch.tensor(blur), persistent=False)
        self.train(False)

    def forward(self, x: Float[Tensor, "b 3 h w"], y: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """Distance of each pair, x and y in [-1, 1]; 0 for equal images. Raises ConfigError below `smallest` pixels."""
        if min(x.shape[-2:]) < self.smallest:
            raise ConfigError(
                "perceptual",
                f"images of at least {self.smallest} px",
                tuple(x.shape[-2:]),
                "Larger images, or perceptual=none.",
            )
        total = x.new_zeros(len(x))
        for i, (f, g) in enumerate(zip(self._taps(x), self._taps(y), strict=True)):
            head = self.get_buffer(f"head{i}")
            total = total + F.conv2d((f - g).square(), head).mean(dim=(1, 2, 3))
        return total

    def _taps(self, x: Tensor) -> list[Tensor]:
        """Features after each stage, of unit norm over channels."""
        x = ((x - self.shift) / self.scale).contiguous(memory_format=torch.channels_last)
        taps = []
        for i, stage in enumerate(self.trunk.stages):
            if i in self.trunk.pooled:
                x = self._pool(x)
            for j, (name, _, kernel) in enumerate(stage):
                weight, bias = (self.get_buffer(f"{_flat(name)}_{part}") for part in ("weight", "bias"))
                x = F.conv2d(x, weight, bias, padding=self.trunk.padding[kernel])
                if self.trunk.blur_first and i == 0 and j == 0:
                    x = self._blur(x)
                x = F.relu(x)
            # vector_norm has gradient 0 where all channels are 0, unlike the square root
            taps.append(x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10))
        return taps

    def _pool(self, x: Tensor) -> Tensor:
        if not self.trunk.blurred:
            return F.max_pool2d(x, self.trunk.pool, stride=2)
        return self._blur(F.max_pool2d(x, self.trunk.pool, stride=1))

    def _blur(self, x: Tensor) -> Tensor:
        """[1, 2, 1] x [1, 2, 1] / 16 at stride 2 after reflecting 2 px on each side: H -> (H + 1) // 2 + 1."""
        kernel = repeat(self.blur, "h w -> c 1 h w", c=x.shape[1])
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=x.shape[1])

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"shift": (1, 3, 1, 1), "scale": (1, 3, 1, 1)}
        width = 3
        for i, stage in enumerate(self.trunk.stages):
            for name, out, kernel in stage:
                shapes[f"{_flat(name)}_weight"] = (out, width, kernel, kernel)
                shapes[f"{_flat(name)}_bias"] = (out,)
                width = out
            shapes[f"head{i}"] = (1, width, 1, 1)
        return shapes

    def convolutions(self, prefix: str = "") -> dict[str, str]:
        """Buffer -> name in a file, of the trunk's weights and biases; the file's names begin with `prefix`."""
        names = [name for stage in self.trunk.stages for name, _, _ in stage]
        return {f"{_flat(name)}_{part}": f"{prefix}{name}.{part}" for name in names for part in ("weight", "bias")}

    def heads(self) -> dict[str, str]:
        """Buffer -> name in a file, of the 1x1 heads."""
        return {f"head{i}": f"lin{i}.model.1.weight" for i in range(len(self.trunk.stages))}

    def read(self, found: Found, names: Mapping[str, str]) -> dict[str, Tensor]:
        """The tensors of a file for the buffers in `names`, float32. Raises DataError where one is not there."""
        file, shapes, state = read_tensors(found.path), self._shapes(), {}
        for name, source in names.items():
            got = file.get(source)
            if got is None or tuple(got.shape) != shapes[name]:
                what = "nothing" if got is None else tuple(got.shape)
                raise DataError(
                    f"{found.path}: expected '{source}' of shape {shapes[name]} for {self.name}; got {what}."
                )
            state[name] = got.float()
        return state

    def hold(self, state: Mapping[str, Tensor]) -> None:
        """Set the buffers to the tensors, by name."""
        for name, tensor in state.items():
            layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
            # on the default device, as any module built here
            setattr(self, name, tensor.to(self.blur.device).contiguous(memory_format=layout))


class ShiftTolerantLPIPS(FeatureDistance):
    """LPIPS on a shift-tolerant trunk.

    net: "vgg" or "alex"; weights: the published file; digest: of the tensors as they are held here. The weights are
    loaded by the constructor, except on the meta device, where only the shapes exist. Raises ConfigError for another
    net, weights that cannot be found or have another digest, DataError for a file without the tensors of this net.
    """

    def __init__(
        self,
        net: Annotated[str, OneOf(TRUNKS), "the trunk"],
        weights: Annotated[PretrainedFile, "where the files are found"],
        digest: Annotated[Digest, "of the tensors, whatever file served them"],
    ):
        if net not in TRUNKS:
            raise ConfigError("perceptual.net", " or ".join(TRUNKS), net, did_you_mean(net, TRUNKS))
        super().__init__(TRUNKS[net])
        self.name, self.weights = f"stlpips_{net}", weights
        self.digest: str = digest
        if self.blur.device.type != "meta":
            self._load()

    def check(self) -> None:
        """Raise ConfigError unless the weights are here or can be downloaded; reads nothing."""
        self.weights.check()

    def _load(self) -> None:
        found = self.weights.find()
        names = {"shift": "scaling_layer.shift", "scale": "scaling_layer.scale"}
        state = self.read(found, {**names, **self.heads(), **self.convolutions("net.")})
        verify_digest(self.name, state, self.digest, found)
        self.hold(state)


def _flat(name: str) -> str:
    """A buffer's name may hold no dot."""
    return name.replace(".", "_")
