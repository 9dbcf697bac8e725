"""Averaging gradients over ranks while the backward pass still computes others.

What DistributedDataParallel does inside of its wrapper (Li et al. 2020, "PyTorch Distributed: Experiences on
Accelerating Data Parallel Training", section 3.2): parameters stand in buckets, in the reverse of their order, which
is about the order in which their gradients come; a bucket is sent once it is full, and while it travels the backward
pass goes on.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from ablatent.core.errors import StageError
from ablatent.core.ranks import Sending, average_later

BUCKET = 25 * 2**20
"""Bytes of the gradients of a bucket, as in DistributedDataParallel."""
FIRST = 2**20
"""Of the first one, so that sending begins soon."""


@dataclass
class _Bucket:
    parameters: list[nn.Parameter]
    missing: set[nn.Parameter] = field(default_factory=set)
    """Those whose gradient of this backward pass has not come yet."""


@dataclass
class GradientAverage:
    """The gradients of one optimiser's parameters, averaged over the ranks. Every rank has all of them whole, makes
    this of the same parameters, and calls it in the same order. What is sent, and when, does not change the averages.
    """

    parameters: Sequence[nn.Parameter]
    buckets: list[_Bucket] = field(init=False)
    sent: int = field(init=False, default=0)
    """Buckets on their way or back: they are sent in order, since messages of several ranks are matched by it."""
    sending: list[Sending] = field(init=False, default_factory=list)
    collecting: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.buckets = [_Bucket(parameters) for parameters in _filled(self.parameters)]
        for bucket in self.buckets:
            for p in bucket.parameters:
                p.register_post_accumulate_grad_hook(partial(self._came, bucket))

    @contextmanager
    def during(self) -> Iterator[None]:
        """Inside, the last backward pass before `finish` runs; others add to the gradients outside."""
        self.collecting = True
        for bucket in self.buckets:
            bucket.missing = set(bucket.parameters)
        try:
            yield
        finally:
            self.collecting = False

    def _came(self, bucket: _Bucket, p: nn.Parameter) -> None:
        """torch's hook: the gradient of a parameter has been added to."""
        if not self.collecting and not self.sent:
            return  # of a micro-batch before the last
        if p not in bucket.missing:
            raise StageError("A gradient was added to after the last backward pass of its step had given it.")
        bucket.missing.remove(p)
        while self.sent < len(self.buckets) and not self.buckets[self.sent].missing:
            self._send(self.buckets[self.sent])

    def _send(self, bucket: _Bucket) -> None:
        gradients = [p.grad for p in bucket.parameters if p.grad is not None]
        if gradients:
            self.sending.append(average_later(gradients))
        self.sent += 1

    @torch.no_grad()
    def finish(self) -> None:
        """Send what has not been sent, and wait until every gradient is the average of all ranks."""
        for bucket in self.buckets[self.sent :]:
            self._send(bucket)
        for sending in self.sending:
            sending.wait()
        self.sent = 0
        self.sending.clear()


def _filled(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """The trained parameters from the last to the first, in lists of one type and about BUCKET bytes."""
    bucket: list[nn.Parameter] = []
    size, limit = 0, FIRST
    for p in reversed([p for p in parameters if p.requires_grad]):
        if bucket and (size >= limit or p.dtype != bucket[0].dtype):
            yield bucket
            bucket, size, limit = [], 0, BUCKET
        bucket.append(p)
        size += p.numel() * p.element_size()
    if bucket:
        yield bucket
