"""How a batch is dealt out to ranks and micro-batches."""

import numpy as np
import pytest
import torch

from ablatent.core.errors import ConfigError
from ablatent.core.ranks import BatchShard, whole_batch


def test_every_sample_is_in_one_part_and_the_first_ones_fall_on_all_ranks():
    dealt = [[BatchShard(rank, 3, 2).places(24) for rank in range(3)][r] for r in range(3)]
    assert sorted(np.concatenate([p for rank in dealt for p in rank])) == list(range(24))
    assert [sum((p < 3).sum() for p in rank) for rank in dealt] == [1, 1, 1]


def test_parts_of_different_sizes_are_refused():
    with pytest.raises(ConfigError, match=r"2 \* 4 for a batch of 12"):
        BatchShard(0, 2, 4).places(12)


def test_the_whole_batch_is_in_its_own_order():
    x = torch.arange(24.0).unflatten(0, (12, 2))
    assert torch.equal(whole_batch([x[places] for places in BatchShard(grad_accum_steps=3).places(12)]), x)
