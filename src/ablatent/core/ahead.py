"""Results that threads make ahead of their use, in order. Imports nothing slow."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def made_ahead(make: Callable[[T], R], items: Iterable[T], depth: int, threads: int = 1) -> Generator[R, None, None]:
    """make(item) for each item in turn, while up to `depth` of those after it are made by threads.

    depth: 0 makes each when it is wanted, without a thread. An exception of `make` is raised in the place of its
    result. Items are taken by the caller's thread. Once this is used up or closed, there is no thread any more.
    """
    if depth == 0:
        yield from map(make, items)
        return
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
