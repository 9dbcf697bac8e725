"""From an image, not from noise (Meng et al. 2022, "SDEdit")."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from ablatent.core.errors import ConfigError
from ablatent.samplers.base import Sampler
from ablatent.schedules.base import NoiseSchedule, is_real
from ablatent.tasks.base import Bench, Outcome, Task, distances
from ablatent.tasks.generate import prior


@dataclass(frozen=True)
class Img2Img(Task):
    """Noise images up to a time, and denoise them from there.

    strength: share of the T times that is noised and denoised, in (0, 1]; 1 keeps (almost) nothing of the image. The
    sampler spends all its steps on that share: what sampler.start does, from q_sample of the image in place of N(0, I).
    count: validation images. Measured: the mean feature distance to the image, and to another image to compare with.
    """

    strength: float = 0.6
    count: int = 8

    needs_images: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (is_real(self.strength) and 0 < self.strength <= 1):
            raise ConfigError("task.strength", "a number above 0 and up to 1", self.strength)
        if self.count < 2:
            raise ConfigError("task.count", "an integer of at least 2", self.count)

    def check(self, sampler: Sampler, schedule: NoiseSchedule) -> None:
        replace(sampler, start=self.strength).check(schedule)

    def image_steps(self, sampler: Sampler) -> int:
        return self.count * sampler.steps

    def run(self, bench: Bench) -> Outcome:
        if bench.known is None or bench.known.pixels is None:
            raise ValueError("task=img2img is given validation pictures")
        source = bench.known.rows(np.arange(min(self.count, bench.known.n)))
        images = np.asarray(source.pixels)
        sampler, schedule = replace(bench.sampler, start=self.strength), bench.model.denoiser.schedule
        first = float(sampler.times(schedule)[0])
        z = bench.model.encode(images)
        t = torch.full((len(z),), first, dtype=torch.float64, device=z.device)
        x = schedule.q_sample(z, t, prior(bench.model, bench.seed, range(len(z))))
        drawn = bench.draw(x, range(len(z)), sampler)
        before, after = bench.features(images), bench.features(drawn)
        numbers = {
            "distance_to_source": float(distances(before, after).mean()),
            "distance_to_other_images": float(distances(np.roll(before, 1, axis=0), after).mean()),
        }
        note = f"Euclidean distance of features, mean over {len(z)} images"
        both = np.stack([images, drawn], axis=1).reshape(-1, *images.shape[1:])
        return Outcome(both, ["image", f"strength {self.strength:g}"], [str(i) for i in range(len(z))], numbers, note)
