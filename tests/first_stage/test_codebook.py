import copy

import pytest
import torch

from ablatent.core.rng import stream
from ablatent.first_stage import vq
from ablatent.first_stage.vq import Codebook, VQAutoencoder, nearest_code


def model(init: str = "uniform", restart_every: int | None = 2) -> VQAutoencoder:
    torch.manual_seed(0)
    return VQAutoencoder(
        ch=8,
        ch_mult=[1, 2],
        num_res_blocks=1,
        z_channels=4,
        attn_factors=[],
        mid_blocks=2,
        mid_attention=False,
        dropout=0.0,
        stem=2,
        n_embed=32,
        beta=0.25,
        restart_every=restart_every,
        init=init,
    )


def image(step: int, batch: int = 4) -> torch.Tensor:
    pixels = stream(0, "image", step).uniform(-1.0, 1.0, size=(batch, 3, 16, 16))
    return torch.from_numpy(pixels).float()


def test_nearest_code_equals_the_full_distance_matrix_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    z, codes = torch.randn(70, 3), torch.randn(11, 3)
    expected = torch.cdist(z.double(), codes.double()).argmin(dim=1)
    assert torch.equal(nearest_code(z, codes), expected)
    monkeypatch.setattr(vq, "_MAX_DISTANCES", 40)
    assert torch.equal(nearest_code(z, codes), expected)


def test_beta_weighs_the_commitment_and_gradients_pass_straight_through() -> None:
    torch.manual_seed(0)
    book = Codebook(8, 4, beta=0.25, restart_every=None, init="uniform")
    z = torch.randn(2, 4, 3, 3, requires_grad=True)
    z_q, loss = book(z)
    gap = (z_q - z).detach()
    assert torch.allclose(loss, 1.25 * gap.square().mean())
    g_z, g_codes = torch.autograd.grad(loss, [z, book.weight])
    assert torch.allclose(g_z, -0.25 * 2 * gap / gap.numel())  # the encoder feels beta ...
    by_code = torch.zeros_like(book.weight)
    flat = gap.permute(0, 2, 3, 1).reshape(-1, 4)
    index = nearest_code(z.detach().permute(0, 2, 3, 1).reshape(-1, 4), book.weight)
    by_code.index_add_(0, index, 2 * flat / gap.numel())
    assert torch.allclose(g_codes, by_code)  # ... the codes do not
    through = torch.randn_like(z)
    z_q, _ = book(z)
    assert torch.allclose(torch.autograd.grad((z_q * through).sum(), z)[0], through)


def test_moments_are_before_quantisation_and_decode_quantises() -> None:
    m = model()
    x = image(0)
    moments = m.moments(x)
    assert not moments.std.any()
    z_q = m.quantise(moments.mean)
    assert not torch.allclose(z_q, moments.mean)
    assert torch.equal(m.quantise(z_q), z_q)
    assert torch.equal(m.decode(moments.mean), m.decode(z_q))
    assert torch.allclose(m(x, torch.zeros_like(z_q)).x_hat, m.decode(moments.mean), atol=1e-5)


def test_usage_and_perplexity_count_an_epoch_of_training_and_start_again() -> None:
    m = model(restart_every=None)
    book = m.codebook
    assert m.epoch_stats() == {}
    with torch.no_grad():
        book.weight.copy_(torch.eye(32, 4) * 10)  # codes 4 … 31 lie at 0
    z = torch.zeros(1, 4, 2, 2)
    z[0, 0, 0, 0] = z[0, 0, 0, 1] = z[0, 1, 1, 0] = z[0, 2, 1, 1] = 10.0  # codes 0, 0, 1, 2
    book(z)
    book.eval()
    book(torch.zeros(1, 4, 2, 2))  # not training: not counted
    book.train()
    stats = m.epoch_stats()
    assert stats["codebook_usage"] == pytest.approx(3 / 32)
    assert stats["codebook_perplexity"] == pytest.approx(2**1.5)  # entropy of (1/2, 1/4, 1/4) is 1.5 bit
    assert m.epoch_stats() == {}


def test_dead_codes_restart_from_recent_latents_on_time() -> None:
    m = model(restart_every=2)
    book = m.codebook
    with torch.no_grad():
        book.weight[5:] += 100.0  # nothing chooses these
    m(image(0), torch.zeros(4, 4, 4, 4))
    before = book.weight.detach().clone()
    assert m.after_step(1, stream(0, "restart", 1)) == {}
    assert torch.equal(book.weight, before)
    alive = book.used > 0
    restarted = m.after_step(2, stream(0, "restart", 2))["codes_restarted"]
    assert restarted == int((~alive).sum()) >= 27
    assert torch.equal(book.weight[alive], before[alive])
    recent = m.moments(image(0)).mean.permute(0, 2, 3, 1).reshape(-1, 4)
    assert torch.cdist(book.weight[~alive].double(), recent.double()).min(dim=1).values.max() < 1e-4
    assert not book.used.any()


def test_data_initialisation_takes_latents_of_the_first_batch_once() -> None:
    m = model(init="data")
    m.before_step([image(0)])
    m(image(0), torch.zeros(4, 4, 4, 4))
    latents = m.moments(image(0)).mean.permute(0, 2, 3, 1).reshape(-1, 4)
    assert torch.cdist(m.codebook.weight.double(), latents.double()).min(dim=1).values.max() < 1e-4
    first = m.codebook.weight.detach().clone()
    m.before_step([image(1)])
    m(image(1), torch.zeros(4, 4, 4, 4))
    assert torch.equal(m.codebook.weight, first)


@pytest.mark.parametrize("init", ["uniform", "data"])
def test_resumed_training_equals_uninterrupted_training_bit_for_bit(init: str) -> None:
    def train(m: VQAutoencoder, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            optimizer.zero_grad()
            m.before_step([image(step)])
            rec = m(image(step), torch.zeros(4, 4, 4, 4))
            ((rec.x_hat - image(step)).abs().mean() + rec.regularizer).backward()
            optimizer.step()
            m.after_step(step + 1, stream(0, "restart", step + 1))

    whole = model(init)
    opt = torch.optim.Adam(whole.parameters(), lr=1e-2)
    train(whole, opt, range(3))
    saved = copy.deepcopy((whole.state_dict(), opt.state_dict()))
    train(whole, opt, range(3, 7))
    resumed = model(init)
    with torch.no_grad():
        for p in resumed.parameters():
            p.add_(1.0)
    resumed.load_state_dict(saved[0])
    opt = torch.optim.Adam(resumed.parameters(), lr=1e-2)
    opt.load_state_dict(saved[1])
    train(resumed, opt, range(3, 7))
    assert whole.state_dict().keys() == resumed.state_dict().keys()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert whole.epoch_stats() == resumed.epoch_stats()
