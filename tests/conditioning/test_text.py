"""Captions: ugly ones, cut ones, padding, the empty caption, how often it is drawn; frozen encoders and their cache."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from ablatent.conditioning.base import Conditioner
from ablatent.conditioning.class_label import ClassLabel
from ablatent.conditioning.frozen_text import FrozenText, load
from ablatent.conditioning.several import Several
from ablatent.conditioning.source import Source
from ablatent.conditioning.text_encoder import TextEncoder
from ablatent.conditioning.text_transformer import TextTransformer
from ablatent.conditioning.tokens import Vocabulary
from ablatent.core.errors import ConfigError, DataError
from ablatent.core.hub import HubFolder
from ablatent.core.progress import console
from ablatent.core.ranks import BatchShard
from ablatent.core.types import Cond
from ablatent.data.base import Annotations
from ablatent.data.latents import LatentNormalizer, Latents
from ablatent.networks.dit import DiT
from ablatent.networks.unet import UNet
from ablatent.training.diffusion import LatentBatches

CONF = Path(__file__).parents[2] / "conf" / "conditioner"
UGLY = [
    "a cat, a dog, and a bird,",
    "\"quoted\" and 'quoted' and `so on`",
    "[SEP] (round) {curly} [square] [PAD] tail",
    "a=b, c = d == e",
    "Кошка и 犬 و قطة",
    "🐈‍⬛ beside 🇪🇺 \U0001f9d1🏽‍🚀",
    "",
    "very long " * 100,
    "two\nlines\tand a tab\r\n",
    "$PATH ${oc.env:HOME} \\ %s \x00 ̈ zero",
]


def folder(name: str) -> HubFolder:
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    weights = (node["tokenizer"] if "tokenizer" in node else node["encoder"])["weights"]
    return HubFolder(**{k: v for k, v in weights.items() if k != "_target_"})


def vocabulary() -> Vocabulary:
    node = yaml.safe_load((CONF / "text_transformer.yaml").read_text())
    return Vocabulary(node["tokenizer"]["digest"], folder("text_transformer"))


def minilm() -> TextEncoder:
    node = yaml.safe_load((CONF / "text_minilm.yaml").read_text())["encoder"]
    return TextEncoder(
        **{k: v for k, v in node.items() if k not in ("_target_", "weights")}, weights=folder("text_minilm")
    )


def absent_encoder(dim: int, digest: str | None = "0", revision: str | None = None) -> TextEncoder:
    """An encoder whose files are nowhere."""
    weights = HubFolder(name="nothing", files=["config.json"])
    return TextEncoder(
        name="nothing", dim=dim, longest=77, pad="[PAD]", digest=digest, revision=revision, weights=weights
    )


def small(**options: Any) -> TextTransformer:
    torch.manual_seed(0)
    sizes = {"width": 16, "depth": 2, "heads": 2, "head_channels": 4, **options}
    return TextTransformer(tokenizer=vocabulary(), **sizes).eval()


def captions(*texts: str) -> Source:
    return Source(len(texts), Annotations(captions=list(texts)))


def given(conditioner: Conditioner, *texts: str) -> Cond:
    rows = conditioner.rows(captions(*texts))
    return conditioner.embed({name: torch.from_numpy(np.asarray(v)) for name, v in rows.items()})


def tokens_of(cond: Cond) -> Tensor:
    assert cond.tokens is not None
    return cond.tokens


@torch.no_grad()
def test_ugly_prompts_each_have_a_condition_of_their_own() -> None:
    c = small(max_length=32)
    with console.capture() as printed:
        cond = given(c, *UGLY)
    assert tokens_of(cond).shape == (10, 32, 16) and bool(torch.isfinite(tokens_of(cond)).all())
    assert cond.mask is not None and cond.mask.sum(1).tolist()[6:8] == [2, 32], "empty: [CLS] [SEP]; cut: all count"
    # "[PAD]" in a text is a token that counts, as in the reference's tokenizer
    assert cond.mask[2].sum() == len(c.tokenizer([UGLY[2]], 32)[0][0].nonzero()[0]) + 1
    different = [(tokens_of(cond)[i] - tokens_of(cond)[j]).abs().max() for i in range(10) for j in range(i)]
    assert min(different) > 1e-3
    one_by_one = torch.cat([tokens_of(given(c, text)) for text in UGLY])
    torch.testing.assert_close(one_by_one, tokens_of(cond), atol=1e-5, rtol=0)
    assert printed.get().count("longer than 32 tokens") == 1 and "| very long very" in printed.get()


def test_what_is_cut_is_said_once() -> None:
    c = small(max_length=6)
    with console.capture() as printed:
        c.rows(captions("a red apple left of a bicycle", "short", "a red apple left of a bicycle"))
        c.rows(captions("a red apple left of a bicycle"))
    assert printed.get().count("1 caption is") == 1 and "a red apple left | of a bicycle" in printed.get()
    ids, counts = c.tokenizer(["a red apple left of a bicycle", "short"], 6)
    assert ids.tolist() == [[101, 1037, 2417, 6207, 2187, 102], [101, 2460, 102, 0, 0, 0]] and counts.tolist() == [6, 3]


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(1)
    common = {"in_channels": 4, "out_channels": 4, "context_dim": 16}
    made = {
        "unet": UNet(**common, ch=32, ch_mult=[1, 2], num_res_blocks=1, attn_factors=[1, 2], head_channels=16),
        "dit": DiT(**common, width=16, depth=2, head_channels=8),
    }
    for network in made.values():
        for p in network.parameters():
            if not p.any():  # what starts at zero would hide the tokens
                nn.init.normal_(p, std=0.1)
    return made


@pytest.mark.parametrize("name", ["unet", "dit"])
@torch.no_grad()
def test_padding_changes_nothing_where_it_is_masked(name: str) -> None:
    network = networks()[name].eval()
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([3.0, 700.0])
    outputs = {}
    for masked in (True, False):
        long = small(max_length=77, mask_padding=masked)
        short = small(max_length=20, mask_padding=masked)
        state = long.state_dict()
        short.load_state_dict({**state, "positions.weight": state["positions.weight"][:20]})
        conds = [given(c, "a red apple", "a bicycle, left of a tree") for c in (long, short)]
        outputs[masked] = [network(x, t, cond) for cond in conds]
    torch.testing.assert_close(*outputs[True], atol=1e-5, rtol=0)
    assert (outputs[False][0] - outputs[False][1]).abs().max() > 1e-4, "unmasked padding is looked at, as in the paper"


@pytest.mark.parametrize("masked", [True, False])
def test_dropped_is_the_empty_caption_exactly(masked: bool) -> None:
    c = small(max_length=12, mask_padding=masked)
    cond = given(c, "a red apple", "a bicycle")
    dropped, null = c.drop(cond, torch.zeros(2)), c.null(cond)
    assert torch.equal(tokens_of(dropped), tokens_of(null))
    assert (cond.mask is not None) == masked
    if cond.mask is not None and dropped.mask is not None and null.mask is not None:
        assert torch.equal(dropped.mask, null.mask) and null.mask.sum(1).tolist() == [2, 2]
    torch.testing.assert_close(tokens_of(null), tokens_of(given(c, "", "")))
    kept = c.drop(cond, torch.tensor([0.0, 0.5]))
    assert torch.equal(tokens_of(kept)[1], tokens_of(cond)[1]) and not torch.equal(tokens_of(kept), tokens_of(cond))
    tokens_of(dropped).sum().backward()
    grad = c.tokens.weight.grad
    assert grad is not None and grad[[101, 102]].any() and not grad[2417].any(), "the empty caption alone learns"


def test_conditions_are_dropped_as_often_as_asked() -> None:
    """Over the batches of a training: 4,096 draws, each part by itself."""
    text, label = small(max_length=8, dropout=0.1), ClassLabel(3, 16, dropout=0.3)
    both = Several({"text": text, "class": label})
    moments = np.zeros((1, 8, 1, 2, 2), np.float32)
    fields = both.rows(Source(8, Annotations(np.arange(8) % 3, ("a", "b", "c"), ["a red apple"] * 8)))
    latents = Latents(moments, moments, LatentNormalizer((0.0,), (1.0,)))
    batches = LatentBatches(latents, np.arange(8), fields, 512, 0, both)
    dropped = []
    with torch.no_grad():
        for step in range(8):
            (batch,) = batches(step, BatchShard())
            cond = both.embed(batch)
            after = both.drop(cond, batch["drop"])
            assert after.mask is not None
            # the empty caption has two tokens that count; the null class is the row behind the last
            no_class = (tokens_of(after)[:, 8] == label.embedding.weight[3]).all(dim=1)
            dropped.append(torch.stack([after.mask[:, :8].sum(1) == 2, no_class], dim=1))
    rates = torch.cat(dropped).double()
    spread = torch.sqrt(torch.tensor([0.1 * 0.9, 0.3 * 0.7]).double() / len(rates))
    assert ((rates.mean(0) - torch.tensor([0.1, 0.3])).abs() < 4 * spread).all(), rates.mean(0)
    assert abs(float(rates.prod(1).mean()) - 0.03) < 4 * (0.03 / len(rates)) ** 0.5, "independently of each other"


@pytest.mark.parametrize(
    "change", [{"depth": 0}, {"width": 0}, {"heads": 0}, {"max_length": 2}, {"dropout": 2.0}], ids=str
)
def test_bad_arguments(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as e:
        small(**change)
    assert e.value.key == f"conditioner.{next(iter(change))}"


def test_files_are_found_in_order_and_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    ways: dict[str, Any] = {"name": "words", "files": ["__init__.py"], "repo": "some/words", "revision": "abc"}
    package = {"package": "einops", "folder": "einops"}
    assert HubFolder(**ways, **package).find()[1] == "package"
    cached = tmp_path / "hub" / "models--some--words" / "snapshots" / "abc"
    cached.mkdir(parents=True)
    (cached / "__init__.py").write_text("")
    assert HubFolder(**ways, **package).find() == (cached, "cache")
    assert HubFolder(**ways, **package, path=str(cached.parent / "abc")).find() == (cached, "path")
    with pytest.raises(ConfigError, match="folder with __init__"):
        HubFolder(**ways, **package, path=str(tmp_path)).check()
    lost = {**ways, "revision": "abd", "package": "no-such-package", "folder": "x", "instead": "another"}
    with pytest.raises(ConfigError) as e:
        HubFolder(**lost).check()
    for part in ("not configured", "some/words at abd", "no-such-package", "HF_HUB_OFFLINE", "pip install", "another"):
        assert part in str(e.value)


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n")
    with pytest.raises(ConfigError, match="SHA-256 07eced"):
        Vocabulary(vocabulary().digest, HubFolder(name="words", files=["vocab.txt"], path=str(tmp_path)))(["a"], 8)


@pytest.mark.slow
def test_a_frozen_encoder_is_cached_and_saved_nowhere(tmp_path: Path) -> None:
    encoder = minilm()
    c = FrozenText(encoder, True, width=8, max_length=20)
    assert list(c.state_dict()) == ["projection.weight", "projection.bias"] and c.context_dim == 8
    assert all(name.startswith("projection") for name, _ in c.named_parameters())
    unique = sorted(set(UGLY))
    c.encode(unique, into=tmp_path)
    assert isinstance(load(tmp_path)[1], np.memmap) and load(tmp_path)[1].dtype == np.float16
    source = captions(*UGLY, UGLY[0])
    here = c.rows(source)
    kept = c.rows(Source(source.n, source.annotations, embeddings=tmp_path))
    assert kept["state"][[10, 0]].shape == (2, 20, 384) and kept["state"][:3].dtype == np.float32
    np.testing.assert_allclose(np.asarray(here["state"]), np.asarray(kept["state"]), atol=2e-3)
    with pytest.raises(DataError, match="another caption"):
        c.rows(Source(1, Annotations(captions=["another caption"]), embeddings=tmp_path))
    cond = given(c, *UGLY)
    assert tokens_of(cond).shape == (10, 20, 8) and bool(torch.isfinite(tokens_of(cond)).all())
    dropped = c.drop(cond, torch.zeros(10))
    assert torch.equal(tokens_of(dropped), tokens_of(c.null(cond)))
    torch.testing.assert_close(tokens_of(dropped)[6], tokens_of(cond)[6], atol=2e-3, rtol=0)  # the empty caption
    # what is cached needs no encoder, in training neither
    without = FrozenText(absent_encoder(384), True, max_length=20)
    rows = without.rows(Source(source.n, source.annotations, embeddings=tmp_path))
    plain = without.embed({name: torch.from_numpy(np.asarray(v)) for name, v in rows.items()})
    assert torch.equal(tokens_of(without.null(plain))[0], tokens_of(plain)[6])
    # against the library's own tokenizer and padding
    from transformers import AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(str(folder("text_minilm").find()[0]))(
        UGLY, truncation=True, max_length=20, padding="max_length", return_tensors="pt"
    )
    with torch.no_grad():
        states = encoder._model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].bool()
    assert cond.mask is not None and torch.equal(cond.mask, mask)
    torch.testing.assert_close(torch.from_numpy(np.asarray(here["state"]))[:10][mask], states[mask], atol=2e-3, rtol=0)


def test_a_frozen_encoder_is_not_loaded_to_try_shapes_out() -> None:
    encoder = absent_encoder(24)
    cond = given(FrozenText(encoder, False, max_length=5), "", "")
    assert tokens_of(cond).shape == (2, 5, 24)
    with pytest.raises(ConfigError, match="from 3 to 77"):
        FrozenText(encoder, False, max_length=78)
    with pytest.raises(ConfigError, match=r"encoder\.digest"):
        absent_encoder(24, digest=None, revision="abc")
