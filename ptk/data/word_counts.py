"""Counts of distinct words, and of their characters: what WordPiece and Unigram are trained on.

Neither crosses a blank, so the counts say all that the text does, in bounded memory and in a fixed order.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from ptk.errors import DataError, RecipeError

MAX_WORDS = 2_000_000  # distinct words kept while counting
FEED = 50_000  # characters handed to the library at once


def count_words(texts: Iterable[str]) -> tuple[Counter[str], tuple[str, ...]]:
    """Counts of the strings between blanks; beyond twice MAX_WORDS the rarest are forgotten, and counted."""
    counts: Counter[str] = Counter()
    forgotten = 0
    for text in texts:
        counts.update(text.split())
        if len(counts) > 2 * MAX_WORDS:
            before = counts.total()
            counts = Counter(dict(counts.most_common(MAX_WORDS)))
            forgotten += before - counts.total()
    note = f"{forgotten} rare words of {counts.total() + forgotten} were not counted: too many distinct ones"
    return counts, (note,) if forgotten else ()


def characters(words: Counter[str]) -> Counter[str]:
    """How often each character occurs. Raises DataError when there is none."""
    seen: Counter[str] = Counter()
    for word, count in words.items():
        for char in word:
            seen[char] += count
    if not seen:
        raise DataError("no text to train a tokenizer on; check corpus.path")
    return seen


def alphabet(words: Counter[str], room: int) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Characters and those seen inside a word, as many as ``room`` entries hold, and a note on the rest.

    Every character counts, however rare: Korean has some 2,400 syllables in use, and the library's limit
    of 1,000 would make [UNK] of the words that hold the others.
    """
    seen = characters(words)
    inner = {char for word in words for char in word[1:]}
    kept: set[str] = set()
    for char in sorted(seen, key=lambda char: (-seen[char], char)):
        room -= 2 if char in inner else 1
        if room < 0:
            break
        kept.add(char)
    if not kept:
        raise RecipeError("tokenizer.vocab_size leaves no room for characters; use at least 100")
    return (
        sorted(kept),
        sorted(inner & kept),
        left_out(seen, kept, "become [UNK]; a larger tokenizer.vocab_size keeps them"),
    )


def left_out(seen: Counter[str], kept: set[str], fate: str) -> tuple[str, ...]:
    rest = {char: count for char, count in seen.items() if char not in kept}
    if not rest:
        return ()
    share = sum(rest.values()) / sum(seen.values())
    example = max(rest, key=lambda char: (rest[char], char))
    return (f"{len(rest)} of {len(seen)} distinct characters ({share:.3%} of the text, such as {example!r}) {fate}",)


def repeated(words: Counter[str], alphabet: set[str]) -> Iterator[str]:
    """Each word as often as it occurs, blanks between; words with a character outside are [UNK], not fed."""
    batch: list[str] = []
    size = 0
    for word, count in words.items():
        if not alphabet.issuperset(word):
            continue
        while count:
            times = min(count, FEED // len(word))
            batch.append(f"{word} " * times)
            count -= times
            size += (len(word) + 1) * times
            if size >= FEED:
                yield "".join(batch)
                batch, size = [], 0
    yield "".join(batch)
