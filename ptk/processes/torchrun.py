"""torchrun in a thread of this process, which keeps the signals, learns how each process ended, and waits seconds."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import psutil

from ptk.errors import Interrupted

GRACE = 3.0  # seconds between the first failure and the end of all others


class Failure(NamedTuple):
    rank: int
    code: int  # its exit code, or minus the signal that killed it


class Torchrun:
    """torchrun in a thread of its own; the main thread passes signals on."""

    def __init__(self) -> None:
        self.failed: list[int] = []  # pids of the processes that had ended when the others were told to
        self.passed_on: set[int] = set()  # signals
        self.result: list[Failure] | BaseException = []
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "Torchrun":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            self.before[number] = signal.signal(number, self.pass_on)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self.before.items():
            signal.signal(number, before)

    def pass_on(self, number: int, _frame: object) -> None:
        """To the processes themselves, once each: torchrun would follow with a SIGKILL."""
        ranks = psutil.Process().children()
        if not ranks and number != signal.SIGUSR1 and not self.passed_on:
            raise Interrupted(f"stopped by {signal.Signals(number).name} before the first step", number)
        self.passed_on.add(number)
        for rank in ranks:
            with contextlib.suppress(psutil.Error):
                rank.send_signal(number)

    def run(self, words: list[str]) -> list[Failure]:
        """Run torchrun with ``words``; returns those that failed first, none when all went well."""
        thread = threading.Thread(target=self.run_here, args=(words,), daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(1.0)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    def run_here(self, words: list[str]) -> None:
        # The processes inherit it: until they are ready to save, SIGUSR1 waits. commands/run.py lets it through.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        logging.disable()  # what torchrun logs is said in one line, once
        try:
            from torch.distributed import run
            from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

            with self.ending_soon():
                try:
                    run.run(run.parse_args(words))
                except ChildFailedError as error:
                    ended = {one.pid: Failure(rank, one.exitcode) for rank, one in error.failures.items()}
                    self.result = [ended[pid] for pid in self.failed if pid in ended] or list(ended.values())
        except BaseException as error:  # raised again in the main thread
            self.result = error
        finally:
            logging.disable(logging.NOTSET)

    @contextlib.contextmanager
    def ending_soon(self) -> Iterator[None]:
        """When one process has failed the others have GRACE seconds; torchrun's thirty cannot be set."""
        from torch.distributed.elastic.multiprocessing import api

        close = api.PContext.close

        def close_soon(context: Any, death_sig: Any = None, timeout: float = GRACE) -> None:
            handlers = context.subprocess_handlers.values()
            self.failed = self.failed or [one.proc.pid for one in handlers if one.proc.poll()]
            close(context, death_sig, min(timeout, GRACE))  # type: ignore[arg-type]

        api.PContext.close = close_soon  # type: ignore[method-assign]
        try:
            yield
        finally:
            api.PContext.close = close  # type: ignore[method-assign]
