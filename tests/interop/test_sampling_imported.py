"""An imported network is sampled as it is, without any training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from test_compvis import SMALL_UNET, checkpoint, drawn
from test_text_exchange import PREFIX, WIDTH, named

from ablatent import load
from ablatent.core.errors import ConfigError
from ablatent.inference.import_weights import import_weights
from ablatent.interop.text import TOKENIZER
from ablatent.samplers.ddim import DDIM
from ablatent.store.artifacts import Store
from commands import ROOT

INTEROP = {
    **dict.fromkeys(("heads", "beta_start", "beta_end", "scale_factor")),
    **{"head_channels": 32, "heads_first": True, "T": 1000, "null_label": True},
}


def imported(folder, state):
    torch.save({"state_dict": state}, folder / "model.ckpt")
    config = {"path": str(folder / "model.ckpt"), "format": "compvis", "interop": INTEROP}
    store = Store(folder / "store")
    store.check_writable()
    assert import_weights(store, config) == 0
    key = next((folder / "store/objects/imported").iterdir()).name
    return load(key[:14], folder / "store", size=32)


@pytest.mark.slow
def test_an_imported_network_is_sampled(tmp_path) -> None:
    model = imported(tmp_path, checkpoint())
    one, two = (model.sample(n=2, seed=1, steps=2) for _ in range(2))
    assert one[0].size == (32, 32) and np.array_equal(np.asarray(one[1]), np.asarray(two[1]))
    with pytest.raises(ConfigError, match="guidance=none"):
        model.sample(scale=2.0)
    with pytest.raises(ConfigError, match="steps: expected None"):
        model.sample(sampler=DDIM(steps=2), steps=2)
    assert np.array_equal(np.asarray(model.sample(n=2, seed=1, sampler=DDIM(steps=2))[1]), np.asarray(one[1]))
    whole = np.asarray(one[0]).astype(int)
    tiled = replace(
        model, config={**model.config, "samples": {**model.config["samples"], "decode_tile": 8, "decode_overlap": 2}}
    )
    apart = np.abs(np.asarray(tiled.sample(n=2, seed=1, steps=2)[0]).astype(int) - whole)
    assert apart.any(), "by tiles"


@pytest.mark.slow
def test_an_imported_text_model_answers_prompts(tmp_path) -> None:
    """Its vocabulary is the one that models trained here have."""
    conf = yaml.safe_load((ROOT / "conf/conditioner/text_transformer.yaml").read_text())
    assert conf["tokenizer"] == TOKENIZER
    state = checkpoint({**SMALL_UNET, "context_dim": WIDTH}, ema=False)
    state |= {f"{PREFIX}{k}": v for k, v in drawn(named(), 6).items()}
    # drawn cross-attention hardly listens, and a codebook rounds: louder weights and strong guidance
    loud = ("transformer.norm.weight", "attn2.to_v.weight", "attn2.to_out.0.weight")
    model = imported(tmp_path, {k: v * (100 if k.endswith(loud) else 1) for k, v in state.items()})
    prompts = ("an apple", "two pears", "An apple")
    apple, pear, same = (np.asarray(model.sample(prompt=p, seed=1, steps=2, scale=300.0)[0]) for p in prompts)
    assert apple.shape == (32, 32, 3) and np.array_equal(apple, same) and not np.array_equal(apple, pear)
    with pytest.raises(ConfigError, match="captions"):
        model.sample(label=1)
