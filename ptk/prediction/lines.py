"""``ptk predict``: lines of stdin to answers on stdout, in the same order, one line each.

A line that begins with ``{`` is JSON, ``{"text": ...}`` with settings of its own, and so is its answer. Of the others
the whole line is the text, and its answer stays one line: a newline that a model writes is shown as ``\\n``. What
fine-tuned heads read and say is in ``labels.py``; their answers repeat an ``id`` that was given.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from ptk import device
from ptk.errors import DataError, RecipeError
from ptk.models import load
from ptk.prediction import continuation, masks, replaced, spans
from ptk.prediction.head import head_of
from ptk.prediction.sampling import Sampling
from ptk.prediction.writer import Writer
from ptk.progress import Talk, clean

if TYPE_CHECKING:
    from torch import nn

TOGETHER = 64  # lines at most that are answered together

Reply = Callable[[str, int], str]  # a line and its number, from 1, to its answer


def answers(
    name: str | None, lines: Iterable[str], trust_remote_code: bool = False, options: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """An answer a line. ``options`` are fields of Sampling that the command line set.

    Raises RecipeError for options out of range and for a model that does none of this, DataError naming the line
    that cannot be answered.
    """
    if name is None:
        name = load.newest() or load.DEFAULT
        Talk().say(f"model: {name}")
    config = load.config(name, trust_remote_code)
    model = load.load(name, trust_remote_code).to(device.kind())
    if head_of(config):
        check_no_options(name, model, options or {}, "labels text")
        from ptk.prediction.labels import Labeller

        yield from Labeller(name, model, config).answers(together(lines))
        return
    tokenizer = load.tokenizer(name, trust_remote_code)
    reply = reply_of(name, model, tokenizer, options or {})
    for number, line in enumerate(lines, 1):
        try:
            yield reply(line.rstrip("\r\n"), number)
        except ValueError as error:
            raise DataError(f"stdin:{number}: {error}") from error


def reply_of(name: str, model: "nn.Module", tokenizer: Any, options: Mapping[str, Any]) -> Reply:
    """What this model does with a line."""
    if replaced.detects(model):
        check_no_options(name, model, options, "detects what was replaced")
        return lambda line, _number: replaced.answer(model, tokenizer, line) if line.strip() else ""
    if model.can_generate() and model.main_input_name == "input_ids":  # type: ignore[operator]
        write = spans.answer if model.config.is_encoder_decoder else continuation.answer  # type: ignore[union-attr]
        return partial(written, partial(write, Writer(model, tokenizer)), sampling_of(options))
    if model.get_output_embeddings() is None or getattr(tokenizer, "mask_token", None) is None:  # type: ignore[operator]
        raise RecipeError(
            f"--model {name}: {type(model).__name__} neither writes text nor fills masks; ptk predict takes models "
            "that continue a text (...ForCausalLM, ...LMHeadModel), answer or complete one "
            "(...ForConditionalGeneration), fill masks (...ForMaskedLM, BertForPreTraining), or detect "
            "what was replaced (ElectraForPreTraining)"
        )
    check_no_options(name, model, options, "fills masks")
    return lambda line, _number: masks.answer(model, tokenizer, line) if line.strip() else ""


def check_no_options(name: str, model: "nn.Module", options: Mapping[str, Any], does: str) -> None:
    if options:
        named = ", ".join(map(option, options))
        raise RecipeError(f"--model {name}: {type(model).__name__} {does} and writes nothing; leave out {named}")


def sampling_of(options: Mapping[str, Any]) -> Sampling:
    try:
        return Sampling().changed(options, option)
    except ValueError as error:
        raise RecipeError(str(error)) from None


def option(field: str) -> str:
    return "--" + field.replace("_", "-")


def written(write: Callable[[str, Sampling, int], dict[str, Any]], sampling: Sampling, line: str, number: int) -> str:
    """The answer of a model that writes, as the line was given: JSON to JSON, text to text."""
    if not line.lstrip().startswith("{"):
        return one_line(write(line, sampling, number)["text"])
    text, settings = request(line)
    return json.dumps(write(text, sampling.changed(settings), number), ensure_ascii=False)


def request(line: str) -> tuple[str, dict[str, Any]]:
    """Text and settings of a JSON line. Raises ValueError."""
    try:
        value = json.loads(line)
        text = value.pop("text")
    except (ValueError, KeyError):
        raise ValueError('not JSON with a "text"; give {"text": "...", "max_tokens": 40}') from None
    if not isinstance(text, str):
        raise ValueError(f'"text" is {json.dumps(text)}; give {{"text": "..."}}')
    return text, value


def one_line(text: str) -> str:
    """``text`` without line ends, and without what would command a terminal (S10); tabs stay."""
    text = text.replace("\n", "\\n").replace("\r", "\\r")
    return "\t".join(clean(part) for part in text.split("\t"))


def together(lines: Iterable[str]) -> Iterator[list[str]]:
    """Lines in lists of ``TOGETHER`` at most: those that are there, so that who waits for an answer gets it."""
    group: list[str] = []
    try:
        for line in lines:
            group.append(line)
            if len(group) == TOGETHER or (isinstance(lines, Decoded) and lines.waits):
                yield group
                group = []
    except DataError:
        yield group  # those before the fault
        raise
    if group:
        yield group


class Decoded(Iterator[str]):
    """Lines of UTF-8 as they arrive. Raises DataError naming line and byte where they are not."""

    def __init__(self, arriving: Iterator[list[bytes]]) -> None:
        self.arriving = arriving
        self.here: deque[bytes] = deque()
        self.number = 0

    @property
    def waits(self) -> bool:
        """Whether the next line has yet to come."""
        return not self.here

    def __next__(self) -> str:
        if self.waits:
            self.here.extend(next(self.arriving))
        self.number += 1
        try:
            return self.here.popleft().decode("utf-8")
        except UnicodeDecodeError as error:
            place = f"stdin:{self.number}: byte {error.start + 1}"
            raise DataError(f"{place} is not UTF-8; convert the text first") from None


def decoded(raw: BinaryIO) -> Decoded:
    """The lines of a pipe or terminal."""
    return Decoded(arriving(raw))


def arriving(raw: BinaryIO) -> Iterator[list[bytes]]:
    """Lines without their end: as many at a time as can be read without waiting."""
    rest = b""
    while chunk := raw.read1(1 << 16):  # type: ignore[attr-defined]
        *whole, rest = (rest + chunk).split(b"\n")
        if whole:
            yield whole
    if rest:
        yield [rest]
