"""What every first stage does: shapes of latents and images, rows apart, and what a training of it asks for."""

import torch
from torch import Tensor

from ablatent.checks.option import Option
from ablatent.checks.suite import expect, expect_near, expect_refused, invariant
from ablatent.first_stage.base import FirstStage

SIDE = 32


def made(option: Option) -> tuple[FirstStage, Tensor]:
    """(the first stage with fresh weights, three images in [-1, 1])."""
    torch.manual_seed(0)
    model: FirstStage = option.make(FirstStage)
    images = torch.rand(3, model.image_channels, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return model.eval(), images


@invariant
def shapes_are_those_declared(option: Option) -> None:
    """Latents have `latent_channels` channels and are `downsample` times smaller; decoding gives the images' shape."""
    model, x = made(option)
    with torch.no_grad():
        moments = model.moments(x)
        expected = (model.latent_channels, SIDE // model.downsample, SIDE // model.downsample)
        expect(
            tuple(moments.mean.shape[1:]) == expected, f"latents of the shape {expected}", tuple(moments.mean.shape[1:])
        )
        expect(model.latent_shape(SIDE, SIDE) == expected, f"latent_shape {expected}", model.latent_shape(SIDE, SIDE))
        expect(
            moments.std.shape == moments.mean.shape and (moments.std >= 0).all(), "deviations of at least 0", "others"
        )
        decoded = model.decode(moments.mean)
        expect(decoded.shape == x.shape, f"images of the shape {tuple(x.shape)}", tuple(decoded.shape))


@invariant
def is_deterministic_and_keeps_rows_apart(option: Option) -> None:
    """The same images have the same latents and decode to the same images, alone and in a batch."""
    model, x = made(option)
    with torch.no_grad():
        z = model.moments(x).mean
        expect(torch.equal(model.moments(x).mean, z), "the same latents twice", "others")
        expect_near(model.moments(x[1:2]).mean, z[1:2], "the latents of an image alone", rtol=1e-4, atol=1e-4)
        expect_near(model.decode(z)[1:2], model.decode(z[1:2]), "the image of a row alone", rtol=1e-4, atol=1e-4)


@invariant
def counts_each_latent_once(option: Option) -> None:
    """Where latents are quantised, each stands for one code: the counts of all codes sum to the number of latents."""
    model, x = made(option)
    with torch.no_grad():
        z = model.moments(x).mean
        counts = model.code_counts(z)
    if counts is not None:
        latents = z.shape[0] * z.shape[2] * z.shape[3]
        expect(int(counts.sum()) == latents and (counts >= 0).all(), f"counts of {latents} latents", counts.tolist())


@invariant
def trains_as_declared(option: Option) -> None:
    """One that is trainable has loss and training beside it, and a gradient of its last layer; another has neither."""
    model, x = made(option)
    beside = sorted(set(option.node) - set(option.arguments()))
    expect(
        bool(beside) == model.trainable, f"{'loss, seed, training' if model.trainable else 'no keys'} beside it", beside
    )
    if not model.trainable:
        expect(not list(model.parameters()), "no parameters of one that is not trained", "some")
        expect_refused(model.last_layer, "first_stage", "a last layer of one that is not trained")
        return
    model.train()
    out = model(x, torch.zeros_like(model.moments(x).mean))
    expect(out.x_hat.shape == x.shape, f"reconstructions of the shape {tuple(x.shape)}", tuple(out.x_hat.shape))
    ((out.x_hat - x).square().mean() + out.regularizer).backward()
    gradient = model.last_layer().grad
    expect(gradient is not None and gradient.any(), "a gradient of last_layer()", "none")
