"""Every error that is not a bug in ptk, and the exit code of each.

PtkError                1  a bug, or something nobody foresaw
├── RecipeError         2  recipe or usage
├── DataError           3  corpus, tokenizer or task files
├── DiskError           4  no room, no permission, read-only
├── CheckpointError     5  no usable checkpoint
├── DivergedError       6  the loss is not a number
├── OutOfMemoryError    7
├── ProcessLostError    8  another process of the run was lost
└── Interrupted   130/143  stopped by a signal, with a checkpoint to resume from

A message is one line (or one line a fault) that names the place, the value and the remedy.
Only ``cli.py`` prints them.
"""


class PtkError(Exception):
    exit_code = 1


class RecipeError(PtkError):
    exit_code = 2


class DataError(PtkError):
    exit_code = 3


class DiskError(PtkError):
    exit_code = 4


class CheckpointError(PtkError):
    exit_code = 5


class DivergedError(PtkError):
    exit_code = 6


class OutOfMemoryError(PtkError):
    exit_code = 7


class ProcessLostError(PtkError):
    exit_code = 8


class Interrupted(PtkError):  # noqa: N818 - a run that was stopped has not failed
    """Stopped by a signal. ``exit_code`` is 128 + its number: 130 for SIGINT, 143 for SIGTERM."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class StoppedNow(BaseException):
    """A signal to stop came where there is no step to finish. No ``except Exception`` of a library takes it for its own
    affair."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
