"""Trainings on several devices: the options of Lightning's trainer.

ddp: every rank has the whole model. The gradients are averaged once a step, while the last micro-batch's backward pass
runs (`overlap.py`), without the wrapper of DistributedDataParallel: a first stage is called by several methods, has two
losses a step, and the weight of its critic comes from gradients of its own.
fsdp: parameters, gradients, optimiser state and averages of the weights are spread over the ranks (FSDP2, Zhao et al.
2023), and each block is put together when it computes.
"""

from typing import Any

import torch.distributed as dist
from pytorch_lightning.plugins.environments import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy


class Copied(DDPStrategy):
    """Lightning's DDP, with the first rank's weights on all; `GradientAverage` averages the gradients."""

    def configure_ddp(self) -> None:
        """Lightning's hook: broadcast the weights, and wrap nothing."""
        if self.model is not None:
            for t in self.model.state_dict().values():
                dist.broadcast(t, src=0)


def options_of(strategy: str, ranks: int, sharded: bool) -> dict[str, Any]:
    """Arguments of Lightning's trainer. The ranks are there already: nothing is started, no command line replayed.

    sharded: the training has networks that can be spread; where it has none, fsdp copies.
    """
    if ranks == 1:
        return {}
    spread = ModelParallelStrategy(data_parallel_size=ranks, tensor_parallel_size=1)
    return {
        "strategy": spread if strategy == "fsdp" and sharded else Copied(),
        "plugins": [TorchElasticEnvironment()],
    }
