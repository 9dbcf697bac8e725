import copy

import pytest
import torch
from first_stage_parts import SMALL

from ablatent.core.rng import stream
from ablatent.first_stage import codebook
from ablatent.first_stage.codebook import Codebook, k_means, nearest_code
from ablatent.first_stage.vq import VQAutoencoder


def model(init: str = "uniform", restart_every: int | None = 2, update: str = "gradient") -> VQAutoencoder:
    torch.manual_seed(0)
    return VQAutoencoder(
        **SMALL,
        n_embed=32,
        beta=0.25,
        restart_every=restart_every,
        init=init,
        update=update,
        ema_decay=0.9,
    )


def by_row(z: torch.Tensor) -> torch.Tensor:
    return z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])


def image(step: int, batch: int = 4) -> torch.Tensor:
    pixels = stream(0, "image", step).uniform(-1.0, 1.0, size=(batch, 3, 16, 16))
    return torch.from_numpy(pixels).float()


def test_nearest_code_equals_the_full_distance_matrix_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    z, codes = torch.randn(70, 3), torch.randn(11, 3)
    expected = torch.cdist(z.double(), codes.double()).argmin(dim=1)
    assert torch.equal(nearest_code(z, codes), expected)
    monkeypatch.setattr(codebook, "_MAX_DISTANCES", 40)
    assert torch.equal(nearest_code(z, codes), expected)


def test_beta_weighs_the_commitment_and_gradients_pass_straight_through() -> None:
    torch.manual_seed(0)
    book = Codebook(n_embed=8, dim=4, beta=0.25, restart_every=None, init="uniform")
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


def test_legacy_beta_weighs_the_codes_instead() -> None:
    torch.manual_seed(0)
    paper = Codebook(n_embed=8, dim=4, beta=0.25, restart_every=None, init="uniform")
    legacy = Codebook(n_embed=8, dim=4, beta=0.25, restart_every=None, init="uniform", beta_placement="legacy")
    legacy.load_state_dict(paper.state_dict())
    z = torch.randn(2, 4, 3, 3, requires_grad=True)
    (_, a), (_, b) = paper(z), legacy(z)
    assert torch.allclose(a, b)  # the same number ...
    (a_z, a_codes), (b_z, b_codes) = (torch.autograd.grad(v, [z, c.weight]) for v, c in ((a, paper), (b, legacy)))
    assert torch.allclose(b_z, 4 * a_z) and torch.allclose(b_codes, 0.25 * a_codes)  # ... and other gradients


