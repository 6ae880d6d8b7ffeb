"""What the objectives share whose encoder reads one or more segments: ``[CLS] A [SEP] B [SEP]`` (NSP-10)."""

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ptk.corruption import pairs
from ptk.errors import DataError
from ptk.objectives.objective import Example

if TYPE_CHECKING:
    from ptk.data.split import Documents
    from ptk.data.tokenizer import Tokenizer


class Layout(NamedTuple):
    """Segments with their special tokens around them."""

    ids: np.ndarray  # [T]
    ends: np.ndarray  # the position of each [SEP]
    text: np.ndarray  # the positions of all others but [CLS]: what may be masked (MLM-1)

    @property
    def token_type_ids(self) -> np.ndarray:
        """[T]: 0 up to the first [SEP], 1 behind it."""
        return (np.arange(len(self.ids)) > self.ends[0]).astype(np.int64)


def lay_out(segments: list[np.ndarray], cls: int, sep: int) -> Layout:
    ends = np.array([*accumulate(len(segment) + 1 for segment in segments)])
    ids = np.full(1 + ends[-1], sep)
    ids[0] = cls
    for segment, end in zip(segments, ends.tolist(), strict=True):
        ids[end - len(segment) : end] = segment
    is_text = np.ones(len(ids), bool)
    is_text[0] = is_text[ends] = False
    return Layout(ids, ends, np.flatnonzero(is_text))


def special_ids(tokenizer: "Tokenizer") -> tuple[int, int, int]:
    """Ids of [CLS], [SEP] and [MASK]; raises DataError when the tokenizer lacks one."""
    found = {"[CLS]": tokenizer.cls_id, "[SEP]": tokenizer.sep_id, "[MASK]": tokenizer.mask_id}
    missing = [name for name, number in found.items() if number is None]
    if missing:
        raise DataError(
            f"the tokenizer has no {', '.join(missing)}, which this objective needs; "
            f'add tokenizer.special_tokens=["[CLS]", "[SEP]", "[MASK]"], or use tokenizer.kind=wordpiece'
        )
    return tuple(found.values())  # type: ignore[return-value]


def shown(example: Example, originals: dict[int, int], tokenizer: "Tokenizer") -> list[tuple[str, str]]:
    """The pieces of an example and their roles; ``originals`` are the right ids of the positions to predict."""
    ids = example["input_ids"].tolist()
    second = example.get("token_type_ids", np.zeros(len(ids)))
    pieces = []
    for position, piece in enumerate(tokenizer.tokens(ids)):
        original = originals.get(position)
        if original is not None:
            role = "masked" if ids[position] == tokenizer.mask_id else "random"
            role = "kept" if ids[position] == original else role
            pieces.append((f"{piece}={tokenizer.tokens([original])[0]}", role))
        elif ids[position] in tokenizer.special_ids:
            pieces.append((piece, "special"))
        else:
            pieces.append((piece, "second" if second[position] else "first"))
    return pieces


def labels_of(example: Example) -> dict[int, int]:
    """Position -> right id, of an example with masked_positions and masked_labels."""
    return dict(zip(example["masked_positions"].tolist(), example["masked_labels"].tolist(), strict=True))


@dataclass(frozen=True)
class RandomDocument:
    """Draws the document of a random second segment from the whole split: another one than the current.

    ``tries``: give up after so many and take the same one (NSP-6); None: never the same.
    """

    documents: "Documents"
    tries: int | None

    def __call__(self, piece: int, rng: np.random.Generator) -> np.ndarray:
        everything = self.documents.split
        parent, n, own = everything.parent, len(everything), self.documents.parent[piece]
        attempt = 0
        other = pairs.below(rng, n)
        while parent[other] == own:
            attempt += 1
            if attempt == self.tries:
                break
            other = pairs.below(rng, n)
        return everything.boundaries(other)
