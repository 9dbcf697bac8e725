import pytest
import torch

from ablatent.core.errors import ConfigError
from ablatent.networks.blocks import Downsample, ResBlock, SelfAttention2d, Upsample, norm


@pytest.mark.parametrize(("channels", "groups"), [(224, 32), (48, 12), (32, 8), (12, 3), (7, 1), (37, 1)])
def test_norm_takes_the_largest_divisor_with_four_channels_a_group(channels: int, groups: int) -> None:
    layer = norm(channels)
    assert (layer.num_groups, layer.eps) == (groups, 1e-6)


@pytest.mark.parametrize("scale_shift", [False, True])
def test_block_with_embedding_starts_as_its_skip_path_and_then_uses_the_embedding(scale_shift: bool) -> None:
    torch.manual_seed(0)
    block = ResBlock(8, 12, emb_ch=6, scale_shift=scale_shift)
    x, emb = torch.randn(2, 8, 4, 4), torch.randn(2, 6)
    assert torch.equal(block(x, emb), block.skip(x))
    torch.nn.init.normal_(block.conv2.weight)
    assert not torch.allclose(block(x, emb), block(x, emb + 1.0))


def test_plain_block_starts_as_the_identity_and_then_does_something() -> None:
    torch.manual_seed(0)
    block = ResBlock(8, 8)
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(block(x), x)
    torch.nn.init.normal_(block.conv2.weight)
    assert not torch.allclose(block(x), x)


def test_scale_shift_is_h_times_one_plus_scale_plus_shift() -> None:
    torch.manual_seed(0)
    block = ResBlock(4, 4, emb_ch=4, scale_shift=True).double()
    torch.nn.init.normal_(block.conv2.weight)
    torch.nn.init.zeros_(block.emb.weight)
    with torch.no_grad():
        block.emb.bias.copy_(torch.cat([torch.full((4,), -1.0), torch.zeros(4)]))  # scale -1, shift 0: nothing is left
    x = torch.randn(1, 4, 3, 3, dtype=torch.float64)
    expected = x + block.conv2.bias[None, :, None, None].expand_as(x)
    assert torch.allclose(block(x, torch.randn(1, 4, dtype=torch.float64)), expected)


def test_block_refuses_a_missing_or_idle_embedding() -> None:
    with pytest.raises(ValueError, match="emb"):
        ResBlock(4, 4, emb_ch=4)(torch.zeros(1, 4, 2, 2))
    with pytest.raises(ValueError, match="emb"):
        ResBlock(4, 4)(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4))
    with pytest.raises(ConfigError, match="scale_shift"):
        ResBlock(4, 4, scale_shift=True)


@pytest.mark.parametrize("head_ch", [None, 4])
def test_attention_equals_the_written_out_formula(head_ch: int | None) -> None:
    torch.manual_seed(0)
    layer = SelfAttention2d(8, head_ch).double()
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    width = head_ch or 8
    q, k, v = layer.qkv(layer.norm(x)).reshape(2, 3, 8 // width, width, 15).unbind(1)
    weights = torch.softmax(torch.einsum("bnci,bncj->bnij", q, k) / width**0.5, dim=-1)
    mixed = torch.einsum("bnij,bncj->bnci", weights, v).reshape(2, 8, 3, 5)
    assert torch.allclose(layer(x), x + layer.out(mixed))


def test_attention_refuses_a_width_that_heads_do_not_divide() -> None:
    with pytest.raises(ConfigError, match="divisor of 8"):
        SelfAttention2d(8, 3)


@pytest.mark.parametrize("end_padding", [False, True])
def test_sampling_layers_halve_and_double(end_padding: bool) -> None:
    x = torch.randn(1, 4, 8, 6)
    down = Downsample(4, end_padding)
    assert down(x).shape == (1, 4, 4, 3)
    assert Upsample(4)(x).shape == (1, 4, 16, 12)
    torch.nn.init.zeros_(down.conv.weight)
    torch.nn.init.zeros_(down.conv.bias)
    with torch.no_grad():
        down.conv.weight[0, 0, 0, 0] = 1.0  # the first tap: pixel (0, 0) or the border above and left of it
    assert down(x)[0, 0, 0, 0] == (x[0, 0, 0, 0] if end_padding else 0.0)
