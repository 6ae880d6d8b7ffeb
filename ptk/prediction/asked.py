"""JSON lines that ask a fine-tuned head: what has to be in them, and what is said of those that lack it.

Every function raises ValueError; ``form`` is an example of what to give. Other keys are let be, so that a file of
labelled examples can be read as it is.
"""

import json
from typing import Any

from ptk.tasks.files.tables import clean


def parsed(line: str, form: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        raise ValueError(f"not JSON; give {form}") from None
    if not isinstance(value, dict):
        raise ValueError(f"no JSON object; give {form}")
    return value


def text(value: dict[str, Any], key: str, form: str) -> str:
    """The text of a key, as a task's files are read: NFC, without control characters."""
    return clean(verbatim(value, key, form))


def verbatim(value: dict[str, Any], key: str, form: str) -> str:
    """The text of a key as it is."""
    if key not in value:
        raise ValueError(f'no "{key}"; give {form}')
    if not isinstance(value[key], str):
        raise ValueError(f'"{key}" is {json.dumps(value[key], ensure_ascii=False)}, no text; give {form}')
    return value[key]


def texts(value: dict[str, Any], key: str, form: str) -> tuple[str, ...]:
    """The list of texts of a key."""
    if not isinstance(value.get(key), list) or not all(isinstance(item, str) for item in value[key]):
        raise ValueError(f'"{key}" is {json.dumps(value.get(key), ensure_ascii=False)}, no list of texts; give {form}')
    return tuple(map(clean, value[key]))
