"""Training a diffusion network on cached latents."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from ablatent.conditioning.base import Conditioner
from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count
from ablatent.core.ranks import BatchShard
from ablatent.core.rng import normal, stream
from ablatent.core.types import Cond
from ablatent.data.latents import Latents
from ablatent.diffusion.loss import DiffusionLoss, by_timestep
from ablatent.diffusion.timesteps import TimestepSampler
from ablatent.training.batches import Batch, Epochs
from ablatent.training.ema import EMAs
from ablatent.training.power_ema import Average, file_name, kept_averages
from ablatent.training.record import Recorder
from ablatent.training.settings import EMAOptions, Training
from ablatent.training.sharded import gathered, optimizer_state
from ablatent.training.trainee import NetworkTrainee, OptimizerFactory

END = "training"
"""Name of the file with the state of optimiser and timestep sampler after the last step."""
Panel = Callable[[], UInt8[np.ndarray, "H W C"]]


@dataclass(frozen=True, kw_only=True)
class DiffusionTraining(Training):
    """The fields of `training`.

    loss: mse, l1 or huber; ema: arguments of `EMAs`; snapshots: steps after which weights are kept, beside the last.
    Raises ConfigError for a snapshot beyond the training.
    """

    loss: Annotated[Literal["mse", "l1", "huber"], "of the output of the network"]
    ema: Annotated[EMAOptions | Mapping[str, Any], "averages of the weights"]
    snapshots: Annotated[Sequence[Count], "steps after which weights are kept, beside the last"]

    key: ClassVar[str] = "training"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "ema", self.averages)  # a mapping as it stands in a configuration
        beyond = [s for s in self.snapshots if not 0 < s <= self.steps]
        if beyond:
            raise ConfigError("training.snapshots", f"steps from 1 to training.steps={self.steps}", beyond)

    @property
    def kept_steps(self) -> list[int]:
        """The steps whose weights are kept."""
        return sorted({*self.snapshots, self.steps})

    @property
    def averages(self) -> EMAOptions:
        """The options of the averages of the weights."""
        return EMAOptions(**self.ema) if isinstance(self.ema, Mapping) else self.ema

    @property
    def kept_averages(self) -> list[Average]:
        """The power-function averages that are kept."""
        ema = self.averages
        return kept_averages(self.steps, ema.power_snapshots, ema.power_widths, self.kept_steps)


class LatentBatches:
    """The batch of step n, as the micro-batches of one rank: normalised latents z, uniform numbers u that become times,
    noise eps, uniform numbers for dropping conditions, and the fields that the conditioner reads.

    latents: of all images; rows: those that are trained on; fields: name → values, a row an image; conditioner: what
    draws conditions from the fields, None where they are taken as they are. shuffled: an image is trained with the
    condition of another, always the same, by a permutation of `rows` that `seed` draws.
    """

    def __init__(
        self,
        latents: Latents,
        rows: np.ndarray,
        fields: Mapping[str, Any],
        batch_size: int,
        seed: int,
        conditioner: Conditioner | None = None,
        shuffled: bool = False,
    ):
        self.latents, self.fields, self.conditioner = latents, fields, conditioner
        self.batch_size, self.seed, self.epochs = batch_size, seed, Epochs(rows, seed)
        self.condition_of: np.ndarray | None = None  # row of an image → row whose condition it has
        if shuffled:
            self.condition_of = np.arange(max(rows) + 1)
            self.condition_of[rows] = stream(seed, "train/shuffled conditions", 0).permutation(rows)

    def __call__(self, step: int, shard: BatchShard) -> list[Batch]:
        """Those of step `step` (0 for the first) and of this rank's shard. Raises ConfigError where the batch does not
        divide by all parts."""
        size = self.batch_size
        rows, samples = self.epochs(step, size), range(step * size, (step + 1) * size)
        return [self._batch(rows, samples, "train", places) for places in shard.places(size)]

    def validation(self, rows: np.ndarray, draws: int = 4) -> list[Batch]:
        """As many batches of the given rows as `draws`, with the same (u, noise) at every validation; u is spread
        evenly over the rows."""
        batches = []
        for k in range(draws):
            samples = range(k * len(rows), (k + 1) * len(rows))
            batch = self._batch(rows, samples, "validation", np.arange(len(rows)))
            batch["u"] = torch.from_numpy((np.arange(len(rows)) * draws + k + 0.5) / (len(rows) * draws))
            batches.append(batch)
        return batches

    def _batch(self, rows: np.ndarray, samples: range, purpose: str, places: np.ndarray) -> Batch:
        """The micro-batch at the given places of the batch of these rows, with `all_u` of the whole batch."""
        rng = stream(self.seed, f"{purpose}/batch", samples.start)
        views = rng.integers(len(self.latents.mean), size=len(rows))[places]
        drops = () if self.conditioner is None or self.conditioner.drops == 1 else (self.conditioner.drops,)
        u, drop = rng.random(len(rows)), rng.random((len(rows), *drops), dtype=np.float32)[places]
        rows, indices, shape = rows[places], [samples[i] for i in places], self.latents.shape
        return {
            "z": self.latents.draw(views, rows, normal(self.seed, f"{purpose}/latent", indices, shape)).float(),
            "u": torch.from_numpy(u[places]),
            "all_u": torch.from_numpy(u),
            "place": torch.from_numpy(places),
            "eps": torch.from_numpy(normal(self.seed, f"{purpose}/eps", indices, shape)),
            "drop": torch.from_numpy(drop),
            **self._condition(rows, views, indices, purpose),
        }

    def _condition(self, rows: np.ndarray, views: np.ndarray, samples: Sequence[int], purpose: str) -> Batch:
        """The fields of the given rows; what the conditioner draws depends on seed and sample alone."""
        if self.condition_of is not None and purpose == "train":
            rows = self.condition_of[rows]
        fields = {name: np.asarray(values[rows]) for name, values in self.fields.items()}
        if self.conditioner is not None and fields:
            rngs = [stream(self.seed, f"{purpose}/condition", i) for i in samples]
            fields = self.conditioner.draw({**fields, "flipped": views == 1}, rngs)
        return {name: torch.from_numpy(values) for name, values in fields.items()}


class DiffusionTrainee(NetworkTrainee):
    """A network, its conditioner and their loss; keeps raw and EMA weights at the snapshots, and power-function
    averages of the network.

    panel: gives the samples (H, W, 3) that are recorded at each validation, with whatever weights the network has.
    """

    lr_keys: ClassVar[Mapping[str, str]] = dict.fromkeys(("loss", "grad_norm"), "optimizer.lr")

    def __init__(
        self,
        *,
        loss: DiffusionLoss,
        timesteps: TimestepSampler,
        conditioner: Conditioner,
        train_config: DiffusionTraining,
        seed: int,
        optimizer: OptimizerFactory,
        validation: list[Batch],
        panel: Panel,
    ):
        super().__init__(train_config, seed, optimizer, validation)
        self.denoiser, self.timesteps, self.conditioner = loss.denoiser, timesteps, conditioner
        self.loss, self.panel, self.snapshots = loss, panel, train_config.kept_steps
        self.power_steps = {average.step for average in train_config.kept_averages}
        self.ema = EMAs.of(train_config.averages)
        self.ema.start(self.denoiser.network)

    def trained(self) -> list[nn.Parameter]:
        return [*self.denoiser.network.parameters(), *self.conditioner.parameters()]

    def forward_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        t, weights = self.timesteps(batch["all_u"])
        cond = self.conditioner.drop(self.conditioner.embed(batch), batch["drop"])
        losses = self._losses(batch, t[batch["place"]], cond)
        weighted = weights[batch["place"]].to(losses.dtype) * losses
        return weighted.mean(), {"loss": losses.detach()}

    def step_logs(self, batches: list[Batch], values: dict[str, Tensor], step: int) -> dict[str, Tensor | float]:
        """The weighted loss; the averages and the timestep sampler follow the step."""
        t, weights = self.timesteps(batches[0]["all_u"])
        losses = values["loss"]
        self.ema.update(self.denoiser.network, step + 1)
        self.timesteps.update(t, losses)
        return {"loss": (weights.to(losses.dtype) * losses).mean()}

    def _losses(self, batch: Batch, t: Tensor, cond: Cond) -> Tensor:
        return self.loss(batch["z"], t, batch["eps"], cond)

    def looks_at(self, step: int) -> bool:
        return super().looks_at(step) or step in self.snapshots or step in self.power_steps

    def after_step(self, step: int, recorder: Recorder) -> None:
        super().after_step(step, recorder)
        if step in self.snapshots:
            self._keep(step, recorder)
        if step in self.power_steps:
            for width, state in self.ema.power_states(self.denoiser.network):
                whole = {f"network.{k}": v for k, v in gathered(state).items()}
                recorder.weights(file_name(Average(step, width)), whole)

    @torch.no_grad()
    def validate(self, step: int, recorder: Recorder) -> None:
        """Of the averaged weights: the loss, overall and by noise level, and a panel of samples. Raises StageError
        where the loss is not finite."""
        with self.ema.main.applied(self.denoiser.network):
            recorder.log(step, self._validation_losses())
            recorder.panel(step, "samples", self.panel())

    def _validation_losses(self) -> dict[str, float]:
        losses, times = [], []
        for batch in map(self.on_device, self.validation):
            t = self.denoiser.schedule.time_at(batch["u"])
            losses.append(self._losses(batch, t, self.conditioner.embed(batch)))
            times.append(t)
        loss = torch.cat(losses)
        self.check_finite("validation loss", float(loss.mean()))
        parts = by_timestep(loss, torch.cat(times), self.denoiser.schedule.T)
        return {"validation/loss": float(loss.mean()), **{f"validation/{name}": v for name, v in parts.items()}}

    def _keep(self, step: int, recorder: Recorder) -> None:
        """raw-STEP, ema-STEP and, for further decays, ema_DECAY-STEP.safetensors; names are prefixed network. and
        conditioner.; EMA covers the network."""
        conditioner = {f"conditioner.{k}": v for k, v in self.conditioner.state_dict().items()}
        for kind, state in [("raw", self.denoiser.network.state_dict()), *self.ema]:
            whole = {f"network.{k}": v for k, v in gathered(state).items()}
            recorder.weights(f"{kind}-{step:07d}", {**whole, **conditioner})
        if step == self.steps:
            optimizers = [optimizer_state(o) for o in self.trainer.optimizers]
            recorder.state(END, {"step": step, "optimizers": optimizers, "module": gathered(self._beside_weights())})

    def _beside_weights(self) -> dict[str, Any]:
        """The state of what is no weight of network or conditioner: that of a timestep sampler, say."""
        known = {
            id(v)
            for part in (self.denoiser.network, self.conditioner)
            for v in part.state_dict(keep_vars=True).values()
        }
        return {name: v.detach() for name, v in self.state_dict(keep_vars=True).items() if id(v) not in known}

    def lengthen(self, end: Mapping[str, Any], averages: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Go on from the end of another training, whose weights the network has. end: what it left in `END`; averages:
        name → state of the network, of those of its averages that this training has too.

        This training then ends as one of all steps together would have, where all else is equal.
        """
        self.step = int(end["step"])
        self.pending_optimizers = list(end["optimizers"])
        self.load_state_dict({**self.state_dict(), **end["module"]})
        self.ema.start(self.denoiser.network)
        self.ema.load_state_dict({**self.ema.state_dict(), **averages})

    def to_compile(self) -> list[nn.Module]:
        return [self.denoiser.network]

    def to_shard(self) -> list[nn.Module]:
        return [self.denoiser.network]

    def resume_state(self) -> dict[str, Any]:
        return {"ema": self.ema.state_dict()}

    def load_resume_state(self, state: Mapping[str, Any]) -> None:
        self.ema.load_state_dict(state["ema"])
