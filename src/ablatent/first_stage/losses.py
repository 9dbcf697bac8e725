"""Training losses of an autoencoder: pixels, features, regulariser, and a critic whose weight adapts.

Esser et al. 2021, eq. 6-7, with the hinge loss; Rombach et al. 2022, appendix G. All terms are means over elements.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count, NotNegative, OneOf, Positive, Whole
from ablatent.core.ranks import mean_over_ranks
from ablatent.first_stage.base import Reconstruction
from ablatent.first_stage.discriminator import PatchGAN
from ablatent.first_stage.perceptual import Perceptual, in_colours

PIXEL = {"l1": F.l1_loss, "l2": F.mse_loss}


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Mean hinge loss of the critic (Lim & Ye 2017)."""
    return 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean())


def vanilla(real: Tensor, fake: Tensor) -> Tensor:
    """Mean logistic loss of the critic (Goodfellow et al. 2014)."""
    return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())


CRITIC = {"hinge": hinge, "vanilla": vanilla}


def gradient_penalty(critic: nn.Module, x: Float[Tensor, "b C H W"]) -> Float[Tensor, ""]:
    """R1 of Mescheder et al. 2018, eq. 9, without its gamma / 2: the mean over real images of |grad_x D(x)|^2.

    D(x) is the sum of an image's patch logits. The gradient reaches the critic's parameters. In float32, since squared
    gradients underflow in half precision. Every k-th step with k times the weight is the lazy form of Karras et al.
    2020, section 3.1.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x.detach().float().requires_grad_()
        (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return reduce(slope.square(), "b c h w -> b", "sum").mean()


@dataclass(frozen=True)
class CriticPass:
    """One pass of the critic over images and their reconstructions, which both losses of a step can share.

    x_hat: the reconstructions that it saw, a leaf of the graph; real, fake: its logits, at least float32.
    """

    x_hat: Float[Tensor, "b C H W"]
    real: Float[Tensor, "b 1 h w"]
    fake: Float[Tensor, "b 1 h w"]

    def score(self) -> tuple[Float[Tensor, ""], Float[Tensor, "b C H W"]]:
        """What the autoencoder makes small, the negative mean logit of reconstructions, and its gradient at them.

        No gradient reaches the critic's parameters; the graph stays for the critic's own loss.
        """
        score = -self.fake.mean()
        (slope,) = torch.autograd.grad(score, self.x_hat, retain_graph=True)
        return score.detach(), slope


class AutoencoderLoss(nn.Module):
    """pixel + perceptual + regulariser, and from step `disc_start` the critic's score.

    perceptual: frozen network (x, x_hat) -> distance, kept in evaluation mode whatever `train()` sets;
    perceptual_batch: only the first so many images of a batch go through it, null for all.
    The critic trains from disc_start - disc_warmup and counts for the autoencoder from disc_start, so that it knows
    something when it begins to count; disc_start null turns it off. Its weight is
    disc_weight * min(|grad nll| / (|grad g| + 1e-4), adaptive_max), gradients taken at the last layer.
    adaptive_reduction: that of nll, over the 3 H W values of an image, for which adaptive_max is meant: sum, as in the
    released KL loss; mean, as in the released VQ loss. The released KL loss is this one times 3 H W in all its terms,
    so with sum the ratio of gradients of means is at most adaptive_max / (3 H W).
    r1_weight: gamma of the critic's gradient penalty on real images, 0 for none; r1_every: only every so many steps,
    times as much (see `gradient_penalty`).
    """

    neutral: ClassVar = {"adaptive_reduction": "mean"}

    def __init__(
        self,
        *,
        perceptual: Annotated[Perceptual | None, "frozen distance of features"],
        pixel: Annotated[str, OneOf(PIXEL), "distance of pixels"],
        pixel_weight: Annotated[NotNegative, "of the distance of pixels"],
        perceptual_weight: Annotated[NotNegative, "of the perceptual distance; the paper: 1"],
        perceptual_batch: Annotated[
            Count | None, "only the first so many images of a batch go through the perceptual network; null: all"
        ],
        regularizer_weight: Annotated[NotNegative, "of the KL (1e-6 in the paper) or codebook term"],
        discriminator: Annotated[PatchGAN, "the critic"],
        disc_weight: Annotated[NotNegative, "of the critic, times the ratio of gradient norms at the last layer"],
        disc_start: Annotated[Whole | None, "optimiser step from which the critic counts; null: never"],
        disc_warmup: Annotated[Whole, "steps that it trains before it counts"],
        disc_loss: Annotated[str, OneOf(CRITIC), "of the critic"],
        adaptive_max: Annotated[Positive, "largest ratio of gradient norms"] = 1e4,
        r1_weight: Annotated[
            NotNegative, "gamma of the gradient penalty on real images (Mescheder et al. 2018 use 10); 0: none"
        ] = 0.0,
        r1_every: Annotated[Count, "steps from one gradient penalty to the next"] = 1,
        adaptive_reduction: Annotated[
            Annotated[str, OneOf(("mean", "sum"))],
            "of the reconstruction error that adaptive_max bounds: sum over an image's 3 H W values (released KL) or"
            " mean (released VQ)",
        ] = "mean",
    ) -> None:
        super().__init__()
        for name, choice, options in (("pixel", pixel, PIXEL), ("disc_loss", disc_loss, CRITIC)):
            if choice not in options:
                raise ConfigError(f"first_stage.loss.{name}", " or ".join(options), choice)
        weights = {
            "pixel_weight": pixel_weight,
            "perceptual_weight": perceptual_weight,
            "regularizer_weight": regularizer_weight,
            "disc_weight": disc_weight,
            "adaptive_max": adaptive_max,
            "disc_warmup": disc_warmup,
            "disc_start": 0 if disc_start is None else disc_start,
            "r1_weight": r1_weight,
        }
        for name, value in weights.items():
            if not value >= 0:
                raise ConfigError(f"first_stage.loss.{name}", "a number >= 0", value)
        if perceptual_batch is not None and perceptual_batch < 1:
            raise ConfigError("first_stage.loss.perceptual_batch", "an integer >= 1, or null for all", perceptual_batch)
        if isinstance(r1_every, bool) or not isinstance(r1_every, int) or r1_every < 1:
            raise ConfigError("first_stage.loss.r1_every", "an integer >= 1", r1_every)
        if perceptual is None and perceptual_weight > 0:
            raise ConfigError(
                "first_stage.loss.perceptual", "a network", None, "Or set first_stage.loss.perceptual_weight=0."
            )
        self.perceptual = None if perceptual is None else perceptual.requires_grad_(False).eval()
        self.discriminator = discriminator
        self.pixel, self.critic = PIXEL[pixel], CRITIC[disc_loss]
        self.pixel_weight, self.perceptual_weight = float(pixel_weight), float(perceptual_weight)
        self.perceptual_batch, self.regularizer_weight = perceptual_batch, float(regularizer_weight)
        self.disc_weight, self.disc_start, self.disc_warmup = float(disc_weight), disc_start, disc_warmup
        self.adaptive_max, self.adaptive_reduction = float(adaptive_max), adaptive_reduction
        self.r1_weight, self.r1_every = float(r1_weight), r1_every

    def train(self, mode: bool = True) -> "AutoencoderLoss":
        """Switch the critic; the perceptual network stays in evaluation mode (no dropout in a distance)."""
        super().train(mode)
        if self.perceptual is not None:
            self.perceptual.eval()
        return self

    def counts(self, step: int) -> bool:
        """Whether the critic counts for the autoencoder at optimiser step `step` (0, 1, …)."""
        return self.disc_start is not None and self.disc_weight > 0 and step >= self.disc_start

    def critic_trains(self, step: int) -> bool:
        """Whether the critic itself trains at optimiser step `step`."""
        return self.disc_start is not None and self.disc_weight > 0 and step >= self.disc_start - self.disc_warmup

    def generator_loss(
        self,
        x: Float[Tensor, "b C H W"],
        rec: Reconstruction,
        last_layer: nn.Parameter,
        step: int,
        part: tuple[int, int] = (0, 1),
        gradients: Sequence[Tensor] | None = None,
        critic: CriticPass | None = None,
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The autoencoder's loss and its parts (detached). Without gradients (validation) the critic is left out.

        part: (p, of how many): x has the samples p, p + parts, … of a batch, of which the loss is the mean over its
        parts. gradients: those of the whole batch that decide the critic's weight (`last_layer_gradients`);
        None: those of this part, averaged over ranks. critic: of x and rec.x_hat; None: made here where it is needed.
        """
        x_hat = rec.x_hat
        pixel = self.pixel(x_hat, x)
        perceptual = self._perceptual(x, x_hat, *part)
        nll = self.pixel_weight * pixel + self.perceptual_weight * perceptual
        zero = pixel.new_zeros(())
        generator, weight, active = zero, zero, zero
        norms: dict[str, Tensor] = {}
        rest = self.regularizer_weight * rec.regularizer
        if self.counts(step) and torch.is_grad_enabled():
            active = zero + 1.0
            # Each critic is differentiated once, at x_hat; the last layer and then the whole autoencoder reuse that.
            (g_nll,) = torch.autograd.grad(nll, x_hat)
            generator, g_gen = (self.critic_pass(x, x_hat) if critic is None else critic).score()
            if gradients is None:
                gradients = [mean_over_ranks(_at(last_layer, x_hat, g)) for g in (g_nll, g_gen)]
            norms = {"last_layer_nll": gradients[0].norm(), "last_layer_generator": gradients[1].norm()}
            # norms of means, not means of norms
            ratio = norms["last_layer_nll"] / (norms["last_layer_generator"] + 1e-4)
            limit = self.adaptive_max / (x[0].numel() if self.adaptive_reduction == "sum" else 1)
            weight = self.disc_weight * ratio.clamp(0.0, limit).detach()
            value = nll.detach() + weight * generator
            slope = (x_hat * (g_nll + weight * g_gen)).sum()  # has the value's gradient
            loss = value + (slope - slope.detach()) + rest
        else:
            loss = nll + rest
        logs = {
            "pixel": pixel,
            "perceptual": perceptual,
            "regularizer": rec.regularizer,
            "generator": generator,
            "adaptive_weight": weight,
            "disc_active": active,
            **norms,
        }
        return loss, {k: v.detach() for k, v in logs.items()}

    def last_layer_gradients(
        self, x: Float[Tensor, "b C H W"], rec: Reconstruction, last_layer: nn.Parameter, part: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Gradients at the last layer of reconstruction error and critic's score, of one part of a batch."""
        nll = self.pixel_weight * self.pixel(rec.x_hat, x)
        nll = nll + self.perceptual_weight * self._perceptual(x, rec.x_hat, *part)
        (g_nll,) = torch.autograd.grad(nll, rec.x_hat)
        _, g_gen = self.critic_pass(x, rec.x_hat).score()
        return _at(last_layer, rec.x_hat, g_nll), _at(last_layer, rec.x_hat, g_gen)

    def critic_pass(self, x: Float[Tensor, "b C H W"], x_hat: Float[Tensor, "b C H W"]) -> CriticPass:
        """The critic's logits of images and reconstructions, all in one batch."""
        seen = x_hat.detach().requires_grad_()
        real, fake = self.discriminator(torch.cat([x.detach(), seen])).float().chunk(2)
        return CriticPass(seen, real, fake)

    def critic_loss(
        self,
        x: Float[Tensor, "b C H W"],
        x_hat: Float[Tensor, "b C H W"],
        step: int,
        critic: CriticPass | None = None,
    ) -> tuple[Float[Tensor, ""] | None, dict[str, Tensor]]:
        """The critic's loss on real images and reconstructions, with its logs; (None, {}) before it trains.

        critic: of x and x_hat, with the critic's present weights; None: made here. The log "critic" is without the
        gradient penalty, which "r1" is, unweighted, at the steps that have it.
        """
        if not self.critic_trains(step):
            return None, {}
        critic = self.critic_pass(x, x_hat) if critic is None else critic
        real, fake = critic.real, critic.fake
        loss = self.critic(real, fake)
        logs = {"critic": loss, "logits_real": real.mean(), "logits_fake": fake.mean()}
        if self.r1_weight > 0 and step % self.r1_every == 0:
            logs["r1"] = gradient_penalty(self.discriminator, x)
            loss = loss + 0.5 * self.r1_weight * self.r1_every * logs["r1"]
        return loss, {k: v.detach() for k, v in logs.items()}

    def _perceptual(self, x: Tensor, x_hat: Tensor, part: int, parts: int) -> Tensor:
        """Of the first `perceptual_batch` images of the whole batch; the mean over the parts is the mean over those."""
        batch = parts * len(x)
        first = batch if self.perceptual_batch is None else min(self.perceptual_batch, batch)
        k = len(range(part, first, parts))  # so many of them are in this part, at its beginning
        if self.perceptual is None or self.perceptual_weight == 0 or k == 0:
            return x_hat.new_zeros(())
        distance: Tensor = self.perceptual(in_colours(x[:k]), in_colours(x_hat[:k]))
        return distance.float().mean() * (k * parts / first)


def _at(last_layer: nn.Parameter, x_hat: Tensor, slope: Tensor) -> Tensor:
    """The gradient at the last layer of a loss whose gradient at x_hat is `slope`."""
    (gradient,) = torch.autograd.grad(x_hat, last_layer, slope, retain_graph=True)
    return gradient
