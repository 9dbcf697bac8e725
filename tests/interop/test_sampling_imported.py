"""An imported network is sampled as it is, without any training."""

import numpy as np
import pytest
import torch
from test_compvis import checkpoint

from ablatent import load
from ablatent.app.exchange import import_weights
from ablatent.core.errors import ConfigError
from ablatent.store.artifacts import Store

INTEROP = {
    **dict.fromkeys(("heads", "head_channels", "beta_start", "beta_end", "scale_factor")),
    **{"heads_first": True, "T": 1000, "null_label": True},
}


@pytest.mark.slow
def test_an_imported_network_is_sampled(tmp_path) -> None:
    torch.save({"state_dict": checkpoint()}, tmp_path / "model.ckpt")
    config = {"path": str(tmp_path / "model.ckpt"), "format": "compvis", "interop": INTEROP}
    assert import_weights(Store(tmp_path / "store"), config) == 0
    key = next((tmp_path / "store/objects/imported").iterdir()).name
    model = load(str(tmp_path / "store"), key[:14], size=32)
    one, two = (model.sample(n=2, seed=1, steps=2) for _ in range(2))
    assert one[0].size == (32, 32) and np.array_equal(np.asarray(one[1]), np.asarray(two[1]))
    with pytest.raises(ConfigError, match="guidance=none"):
        model.sample(scale=2.0)
