"""Python's search for circular garbage, which imports and planning trigger often and in vain."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

RARELY = (100_000, 50, 100)
"""Thresholds for code that makes many objects and drops few, see `gc.set_threshold`: memory stays bounded."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Inside, also in processes that are forked there, circular garbage is searched for rarely."""
    before = gc.get_threshold()
    gc.set_threshold(*RARELY)
    try:
        yield
    finally:
        gc.set_threshold(*before)
