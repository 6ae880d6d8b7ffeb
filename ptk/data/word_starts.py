"""Which pieces of a vocabulary start a word, for masking whole words (ALB-7)."""

import json
import unicodedata
from typing import TYPE_CHECKING

from tokenizers import decoders

from ptk.errors import DataError

if TYPE_CHECKING:
    from ptk.data.tokenizer import Tokenizer

IDEOGRAPHS = ("\u3400\u4dbf", "\u4e00\u9fff", "\uf900\ufaff", "\U00020000\U0002a6df", "\U0002a700\U0002ceaf")
IDEOGRAPHS += ("\U0002f800\U0002fa1f",)  # first and last of each block


def is_punctuation(char: str) -> bool:
    """Whether BERT splits ``char`` off: ASCII but letters, digits and blanks, or category P* (TOK-2)."""
    return unicodedata.category(char)[0] == "P" or char in "$+<=>^`|~"


def is_ideograph(char: str) -> bool:
    """Whether ``char`` is a CJK ideograph, each of which BERT takes for a word (TOK-1)."""
    return any(first <= char <= last for first, last in IDEOGRAPHS)


def found(tokenizer: "Tokenizer") -> list[bool]:
    """Of every id, by the rule that ``Tokenizer.word_starts`` says. Raises DataError where no piece tells."""
    model = json.loads(tokenizer.spec)["model"]
    if model.get("end_of_word_suffix"):
        suffix = model["end_of_word_suffix"]
        raise DataError(f"a vocabulary that marks ends of words ({suffix}) has no word starts; mask tokens")
    pieces = tokenizer.tokens(range(tokenizer.vocab_size))
    if model["type"] == "WordPiece":
        return [not piece.startswith(model["continuing_subword_prefix"]) for piece in pieces]
    if model["type"] == "WordLevel":
        return [True] * len(pieces)
    byte_level = "ByteLevel" in tokenizer.spec_types
    texts = (decoders.ByteLevel().decode([p]) if byte_level else p.replace("▁", " ") for p in pieces)
    return [text[:1].isspace() or is_ideograph(text[:1]) or all(map(is_punctuation, text)) for text in texts]
