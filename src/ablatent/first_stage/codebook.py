"""The codebook of a VQ autoencoder: quantisation, how codes start, how they learn, how unused ones return."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.ranks import from_rank_zero, whole_batch
from ablatent.core.rng import stream
from ablatent.first_stage.autoencoder import positive

_MAX_DISTANCES = 2**24  # entries of the (rows, codes) matrix held at once: 64 MiB in float32
KMEANS_BATCHES = 8  # training batches whose latents init=kmeans gathers, n_embed latents of each
KMEANS_ROUNDS = 20
EMA_EPSILON = 1e-5  # of the Laplace smoothing of counts


def nearest_code(z: Float[Tensor, "n d"], codes: Float[Tensor, "k d"]) -> Int[Tensor, " n"]:
    """Index of the nearest code in Euclidean distance; ties go to the lower index. No (n, k, d) tensor is made."""
    with torch.no_grad(), torch.autocast(device_type=z.device.type, enabled=False):
        z, codes = z.float(), codes.float()
        # |z|^2 is the same for every code: it does not move the minimum.
        bias = codes.square().sum(dim=1)
        rows = max(1, _MAX_DISTANCES // codes.shape[0])
        return torch.cat([torch.addmm(bias, part, codes.T, alpha=-2.0).argmin(dim=1) for part in z.split(rows)])


def spread(rows: Tensor, count: int) -> Tensor:
    """`count` rows at equal distances through `rows` (n, …); rows repeat where there are fewer."""
    index = torch.arange(count, device=rows.device) * rows.shape[0] // count
    return rows[index]


def code_use(counts: Int[Tensor, " k"]) -> tuple[float, float]:
    """Share of the codes that were chosen at all, and the perplexity exp(entropy) of their use, in [1, k]."""
    p = counts.double() / counts.sum()
    return float((counts > 0).double().mean()), float(torch.exp(-torch.special.xlogy(p, p).sum()))


def counts_of(index: Int[Tensor, " n"], codes: int) -> Int[Tensor, " k"]:
    """How often each of `codes` codes was chosen; bincount would wait for the device, to see how long it gets."""
    return torch.zeros(codes, dtype=torch.int64, device=index.device).index_add_(0, index, torch.ones_like(index))


def take_statistics(usage: Int[Tensor, " k"]) -> dict[str, float]:
    """codebook_usage: share of the codes in use; codebook_perplexity: exp(entropy) of their use, in [1, k].

    The counts start again from 0. Empty where there are none.
    """
    if int(usage.sum()) == 0:
        return {}
    share, perplexity = code_use(usage)
    usage.zero_()
    return {"codebook_usage": share, "codebook_perplexity": perplexity}


@torch.no_grad()
def k_means(rows: Float[Tensor, "n d"], count: int, rounds: int = KMEANS_ROUNDS) -> Float[Tensor, "k d"]:
    """Centres of `count` clusters by Lloyd's algorithm (Lloyd 1982) from the seeds of k-means++ (Arthur and
    Vassilvitskii 2007). The same rows give the same centres: the seeds come from a random stream of their own.

    A centre that no row is nearest to stays. Where there are fewer different rows than centres, rows repeat.
    """
    centres = _seeds(rows, count)
    for _ in range(rounds):
        index = nearest_code(rows, centres)
        sizes = torch.bincount(index, minlength=count)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, index, rows)
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
    return centres


def _seeds(rows: Tensor, count: int) -> Tensor:
    """Rows, each drawn with probability proportional to the squared distance from the nearest one before."""
    seeds = spread(rows, count).clone()
    gap = torch.full_like(rows[:, 0], torch.inf, dtype=torch.float64)
    for n, u in enumerate(stream(0, "k-means").random(count).tolist()):
        if n > 0:
            mass = gap.cumsum(0)
            if mass[-1] == 0:
                break
            seeds[n] = rows[torch.searchsorted(mass, u * mass[-1], right=True).clamp(max=len(rows) - 1)]
        gap = torch.minimum(gap, (rows - seeds[n]).square().sum(dim=1))
    return seeds


class Codebook(nn.Module):
    """Codes, their use, and the recent encoder outputs that replace unused ones. All state is in the state dict.

    n_embed, dim: how many codes, and their width; restart_every: see `VQAutoencoder`, which calls `restart`.

    beta weighs the commitment term |sg[z_q] - z_e|^2 (the encoder follows the codes) against |z_q - sg[z_e]|^2
    (the codes follow the encoder): van den Oord et al. 2017, eq. 3. beta_placement: "paper", or "legacy": on the second
    term instead of the first, where the released VQ autoencoders of Esser et al. 2021 and Rombach et al. 2022 have it.

    init: "uniform" in [-1/k, 1/k] as in the reference; "data": rows spread evenly over the latents of the first
    training batch; "kmeans": those at first, and from the KMEANS_BATCHES-th training batch on the centres of k-means
    over n_embed latents of each of these batches (Łańcucki et al. 2020 start codebooks so).

    update: "gradient", or "ema": no second term; codes are moving averages of the latents that chose them, with
    ema_decay and Laplace smoothing of the counts (van den Oord et al. 2017, appendix A.1). A code that nothing chooses
    then fades to 0 over time, unless it restarts.
    """

    usage: Tensor
    used: Tensor
    recent: Tensor
    recent_next: Tensor
    recent_count: Tensor
    initialised: Tensor
    gathered: Tensor
    gathered_batches: Tensor
    ema_count: Tensor
    ema_sum: Tensor

    def __init__(
        self,
        *,
        n_embed: int,
        dim: int,
        beta: float,
        restart_every: int | None,
        init: str,
        update: str = "gradient",
        ema_decay: float = 0.99,
        beta_placement: str = "paper",
    ) -> None:
        super().__init__()
        positive("n_embed", n_embed)
        if not beta >= 0.0:
            raise ConfigError("first_stage.beta", "a number >= 0", beta)
        if restart_every is not None:
            positive("restart_every", restart_every)
        if not 0.0 <= ema_decay < 1.0:
            raise ConfigError("first_stage.ema_decay", "a number in [0, 1)", ema_decay)
        for name, value, options in (
            ("init", init, ("uniform", "data", "kmeans")),
            ("update", update, ("gradient", "ema")),
            ("beta_placement", beta_placement, ("paper", "legacy")),
        ):
            if value not in options:
                raise ConfigError(f"first_stage.{name}", " or ".join(options), value, did_you_mean(value, options))
        self.n_embed, self.restart_every, self.init = n_embed, restart_every, init
        self.ema_decay = float(ema_decay) if update == "ema" else None
        self.commitment_weight, self.codes_weight = (float(beta), 1.0)
        if beta_placement == "legacy":
            self.commitment_weight, self.codes_weight = 1.0, float(beta)
        self.weight = nn.Parameter(torch.empty(n_embed, dim).uniform_(-1.0 / n_embed, 1.0 / n_embed))
        self.pending: list[
            tuple[Tensor, Tensor]
        ] = []  # latents and codes of the training passes since the last `learn`
        self.register_buffer("usage", torch.zeros(n_embed, dtype=torch.int64))  # since the last epoch_stats
        self.register_buffer("used", torch.zeros(n_embed, dtype=torch.int64))  # since the last restart
        self.register_buffer("recent", torch.zeros(n_embed, dim))  # ring of encoder outputs
        self.register_buffer("recent_next", torch.zeros((), dtype=torch.int64))
        self.register_buffer("recent_count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("initialised", torch.tensor(init == "uniform"))
        self._started: bool | None = init == "uniform"  # as `initialised`; None where that has to be read first
        # Only with these options: weights files of other codebooks do not have them.
        if init == "kmeans":
            self.register_buffer("gathered", torch.zeros(KMEANS_BATCHES, n_embed, dim))
            self.register_buffer("gathered_batches", torch.zeros((), dtype=torch.int64))
        if update == "ema":
            self.weight.requires_grad_(False)
            self.codes_weight = 0.0
            self.register_buffer("ema_count", torch.ones(n_embed))
            self.register_buffer("ema_sum", self.weight.detach().clone())

    def forward(self, z: Float[Tensor, "b d h w"]) -> tuple[Float[Tensor, "b d h w"], Float[Tensor, ""]]:
        """Quantised latents (gradients pass straight through) and the codebook loss.

        In training mode latents and choices are kept for `learn`.
        """
        flat = rearrange(z, "b d h w -> (b h w) d")
        index = nearest_code(flat, self.weight)
        quantised = F.embedding(index, self.weight)
        codes = F.mse_loss(quantised, flat.detach())
        loss = self.codes_weight * codes + self.commitment_weight * F.mse_loss(flat, quantised.detach())
        if self.training:
            self.pending.append((z.detach(), rearrange(index, "(b n) -> b n", b=z.shape[0])))
        straight = quantised.detach() + (flat - flat.detach())  # the value is the code to the last bit
        return rearrange(straight, "(b h w) d -> b d h w", b=z.shape[0], h=z.shape[2], w=z.shape[3]), loss

    @torch.no_grad()
    def learn(self) -> None:
        """Count, keep and average what the training passes since the last call chose, on all ranks, as one batch."""
        if self.pending:
            z, index = (whole_batch(parts) for parts in zip(*self.pending, strict=True))
            self.pending.clear()
            self._remember(rearrange(z, "b d h w -> (b h w) d"), rearrange(index, "b n -> (b n)"))

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._started = None

    def started(self) -> bool:
        """Whether the codes have their first values. Known to the host, so that no step waits for the device."""
        if self._started is None:
            self._started = bool(self.initialised)
        return self._started

    @torch.no_grad()
    def initialise(self, latents: Sequence[Float[Tensor, "b d h w"]]) -> None:
        """Codes from the latents of a batch, one tensor a micro-batch; nothing where the codes are initialised.

        With k-means KMEANS_BATCHES batches are gathered before the codes stay.
        """
        if self.started():
            return
        flat = rearrange(whole_batch(latents), "b d h w -> (b h w) d")
        rows = spread(flat, self.n_embed).to(self.weight.dtype)
        if self.init == "data":
            self._place(slice(None), from_rank_zero(rows))
            self._start()
            return
        batch = int(self.gathered_batches)
        if batch == 0:
            self._place(slice(None), from_rank_zero(rows))
        self.gathered[batch] = rows
        self.gathered_batches += 1
        if batch + 1 == len(self.gathered):
            centres = k_means(rearrange(self.gathered, "n k d -> (n k) d"), self.n_embed)
            self._place(slice(None), from_rank_zero(centres))
            self.used.fill_(1)  # new codes, of whose use the counts so far say nothing: none restarts at once
            self.gathered.zero_()
            self._start()

    def _start(self) -> None:
        self.initialised.fill_(True)
        self._started = True

    def _place(self, where: Tensor | slice, codes: Tensor) -> None:
        """Put codes in the place of others; their moving averages start with the weight of one latent."""
        self.weight[where] = codes
        if self.ema_decay is not None:
            self.ema_count[where], self.ema_sum[where] = 1.0, codes

    def _remember(self, flat: Tensor, index: Tensor) -> None:
        counts = counts_of(index, self.n_embed)
        self.usage += counts
        self.used += counts
        rows = spread(flat, min(flat.shape[0], self.n_embed)).to(self.recent.dtype)
        where = (self.recent_next + torch.arange(rows.shape[0], device=rows.device)) % self.n_embed
        self.recent[where] = rows
        self.recent_next.copy_((self.recent_next + rows.shape[0]) % self.n_embed)
        self.recent_count.copy_((self.recent_count + rows.shape[0]).clamp(max=self.n_embed))
        if self.ema_decay is not None:
            self._average(flat.to(self.ema_sum.dtype), index, counts, self.ema_decay)

    def _average(self, flat: Tensor, index: Tensor, counts: Tensor, decay: float) -> None:
        """van den Oord et al. 2017, eq. 6-8."""
        sums = torch.zeros_like(self.ema_sum).index_add_(0, index, flat)
        self.ema_count.lerp_(counts.to(self.ema_count.dtype), 1.0 - decay)
        self.ema_sum.lerp_(sums, 1.0 - decay)
        total = self.ema_count.sum()
        smoothed = total * (self.ema_count + EMA_EPSILON) / (total + self.n_embed * EMA_EPSILON)
        self.weight.copy_(self.ema_sum / smoothed[:, None])

    @torch.no_grad()
    def restart(self, generator: np.random.Generator) -> int:
        """Put recent encoder outputs in place of the codes that nothing chose since the last restart.

        Returns the number of codes replaced, 0 where no outputs are kept yet.
        """
        dead = torch.nonzero(self.used == 0).flatten()
        available = int(self.recent_count)
        if len(dead) > 0 and available > 0:
            chosen = generator.permutation(available)
            if len(dead) > available:  # each once, the others again at random
                chosen = np.concatenate([chosen, generator.integers(0, available, size=len(dead) - available)])
            rows = self.recent[torch.from_numpy(chosen[: len(dead)]).to(self.recent.device)]
            self._place(dead, from_rank_zero(rows).to(self.weight.dtype))
        self.used.zero_()
        return len(dead) if available > 0 else 0

    def statistics(self) -> dict[str, float]:
        """The use of codes since the last call, see `take_statistics`."""
        return take_statistics(self.usage)
