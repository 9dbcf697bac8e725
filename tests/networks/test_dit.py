"""The diffusion transformer: the paper's parameter counts, its blocks, and diffusers' outputs on the same weights."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablatent.checks.network import T2, filled, noise
from ablatent.conditioning.class_label import ClassLabel
from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond
from ablatent.networks.dit import DiT, DiTBlock, position_embedding

TINY: dict[str, Any] = {"in_channels": 4, "out_channels": 4, "width": 16, "depth": 2, "head_channels": 8}


@pytest.mark.parametrize(
    ("millions", "width", "depth", "head_channels"),
    [(33, 384, 12, 64), (130, 768, 12, 64), (458, 1024, 24, 64), (675, 1152, 28, 72)],
)
def test_parameter_counts_of_the_paper(millions: int, width: int, depth: int, head_channels: int) -> None:
    with torch.device("meta"):
        classes = ClassLabel(1000, width, inject="vector")
        net = DiT(
            in_channels=4,
            out_channels=8,
            width=width,
            depth=depth,
            patch_size=2,
            head_channels=head_channels,
            vector_dim=classes.vector_dim,
        )

    def size(module: nn.Module) -> float:
        return sum(p.numel() for p in module.parameters()) / 1e6

    assert size(net) + size(classes) == pytest.approx(millions, rel=0.03)
    # The paper adds the class embedding to the time embedding as it is, without an MLP.
    assert round(size(net) + size(classes) - size(net.vector_mlp)) == millions


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
    """The class embedding is zero there and absent here. Each of their blocks has a time embedding of its own, and
    their frequencies end at 1 / max_period where those of the paper's code (and ours) end one step before."""
    reference_of = pytest.importorskip("diffusers.models.transformers.dit_transformer_2d").DiTTransformer2DModel
    ours = filled(DiT(in_channels=4, out_channels=8, width=16, depth=2, patch_size=2, head_channels=8))
    reference = reference_of(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, sample_size=8,
        num_embeds_ada_norm=3, norm_eps=1e-6,
    ).eval()  # fmt: skip
    for module in reference.modules():
        if type(module).__name__ == "Timesteps":
            module.downscale_freq_shift = 0
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
