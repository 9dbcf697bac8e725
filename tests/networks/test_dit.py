"""The diffusion transformer: the paper's parameter counts, its blocks, and diffusers' outputs on the same weights."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablatent.checks.network import T2, built, filled, noise
from ablatent.conditioning.class_label import ClassLabel
from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond
from ablatent.networks.dit import DiT, DiTBlock, position_embedding
from ablatent.networks.transformer import Attention
from options import option_of

# Size → patch → parameters with 1000 classes, learned variances of 4 channels and the positions of 32 x 32 latents.
COUNTS = {
    "s": {2: 32_963_360, 4: 32_945_024, 8: 33_148_160},
    "b": {2: 130_512_416, 4: 130_475_648, 8: 130_881_536},
    "l": {2: 458_102_816, 4: 458_053_760, 8: 458_594_816},
    "xl": {2: 675_129_632, 4: 675_074_432, 8: 675_683_072},
}
TINY: dict[str, Any] = {"in_channels": 4, "out_channels": 4, "width": 16, "depth": 2, "head_channels": 8}


def learned(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("name", "millions"), [("s", 33), ("b", 130), ("l", 458), ("xl", 675)])
def test_parameter_counts_of_the_paper(name: str, millions: int) -> None:
    """Table 1 is for patches of 2. Its code counts the fixed position embedding, too: 675,129,632 for DiT-XL/2."""
    node = option_of("network", f"dit/{name}")
    for patch_size in (2, 4, 8):
        with torch.device("meta"):
            classes = ClassLabel(1000, node.node["width"], inject="vector")
            shapes = {"out_channels": 8, "vector_dim": classes.vector_dim}
            count = learned(built(node, patch_size=patch_size, **shapes)) + learned(classes)
        assert round(count / 1e6) == millions or patch_size > 2
        fixed = (32 // patch_size) ** 2 * node.node["width"]
        assert count + fixed == COUNTS[name][patch_size]


def test_a_vector_is_added_as_it_is_where_it_has_no_mlp() -> None:
    net = filled(DiT(**TINY, vector_dim=16, vector_mlp=False))
    x, vector = noise(2, 4, 8, 8), noise(2, 16, seed=1)
    with torch.no_grad():
        given = net(x, T2, Cond(vector=vector))
        net.time_mlp.register_forward_hook(lambda module, args, out: out + vector)
        torch.testing.assert_close(net(x, T2, Cond(vector=torch.zeros(2, 16))), given)
    with pytest.raises(ConfigError, match=r"network\.vector_mlp: .* \(conditioner\.dim=16\); got 'false, with 5"):
        DiT(**TINY, vector_dim=5, vector_mlp=False)


@pytest.mark.parametrize("context_dim", [None, 6])
def test_attention_with_qk_norm_does_not_sharpen_with_the_weights(context_dim: int | None) -> None:
    torch.manual_seed(0)
    plain, normed = (Attention(16, 2, context_dim, bias=False, qk_norm=on) for on in (False, True))
    x, context = noise(2, 9, 16), None if context_dim is None else noise(2, 3, context_dim, seed=1)
    with torch.no_grad():
        before = [a(x, context) for a in (plain, normed)]
        for attention in (plain, normed):
            attention.to_q.weight *= 100
            attention.to_k.weight *= 100
        after = [a(x, context) for a in (plain, normed)]
    torch.testing.assert_close(after[1], before[1], atol=1e-4, rtol=1e-4)
    assert float((after[0] - before[0]).abs().max()) > 0.1


def test_qk_norm_learns_one_factor_a_channel_and_works_under_autocast() -> None:
    net = filled(DiT(**TINY, context_dim=6, qk_norm=True))
    extra = {k: v.shape for k, v in net.state_dict().items() if k not in DiT(**TINY, context_dim=6).state_dict()}
    names = [f"blocks.{i}.{a}_attn.norm_{x}.weight" for i in (0, 1) for a in ("self", "cross") for x in "qk"]
    assert extra == dict.fromkeys(names, (8,))
    x, cond = noise(2, 4, 8, 8), Cond(tokens=noise(2, 3, 6, seed=1))
    with torch.no_grad():
        full = net(x, T2, cond)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(net(x, T2, cond).float(), full, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("context_dim", [None, 6])
def test_blocks_start_as_the_identity_and_open_with_their_gates(context_dim: int | None) -> None:
    net = DiT(**TINY, context_dim=context_dim)
    block, h, emb = net.blocks[0], noise(2, 9, 16), noise(2, 16, seed=1)
    tokens = None if context_dim is None else noise(2, 3, 6)
    assert isinstance(block, DiTBlock)
    assert torch.equal(block(h, emb, tokens, None), h)
    outputs = []
    for branch in range(2 if context_dim is None else 3):
        with torch.no_grad():
            block.modulation.bias.zero_()[(3 * branch + 2) * 16 : (3 * branch + 3) * 16] = 1.0
            outputs.append(block(h, emb, tokens, None) - h)
    with torch.no_grad():
        normed = torch.layer_norm(h, (16,), eps=1e-6)
        expected = [block.self_attn(normed), block.mlp(normed)]
        if block.cross_attn is not None:
            expected.append(block.cross_attn(normed, tokens))
    torch.testing.assert_close(outputs, expected)


def test_places_are_sines_and_cosines_of_column_and_row() -> None:
    e = position_embedding(3, 5, 8, torch.float64, torch.device("cpu")).reshape(3, 5, 8)
    row, column = torch.tensor(2.0, dtype=torch.float64), torch.tensor(4.0, dtype=torch.float64)
    expected = [f(place * w) for place in (column, row) for f in (torch.sin, torch.cos) for w in (1.0, 0.01)]
    torch.testing.assert_close(e[2, 4], torch.stack(expected))
    larger = position_embedding(6, 7, 8, torch.float64, torch.device("cpu")).reshape(6, 7, 8)
    torch.testing.assert_close(larger[:3, :5], e)


def test_learns_no_positions_and_keeps_no_buffers() -> None:
    assert list(DiT(**TINY).buffers()) == []


@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_a_patch_becomes_a_token_and_goes_back_to_its_place(patch_size: int) -> None:
    net = DiT(**TINY | {"patch_size": patch_size})
    lengths = []
    net.blocks[0].register_forward_hook(lambda module, args, out: lengths.append(out.shape[1]))
    with torch.no_grad():
        # With closed blocks and neither position nor embedding, each patch is mapped alone.
        filled(net.patches)
        filled(net.proj_out)
        x = noise(1, 4, 8, 12)
        x[..., 4:8, 8:12] += 1
        change = (net(x, T2[:1]) - net(noise(1, 4, 8, 12), T2[:1])).abs().sum(dim=(0, 1)) > 0
    assert lengths == [8 * 12 // patch_size**2] * 2
    expected = torch.zeros(8, 12, dtype=torch.bool)
    expected[4:8, 8:12] = True
    assert torch.equal(change, expected)


def test_bad_arguments_and_latents_name_their_key() -> None:
    for key, value in {"width": 18, "mlp_ratio": 0.0, "patch_size": 0}.items():
        with pytest.raises(ConfigError) as e:
            DiT(**TINY | {key: value, "head_channels": None, "heads": 1})
        assert e.value.key == f"network.{key}"
    for size in ((7, 8), (8, 7)):
        with pytest.raises(ConfigError, match=rf"network\.patch_size: expected a divisor of .* {size[0]}x{size[1]}"):
            DiT(**TINY)(noise(2, 4, *size), T2)


RENAMED = {
    "pos_embed.proj": "patches",
    "transformer_blocks.0.norm1.emb.timestep_embedder.linear_1": "time_mlp.0",
    "transformer_blocks.0.norm1.emb.timestep_embedder.linear_2": "time_mlp.2",
    "proj_out_1": "modulation_out",
    "proj_out_2": "proj_out",
}
RENAMED_IN_BLOCK = {
    "norm1.linear": "modulation",
    "attn1.to_q": "self_attn.to_q",
    "attn1.to_k": "self_attn.to_k",
    "attn1.to_v": "self_attn.to_v",
    "attn1.to_out.0": "self_attn.to_out",
    "ff.net.0.proj": "mlp.0",
    "ff.net.2": "mlp.3",
}


def test_equals_diffusers_on_the_same_weights() -> None:
    """The class embedding is zero there and absent here. Each block there has a time embedding of its own."""
    reference_of = pytest.importorskip("diffusers.models.transformers.dit_transformer_2d").DiTTransformer2DModel
    ours = filled(DiT(**TINY | {"out_channels": 8}, freq_shift=True))
    reference = reference_of(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, sample_size=8,
        num_embeds_ada_norm=3, norm_eps=1e-6,
    ).eval()  # fmt: skip
    state: dict[str, Tensor] = {k: torch.zeros_like(v) for k, v in reference.state_dict().items()}
    names = dict(RENAMED)
    for i in range(2):
        names |= {f"transformer_blocks.{i}.{k}": f"blocks.{i}.{v}" for k, v in RENAMED_IN_BLOCK.items()}
        for k, v in list(RENAMED.items())[1:3]:
            names[k.replace(".0.", f".{i}.", 1)] = v
    for their_name, our_name in names.items():
        for kind in ("weight", "bias"):
            state[f"{their_name}.{kind}"] = ours.state_dict()[f"{our_name}.{kind}"]
    reference.load_state_dict(state)
    x = noise(2, 4, 8, 8)
    with torch.no_grad():
        expected = reference(x, timestep=T2, class_labels=torch.zeros(2, dtype=torch.long)).sample
        torch.testing.assert_close(ours(x, T2, Cond()), expected, atol=1e-5, rtol=1e-4)
    assert len(ours.state_dict()) == 2 * len({*names.values()})
