"""RACE's layout: below each split's folder, files that hold one passage with several questions each, as JSON."""

import json
from pathlib import Path
from typing import Any

from ptk.errors import DataError
from ptk.tasks.files.faults import Faults
from ptk.tasks.files.raw import Raw
from ptk.tasks.files.tables import clean, decoded

KEYS = ("article", "questions", "options", "answers")


def read(folder: Path, encoding: str | None) -> Raw:
    """Every question of every file below ``folder`` (middle/ and high/ of the official archive), in order of names.

    A question with a gap (``_``) is filled with each option, any other stands before it. ``lines`` count the questions.
    """
    raw = Raw(str(folder), values=[])
    faults = Faults()
    for path in sorted(path for path in folder.rglob("*.txt") if not path.name.startswith((".", "_"))):
        passage = _passage(path, encoding)
        for number, (question, options, answer) in enumerate(zip(*(passage[key] for key in KEYS[1:]), strict=True)):
            if len(options) != 4:
                faults.add(f"{path}", f"question {number + 1}: {len(options)} options instead of 4; write all of them")
                continue
            raw.texts.append((clean(passage["article"]), *(with_question(question, option) for option in options)))
            raw.lines.append(len(raw.texts))
            raw.values.append(answer)  # type: ignore[union-attr]
    faults.check()
    return raw


def with_question(question: str, option: str) -> str:
    return clean(question.replace("_", option, 1) if "_" in question else f"{question} {option}")


def _passage(path: Path, encoding: str | None) -> dict[str, Any]:
    try:
        passage = json.loads(decoded(str(path), encoding))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON: {error.msg}; a file of RACE is one object") from error
    missing = [key for key in KEYS if key not in passage] if isinstance(passage, dict) else KEYS
    if missing or len({len(passage[key]) for key in KEYS[1:]}) != 1:
        raise DataError(f"{path}: not a passage of RACE; it has {', '.join(KEYS)}, an option and an answer a question")
    return passage
