"""What the stages of one command share in memory: extractors and metrics, with the networks that they have loaded."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from ablatent.core.instantiate import make

T = TypeVar("T")
LIMIT = 16
"""So many objects are kept, more than the scores of one job use: the networks of one job, not of all jobs."""


class _Kept(threading.local):
    """Of each thread, since a network moves to the device of the stage that uses it."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}


_kept = _Kept()


def make_kept(node: Mapping[str, Any], expected: type[T]) -> T:
    """As `make`, but the same object for the same node until `release`, so that the scores of many jobs load a network
    once. For objects that no use changes."""
    return keep([expected.__name__, node], lambda: make(node, expected))


def keep(decides: Sequence[Any], make_it: Callable[[], T]) -> T:
    """As `make_kept`, of an object that is made in another way; decides: plain values, all that it depends on."""
    text = json.dumps(decides, sort_keys=True)
    made = _kept.made.pop(text, None)
    _kept.made[text] = make_it() if made is None else made  # at the end: the last that goes
    if len(_kept.made) > LIMIT:
        del _kept.made[next(iter(_kept.made))]
    return cast(T, _kept.made[text])


def release() -> None:
    """Let go what is kept: a training may need the memory."""
    _kept.made.clear()
