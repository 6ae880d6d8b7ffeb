"""Work shared out to spawned processes that end with the one that started them, whatever ends it.

``ProcessPoolExecutor`` and not ``multiprocessing.Pool``, which waits forever for a process that was killed.
What all jobs share is sent to each process once; a job itself should be small.
"""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from queue import SimpleQueue
from typing import Any, TypeVar

from ptk.errors import ProcessLostError

Result = TypeVar("Result")
AHEAD = 2  # jobs a process has: what it does and what it does next
WAITING = 4  # finished results a process, at most, that wait in memory for the ones before them

_shared: Any = None  # in a process of a pool: what all its jobs share


def unordered(
    function: Callable[[Any, Any], Result], shared: Any, jobs: Sequence[Any], processes: int, place: object
) -> Generator[Result, None, None]:
    """``function(shared, job)`` of every job, as they finish. Raises what a job raises, at once, and
    ProcessLostError when a process is killed; ``place`` is what the message says was being built.

    This process is one of them: it begins while the others are still starting, and sees what they raise between two
    jobs of its own.
    """
    waiting = deque(jobs)
    finished: SimpleQueue[Future[Result]] = SimpleQueue()

    def hand_out() -> None:
        with suppress(RuntimeError):  # the pool is closing
            for job in _first(waiting):
                pool.submit(_call, function, job).add_done_callback(hand_in)

    def hand_in(future: Future[Result]) -> None:
        if not future.cancelled() and future.exception() is None:
            hand_out()
        finished.put(future)

    with _pool(processes - 1, shared, place) as pool:
        try:
            # Not all at once: what the pool has can be had back by cancelling it only, after which a pool that breaks
            # waits forever.
            for _ in range(AHEAD * (processes - 1)):
                hand_out()
            for _ in jobs:
                mine = _first(waiting) if finished.empty() else ()
                yield function(shared, *mine) if mine else finished.get().result()
        finally:
            waiting.clear()


def _first(waiting: deque[Any]) -> tuple[Any, ...]:
    """The first job taken out, or nothing: two threads may ask for the last one."""
    try:
        return (waiting.popleft(),)
    except IndexError:
        return ()


def in_order(
    function: Callable[[Any, Any], Result], shared: Any, jobs: Sequence[Any], processes: int, place: object
) -> Generator[Result, None, None]:
    """The same in the order of the jobs, with a bounded number of results in memory."""
    with _pool(processes, shared, place) as pool:
        waiting = deque()
        for job in jobs:
            waiting.append(pool.submit(_call, function, job))
            if len(waiting) >= WAITING * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def _pool(processes: int, shared: Any, place: object) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()  # nothing is sent: its end tells them to go
    # By a queue, whose thread sends: an argument would have us wait until they have imported everything.
    sent = context.Queue()
    sent.cancel_join_thread()  # some may be gone before they take theirs
    for _ in range(processes):
        sent.put(shared)
    pool = ProcessPoolExecutor(processes, context, _begin, (theirs, sent))
    try:
        yield pool
        pool.shutdown()
    except BrokenProcessPool as error:
        raise ProcessLostError(
            f"{place}: a process that was building it is gone (out of memory?); run the same again: "
            "what is finished is kept, and fewer processes need less memory"
        ) from error
    finally:
        ours.close()
        pool.shutdown(cancel_futures=True)
        theirs.close()
        sent.close()


def _begin(alive: Connection, sent: "Queue[Any]") -> None:
    global _shared
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _shared = sent.get()


def _end_with(alive: Connection) -> None:
    alive.poll(None)
    os._exit(1)


def _call(function: Callable[[Any, Any], Result], job: Any) -> Result:
    return function(_shared, job)
