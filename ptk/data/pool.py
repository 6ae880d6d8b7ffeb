"""Work shared out to spawned processes that end with the one that started them, whatever ends it.

``ProcessPoolExecutor`` and not ``multiprocessing.Pool``, which waits forever for a process that was killed.
What all jobs share is sent to each process once; a job itself should be small.
"""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from ptk.errors import ProcessLostError

Result = TypeVar("Result")
WAITING = 4  # finished results a process, at most, that wait in memory for the ones before them

_shared: Any = None  # in a process of a pool: what all its jobs share


def unordered(
    function: Callable[[Any, Any], Result], shared: Any, jobs: Sequence[Any], processes: int, place: object
) -> Generator[Result, None, None]:
    """``function(shared, job)`` of every job, as they finish. Raises what a job raises, at once, and
    ProcessLostError when a process is killed; ``place`` is what the message says was being built."""
    with _pool(processes, shared, place) as pool:
        for done in as_completed([pool.submit(_call, function, job) for job in jobs]):
            yield done.result()


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
    pool = ProcessPoolExecutor(processes, context, _begin, (theirs, shared))
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


def _begin(alive: Connection, shared: Any) -> None:
    global _shared
    _shared = shared
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()


def _end_with(alive: Connection) -> None:
    alive.poll(None)
    os._exit(1)


def _call(function: Callable[[Any, Any], Result], job: Any) -> Result:
    return function(_shared, job)
