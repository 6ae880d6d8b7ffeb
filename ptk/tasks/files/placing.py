"""Where an answer is in its context, also where the file is wrong about that."""

import unicodedata
from collections.abc import Sequence

from ptk.data import alignment
from ptk.errors import DataError
from ptk.tasks.examples import IGNORE
from ptk.tasks.files.raw import RawQuestions

NOWHERE = 0.1
"""Share of a split's answers that may be nowhere in their context before its files are refused."""
LISTED = 20
"""Questions that are named, each by its id."""
Answer = tuple[str, int | None]
"""Its text, and where it begins in the context, as the file says."""
Span = tuple[int, int]
"""The first character in the context, and the one behind the last."""


def there(context: str, answer: str, start: int | None) -> Span | None:
    """The answer's place where it begins at ``start``, else None."""
    if start is None or start < 0 or not context.startswith(answer, start):
        return None
    return start, start + len(answer)


def elsewhere(context: str, answer: str, start: int | None) -> Span | None:
    """The place of an answer that is not at ``start``; None where nothing says which place it is.

    Blanks around it are no part of it. It is where ``start`` points once blanks there are passed, or where its text is
    in the context, if only once; if not, the same with the characters of both composed (NFC), and where ``start``
    counts characters of the composed or of the decomposed (NFD) context.
    """
    wanted = answer.strip()
    if start is not None and (found := there(context, wanted, _behind_blanks(context, start))):
        return found
    if (at := context.find(wanted)) >= 0 and at == context.rfind(wanted):
        return at, at + len(wanted)
    if context.isascii():
        return None
    text, origins = alignment.composed(context, alignment.places(context))
    wanted = unicodedata.normalize("NFC", wanted)
    at = text.find(wanted)
    if at < 0 or at != text.rfind(wanted):
        at = -1 if start is None else _counted_otherwise(context, wanted, start)
    return None if at < 0 else (int(origins[at, 0]), int(origins[at + len(wanted) - 1, 1]))


def _behind_blanks(text: str, start: int) -> int:
    return len(text) - len(text[start:].lstrip()) if 0 <= start < len(text) else -1


def _counted_otherwise(context: str, wanted: str, start: int) -> int:
    """The number, in the NFC context, of the character that ``start`` is in its NFC or NFD; -1 where ``wanted`` does
    not begin there."""
    for form in ("NFC", "NFD"):
        text = unicodedata.normalize(form, context)
        at = _behind_blanks(text, start)
        if there(text, unicodedata.normalize(form, wanted), at):
            return len(unicodedata.normalize("NFC", text[:at]))
    return -1


class Misplaced:
    """Ids of questions, one for each answer that is not where the file says."""

    def __init__(self) -> None:
        self.moved: list[str] = []
        self.nowhere: list[str] = []

    def first(self, context: str, answers: Sequence[Answer], id_: str) -> Span:
        """The place of the first answer that is somewhere; (IGNORE, IGNORE) where none is."""
        spans = [self._place(context, text, start, id_) for text, start in answers]
        return next((span for span in spans if span), (IGNORE, IGNORE))

    def _place(self, context: str, text: str, start: int | None, id_: str) -> Span | None:
        if found := there(context, text, start):
            return found
        found = elsewhere(context, text, start)
        (self.moved if found else self.nowhere).append(id_)
        return found

    def tell(self, raw: RawQuestions) -> None:
        """Note what was found. Raises DataError where too many answers are nowhere."""
        every = sum(map(len, raw.answers))
        not_there = "are not at their answer_start, nor once elsewhere in their context"
        if len(self.nowhere) > NOWHERE * every:
            raise DataError(
                f"{raw.path}: {len(self.nowhere):,} of {every:,} answers {not_there} ({_some(self.nowhere)}); "
                "correct them, or give the file that belongs to these contexts"
            )
        moved = "answers are not at their answer_start, but found elsewhere in their context"
        raw.notes[f"{moved} ({_some(self.moved)})"] = len(self.moved)
        raw.notes[f"answers {not_there}: not learned from ({_some(self.nowhere)})"] = len(self.nowhere)


def _some(ids: Sequence[str]) -> str:
    """Each once: ``questions `a`, `b` and 3 more``."""
    different = list(dict.fromkeys(ids))
    more = f" and {len(different) - LISTED:,} more" if len(different) > LISTED else ""
    return f"question{'s' * (len(different) > 1)} {', '.join(f'`{id_}`' for id_ in different[:LISTED])}{more}"
