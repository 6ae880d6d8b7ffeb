"""What stands around texts: ``[CLS] A [SEP] B [SEP]``, the end-of-text token behind each, or nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import tokenizers
from tokenizers import processors

from ptk.errors import DataError

if TYPE_CHECKING:
    from ptk.data.tokenizer import Tokenizer

Around = Literal["segments", "end", "nothing", "head"]


class Frame(NamedTuple):
    """What stands around n texts that a head reads: n + 1 parts, the first in front, the last behind."""

    parts: tuple[np.ndarray, ...]  # ids of each part, int64
    types: tuple[np.ndarray, ...]  # their token types
    of_texts: tuple[int, ...]  # the token type of each text

    @property
    def size(self) -> int:
        """Tokens of all parts."""
        return sum(map(len, self.parts))

    def around(self, texts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Ids and token types [T] of the texts with all that stands around them."""
        ids, types = [self.parts[0]], [self.types[0]]
        behind = zip(texts, self.of_texts, self.parts[1:], self.types[1:], strict=True)
        for text, own, part, types_of_part in behind:
            ids += [text, part]
            types += [np.full(len(text), own), types_of_part]
        return np.concatenate(ids), np.concatenate(types)


def frame(tokenizer: "Tokenizer", texts: int) -> Frame:
    """What the template for heads puts around so many texts: found by letting the library do it once."""
    library = tokenizers.Tokenizer.from_str(tokenizer.spec)
    library.post_processor = template(tokenizer, "head")
    pieces = (tokenizer.decode([id_]) for id_ in tokenizer.piece_ids.tolist())
    word = next(text for text in pieces if library.encode(text, add_special_tokens=False).ids)
    whole = library.encode(word, word if texts == 2 else None)
    ids = np.array(whole.ids, np.int64)
    types = np.array(whole.type_ids) if tokenizer.head_segments else np.zeros_like(ids)
    owner = [-1 if number is None else number for number in whole.sequence_ids]
    starts = [owner.index(number) for number in range(texts)]
    stops = [len(owner) - owner[::-1].index(number) for number in range(texts)]
    edges = list(zip([0, *stops], [*starts, len(owner)], strict=True))
    parts, of_parts = (tuple(array[start:stop] for start, stop in edges) for array in (ids, types))
    return Frame(parts, of_parts, tuple(types[starts].tolist()))


def template(tokenizer: "Tokenizer", around: Around) -> Any:
    """``around`` for the library. Raises DataError for tokens that the tokenizer lacks."""
    if around == "head":
        return for_head(tokenizer)
    if around == "segments":
        if tokenizer.cls_id is None or tokenizer.sep_id is None:
            raise DataError(f"a {tokenizer.kind} tokenizer without [CLS] and [SEP] has no segments")
        return bert_template((tokenizer.names["cls"], tokenizer.cls_id), (tokenizer.names["sep"], tokenizer.sep_id))
    if around == "end":
        if tokenizer.end is None:
            raise DataError(f"a {tokenizer.kind} tokenizer without an end-of-text token cannot end texts")
        return eos_template(*tokenizer.end)
    return processors.ByteLevel() if "ByteLevel" in tokenizer.spec_types else processors.Sequence([])


def for_head(tokenizer: "Tokenizer") -> Any:
    """What ``Tokenizer.single`` and ``pair`` say."""
    if tokenizer.has_template:
        return tokenizer.template
    if tokenizer.cls_id is not None and tokenizer.sep_id is not None:
        return template(tokenizer, "segments")
    if tokenizer.end is None:
        return template(tokenizer, "nothing")
    if tokenizer.filler != tokenizer.end[1]:
        return template(tokenizer, "end")
    return processors.TemplateProcessing("$A", f"$A {tokenizer.end[0]} $B", [tokenizer.end])


def bert_template(cls: tuple[str, int], sep: tuple[str, int]) -> Any:
    """``[CLS] A [SEP] B [SEP]`` with token types 0 and 1."""
    single = f"{cls[0]}:0 $A:0 {sep[0]}:0"
    return processors.TemplateProcessing(single, f"{single} $B:1 {sep[0]}:1", [cls, sep])


def eos_template(eos: str, eos_id: int) -> Any:
    """``A </s> B </s>``, as T5 ends its texts."""
    return processors.TemplateProcessing(f"$A {eos}", f"$A {eos} $B {eos}", [(eos, eos_id)])
