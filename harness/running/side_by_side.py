"""Cases that nothing is timed in, asked of several servers at once: each server has one at a time, none waits."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Generator, Sequence
from typing import TypeVar

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


def side_by_side(
    queues: Collection[Sequence[Asked]], ask: Callable[[Asked], Answered], abandon: Callable[[], None]
) -> Generator[tuple[Asked, Answered], None, None]:
    """What was asked with its answer, as they come; `ask` is called in a thread for each of `queues`, in its order.

    What `ask` raises is raised here. When the caller stops early, by an exception or a break, `abandon` is called to
    end what is under way, and the threads begin nothing more.
    """
    answers: queue.SimpleQueue[tuple[Asked, Answered] | BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()

    def work(cases: Sequence[Asked]) -> None:
        try:
            for planned in cases:
                if stop.is_set():
                    return
                answers.put((planned, ask(planned)))
        except BaseException as error:
            answers.put(error)
        finally:
            answers.put(None)

    threads = [threading.Thread(target=work, args=(cases,), daemon=True) for cases in queues]
    for thread in threads:
        thread.start()
    left, finished = len(threads), False
    try:
        while left:
            found = answers.get()
            if found is None:
                left -= 1
            elif isinstance(found, BaseException):
                raise found
            else:
                yield found
        finished = True
    finally:
        if not finished:
            stop.set()
            abandon()
        for thread in threads:
            thread.join(timeout=10)