def test_moving_averages_follow_their_recursion_and_only_the_encoder_gets_a_gradient() -> None:
    torch.manual_seed(0)
    book = Codebook(n_embed=4, dim=2, beta=0.25, restart_every=None, init="uniform", update="ema", ema_decay=0.9)
    with torch.no_grad():
        book.weight.copy_(torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [50.0, 50.0]]))
        book.ema_sum.copy_(book.weight)
    z = torch.tensor([[1.0, 1.0], [-2.0, 0.0], [9.0, 1.0]])  # codes 0, 0, 1
    image = z.T.reshape(1, 2, 1, 3).clone().requires_grad_()
    z_q, loss = book(image)
    book.learn()
    assert torch.equal(
        by_row(z_q.detach()), torch.tensor([[0.0, 0.0], [0.0, 0.0], [10.0, 0.0]])
    )  # codes before the step
    gap = (image - z_q).detach()
    assert torch.allclose(loss, 0.25 * gap.square().mean())
    assert torch.allclose(torch.autograd.grad(loss, image)[0], 0.25 * 2 * gap / gap.numel())
    count = torch.tensor([1.1, 1.0, 0.9, 0.9])
    total = 0.9 * torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [50.0, 50.0]])
    total += 0.1 * torch.tensor([[-1.0, 1.0], [9.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(book.ema_count, count)
    torch.testing.assert_close(book.ema_sum, total)
    torch.testing.assert_close(book.weight.detach(), total / count[:, None], rtol=1e-4, atol=1e-4)
    assert not book.weight.requires_grad
    book.eval()
    before = book.weight.clone()
    book(image)
    book.learn()
    assert torch.equal(book.weight, before)


def test_moving_averages_count_the_batches_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    one = Codebook(n_embed=8, dim=4, beta=0.25, restart_every=None, init="uniform", update="ema", ema_decay=0.9)
    both = copy.deepcopy(one)
    z = torch.randn(2, 4, 3, 3)
    both(torch.cat([z, z]))
    both.learn()
    one(z)
    monkeypatch.setattr(
        codebook, "whole_batch", lambda parts: torch.cat([*parts, *parts])
    )  # a rank with the same batch
    one.learn()
    torch.testing.assert_close(one.weight, both.weight)
    torch.testing.assert_close(one.ema_count, both.ema_count)


def test_k_means_finds_clusters_that_the_first_rows_do_not_show() -> None:
    """Nine tenths of the rows are one point, as the background of images is; measured by scikit-learn's inertia."""
    from sklearn.cluster import KMeans

    torch.manual_seed(0)
    points = 10 * torch.randn(12, 3)
    rows = torch.cat([points[:1].expand(1800, 3), points.repeat(16, 1) + 0.1 * torch.randn(192, 3)])
    centres = k_means(rows, 12)

    def inertia(of: torch.Tensor) -> float:
        return float(torch.cdist(rows, of).square().min(dim=1).values.sum())

    reference = KMeans(12, n_init=5, random_state=0).fit(rows.numpy()).cluster_centers_
    assert inertia(centres) < 1.05 * inertia(torch.from_numpy(reference)) < 0.01 * inertia(codebook.spread(rows, 12))
    assert torch.equal(centres, k_means(rows, 12))


def test_kmeans_initialisation_hears_several_batches_and_then_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codebook, "KMEANS_BATCHES", 3)
    m, data = model(init="kmeans", restart_every=None), model(init="data", restart_every=None)
    assert set(m.state_dict()) - set(data.state_dict()) == {"codebook.gathered", "codebook.gathered_batches"}
    seen = []
    for step in range(4):
        seen.append(codebook.spread(by_row(m.moments(image(step)).mean), 32))
        before = m.codebook.weight.detach().clone()
        m.before_step([image(step)])
        after = m.codebook.weight.detach()
        assert torch.equal(before, after) == (step in (1, 3))
        if step == 0:
            data.before_step([image(0)])
            assert torch.equal(after, data.codebook.weight)
    torch.testing.assert_close(after, k_means(torch.cat(seen[:3]), 32))


def test_a_restarted_code_keeps_its_place_among_moving_averages() -> None:
    m = model(restart_every=2, update="ema")
    book = m.codebook
    with torch.no_grad():
        book.weight[5:] += 100.0
        book.ema_sum.copy_(book.weight)
    m(image(0), torch.zeros(4, 4, 4, 4))
    book.learn()
    dead = book.used == 0
    m.after_step(2, stream(0, "restart", 2))
    assert dead.sum() >= 27 and torch.equal(book.ema_sum[dead], book.weight[dead]) and (book.ema_count[dead] == 1).all()


@pytest.mark.parametrize(("init", "update"), [("uniform", "gradient"), ("data", "gradient"), ("kmeans", "ema")])
def test_resumed_training_equals_uninterrupted_training_bit_for_bit(
    init: str, update: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codebook, "KMEANS_BATCHES", 5)  # the resume is amidst their gathering

    def train(m: VQAutoencoder, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            optimizer.zero_grad()
            m.before_step([image(step)])
            rec = m(image(step), torch.zeros(4, 4, 4, 4))
            ((rec.x_hat - image(step)).abs().mean() + rec.regularizer).backward()
            optimizer.step()
            m.after_step(step + 1, stream(0, "restart", step + 1))

    whole = model(init, update=update)
    opt = torch.optim.Adam(whole.parameters(), lr=1e-2)
    train(whole, opt, range(3))
    saved = copy.deepcopy((whole.state_dict(), opt.state_dict()))
    train(whole, opt, range(3, 7))
    resumed = model(init, update=update)
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
