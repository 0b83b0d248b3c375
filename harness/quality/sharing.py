"""Cores for NumPy: independent models, trained at once, are shared out over a few threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Event
from typing import TypeVar

import numpy as np

Part = TypeVar("Part")


class EndedError(Exception):
    """Another part failed, or a signal came: this one has nothing to go on for."""


def shared(
    count: int, threads: int, train: Callable[[slice, Callable[[], None]], Part], most: int | None = None
) -> list[Part]:
    """What `train` makes of each part of `count` models, in their order; a part is a slice of at most so many.

    Without `most` every thread has one part. NumPy holds no lock while it multiplies. What comes of a model must not
    depend on the others of its part. `train` calls the second thing that it is given now and then: it raises where the
    whole has ended already.
    """
    parts = max(1, min(threads, count), -(-count // (most or max(count, 1))))
    ends = [int(end) for end in np.linspace(0, count, parts + 1).round()]
    slices = [slice(start, end) for start, end in pairwise(ends)]
    ended = Event()

    def go_on() -> None:
        if ended.is_set():
            raise EndedError

    if threads == 1 or parts == 1:
        return [train(part, go_on) for part in slices]
    with ThreadPoolExecutor(min(threads, parts)) as pool:
        try:
            return list(pool.map(lambda part: train(part, go_on), slices))
        finally:
            ended.set()  # where all is well, every part has ended by now
