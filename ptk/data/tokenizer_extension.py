"""More pieces for a tokenizer that is there, learned on another text: for pretraining that goes on in another
language or domain.

Old ids stay what they are. New pieces are what byte-pair encoding (Sennrich et al., arXiv 1508.07909) would go on
with, whatever the kind of model: characters that the vocabulary lacks, then the most frequent pairs of adjacent
pieces, joined. Each knows the old ids that it stands for, so that its embedding can start from theirs
(``ptk/models/extension.py``). The same text gives the same pieces.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import tokenizers

from ptk.data.adjacent_pairs import Pairs
from ptk.data.tokenizer import Tokenizer, from_library, with_unreachable_specials
from ptk.data.tokenizer_training import ALPHABET_SHARE, MIN_COUNT
from ptk.data.word_counts import characters, count_words, left_out
from ptk.data.word_starts import is_punctuation
from ptk.errors import RecipeError

CHUNK = 100_000  # characters of a text that are cut into words at once
LONGEST = 1000  # characters of a word that is learned from: a longer one is no word
MARGIN = 1e-3  # by which a Unigram piece is likelier than the best of what else spells it
BLANK = "▁"  # SentencePiece's
SPACE = re.compile(r"\s")


def extend(tokenizer: Tokenizer, texts: Iterable[str], wanted: int) -> Tokenizer:
    """The tokenizer with ``wanted`` pieces more, from one pass over ``texts``; its ``notes`` say what fell short.

    Their ids begin at ``tokenizer.vocab_size``; ``grown`` gives the old ids of each. Raises RecipeError for a
    tokenizer of characters or of whole words, DataError without any text.
    """
    if tokenizer.kind in ("char", "word"):
        raise RecipeError(
            f"tokenizer.extend: a {tokenizer.kind} tokenizer has no pieces to join; "
            "give the path of a wordpiece, bpe or unigram one, or leave extend out"
        )
    counted, notes = count_words(_pre_tokenized(tokenizer, texts))
    words = Counter({word: count for word, count in counted.items() if len(word) <= LONGEST})
    vocabulary = Vocabulary(tokenizer, words)
    before = vocabulary.tokens()
    vocabulary.add_characters(int(wanted * ALPHABET_SHARE))
    vocabulary.learn(wanted)
    vocabulary.add_characters(wanted - len(vocabulary.new))  # where the pairs gave out first
    notes += (*vocabulary.notes(wanted), _gain(len(vocabulary.new), before, vocabulary.tokens()))
    library = tokenizers.Tokenizer.from_str(vocabulary.spec())
    return from_library(library, tokenizer.names, segments=tokenizer.segments, notes=notes, grown=vocabulary.grown)


def _gain(pieces: int, before: tuple[int, int], after: tuple[int, int]) -> str:
    """What the new pieces are good for. ``before`` and ``after``: tokens of the text, and the unknown ones."""
    text = f"extended by {pieces:,} pieces: the text has {after[0]:,} tokens instead of {before[0]:,}"
    if not before[1]:
        return text
    return f"{text}, {after[1] / after[0]:.1%} of them unknown instead of {before[1] / before[0]:.1%}"


def _pre_tokenized(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[str]:
    """What the model cuts into pieces, as it sees it, blanks between: ``count_words`` takes it apart again.

    Texts, not words between blanks, are looked at: byte-level words carry the blank before them.
    """
    library = tokenizers.Tokenizer.from_str(tokenizer.spec)
    normalizer, splitter = library.normalizer, library.pre_tokenizer
    for text in texts:
        for chunk in _chunks(text):
            chunk = normalizer.normalize_str(chunk) if normalizer else chunk
            words = [word for word, _ in splitter.pre_tokenize_str(chunk)] if splitter else [chunk]
            yield " ".join(words)


def _chunks(text: str) -> Iterator[str]:
    """Parts of a long text; every one but the first begins at a blank, where words do."""
    start = 0
    while start < len(text):
        found = SPACE.search(text, start + CHUNK)
        stop = found.start() if found else len(text)
        yield text[start:stop]
        start = stop


class Vocabulary:
    """A tokenizer's vocabulary while it grows on a text, which is its ``words`` and how often each occurs."""

    def __init__(self, tokenizer: Tokenizer, words: Counter[str]) -> None:
        self.words, self.characters = words, characters(words)
        self.parts = json.loads(tokenizer.spec)
        self.model = self.parts["model"]
        self.prefix = self.model.get("continuing_subword_prefix") or ""
        self.suffix = self.model.get("end_of_word_suffix") or ""
        self.first = tokenizer.vocab_size
        pieces = tokenizer.tokens(range(self.first))
        self.old = {piece: id_ for id_, piece in enumerate(pieces) if piece}
        self.piece = dict(enumerate(pieces))
        self.unknown = self.model["unk_id"] if self.is_unigram else self.old.get(self.model.get("unk_token") or "")
        self.new: dict[str, int] = {}
        self.grown: dict[int, tuple[int, ...]] = {}
        self.seen: Counter[str] = Counter()  # how often each new piece was found
        self.total = self.characters.total()  # pieces of the text, as far as is known
        self.merges: list[tuple[str, str]] = []
        # SentencePiece joins no letters with punctuation; elsewhere words are split there already.
        self.breaks = self.model["type"] != "WordPiece" and "ByteLevel" not in tokenizer.spec_types

    @property
    def is_unigram(self) -> bool:
        return self.model["type"] == "Unigram"

    def add(self, piece: str, stands_for: tuple[int, ...], count: int) -> int:
        """The id of a piece, given now if it is new; ``stands_for`` are old ids."""
        if piece not in self.new:
            id_ = self.first + len(self.new)
            self.new[piece], self.piece[id_], self.grown[id_] = id_, piece, stands_for
        self.seen[piece] += count
        return self.new[piece]

    def add_characters(self, room: int) -> None:
        """Add characters that are missing, the most frequent first, as many as ``room`` entries hold."""
        absent = self.absent()
        for char in sorted(absent, key=lambda char: (-self.characters[char], char)):
            if len(absent[char]) <= room:
                room -= len(absent[char])
                stands_for = self.stood_for(char)
                for piece in absent[char]:
                    self.add(piece, stands_for, self.characters[char])

    def absent(self) -> dict[str, list[str]]:
        """Characters of the text that have no piece where they stand in words, and the pieces they need."""
        found: dict[str, list[str]] = {}
        letters = {letter for word in self.words for letter in zip(word, self.spelled(word), strict=True)}
        for char, piece in sorted(letters):
            if piece not in self.old and piece not in self.new:
                found.setdefault(char, []).append(piece)
        return found

    def notes(self, wanted: int) -> tuple[str, ...]:
        """What a user should know: characters that stay unknown, pieces that the text did not give."""
        fate = "stay bytes" if self.model.get("byte_fallback") else "stay unknown"
        kept = self.characters.keys() - self.absent().keys()
        notes = left_out(self.characters, kept, f"{fate}; a larger tokenizer.extend adds them")
        if len(self.new) < wanted:
            notes += (
                f"the text gave {len(self.new):,} of {wanted:,} pieces (tokenizer.extend): "
                f"it has no more that occur {MIN_COUNT} times",
            )
        return notes

    def spelled(self, word: str) -> list[str]:
        """The smallest pieces of a word, one a character, marked as the model marks them: ``a ##b ##c``."""
        pieces = [word[0], *(f"{self.prefix}{char}" for char in word[1:])]
        pieces[-1] += self.suffix
        return pieces

    def stood_for(self, char: str) -> tuple[int, ...]:
        """The old ids of a character that has no piece: its twin inside or outside words, its bytes, or none."""
        marked = (f"{front}{char}{back}" for front in ("", self.prefix) for back in ("", self.suffix))
        twins = [self.old[piece] for piece in marked if piece in self.old]
        if twins or not self.model.get("byte_fallback"):
            return tuple(twins[:1])
        pieces = (f"<0x{byte:02X}>" for byte in char.encode())
        return tuple(self.old[piece] for piece in pieces if piece in self.old)

    def learn(self, wanted: int) -> None:
        """Join adjacent pieces, the most frequent pair first, until there are ``wanted`` new pieces."""
        cut = self.library().model.tokenize
        stretches, counts = [], []
        self.total = 0
        for word, count in self.words.items():
            tokens = cut(word)
            self.total += count * len(tokens)
            for stretch in self.joinable(word, tokens):
                stretches.append(stretch)
                counts.append(count)
        pairs = Pairs(stretches, counts)
        while len(self.new) < wanted and (best := pairs.pop()):
            (a, b), count = best
            piece = self.piece[a] + self.piece[b].removeprefix(self.prefix)
            if piece in self.old:  # BPE or Unigram would have taken it; a special token is no text
                continue
            self.merges.append((self.piece[a], self.piece[b]))
            stands_for = self.grown.get(a, (a,)) + self.grown.get(b, (b,))
            pairs.join((a, b), self.add(piece, stands_for, count))

    def joinable(self, word: str, tokens: list[tokenizers.Token]) -> Iterator[list[int]]:
        """Stretches of two pieces and more that may be joined; none of a word that holds an unknown character."""
        ids = [token.id for token in tokens]
        # Bytes that stand for a character, or a character that BPE passed over, change the length.
        length = sum(len(token.value) for token in tokens) - (len(tokens) - 1) * len(self.prefix)
        if self.unknown in ids or length != len(word) + len(self.suffix):
            return
        start = 0
        for stop in range(1, len(ids) + 1):
            if stop == len(ids) or (self.breaks and _is_break(tokens[stop - 1].value, tokens[stop].value)):
                if stop - start > 1:
                    yield ids[start:stop]
                start = stop

    def tokens(self) -> tuple[int, int]:
        """How many tokens the text is, and how many of these are unknown."""
        cut = self.library().model.tokenize
        total = unknown = 0
        for word, count in self.words.items():
            ids = [token.id for token in cut(word)]
            total += count * len(ids)
            unknown += count * ids.count(self.unknown)
        return total, unknown

    def library(self) -> tokenizers.Tokenizer:
        return tokenizers.Tokenizer.from_str(with_unreachable_specials(self.spec()))

    def spec(self) -> str:
        """tokenizer.json as far as the vocabulary has grown.

        Added tokens that stood behind the model's own pieces go among them: the library would number them anew.
        """
        model = dict(self.model)
        added = {token["content"]: token["id"] for token in self.parts["added_tokens"]}
        if not self.new:
            return json.dumps(self.parts, ensure_ascii=False)
        if self.is_unigram:
            model["vocab"] = self._unigram({id_: piece for piece, id_ in added.items()})
        else:
            model["vocab"] = model["vocab"] | added | self.new
        if model["type"] == "BPE":
            model["merges"] = [*model["merges"], *self.merges]
        return json.dumps({**self.parts, "model": model}, ensure_ascii=False)

    def _unigram(self, added: Mapping[int, str]) -> list[tuple[str, float]]:
        """Pieces and scores in the order of ids; ids without a piece get one that no text contains."""
        table = self.model["vocab"]
        lowest = min(score for _, score in table)
        between = [(added.get(id_, f"\uffff{id_}"), lowest) for id_ in range(len(table), self.first)]
        text = json.loads(with_unreachable_specials(json.dumps(self.parts)))["model"]["vocab"]
        return [*table, *between, *likely(dict(text), self.seen, self.total).items()]


def likely(old: Mapping[str, float], seen: Counter[str], total: int) -> dict[str, float]:
    """Scores of new Unigram pieces: log frequencies, but above the best that other pieces spell them with.

    So a piece is what its own text is cut into: shorter pieces come first, and only they can spell it.
    """
    scores = dict(old)
    for piece in sorted(seen, key=len):
        scores[piece] = max(math.log(seen[piece] / total), spelling(piece, scores) + MARGIN)
    return {piece: scores[piece] for piece in seen}


def spelling(piece: str, scores: Mapping[str, float]) -> float:
    """The score of the best cut of ``piece`` into pieces of ``scores``; minus infinity where there is none."""
    best = [0.0]
    for stop in range(1, len(piece) + 1):
        best.append(max(best[start] + scores.get(piece[start:stop], -math.inf) for start in range(stop)))
    return best[-1]


def _is_break(left: str, right: str) -> bool:
    """Whether two pieces stay apart: a blank begins, or letters meet punctuation."""
    if not left.strip(BLANK):
        return False
    return right.startswith(BLANK) or is_punctuation(left[-1]) != is_punctuation(right[0])
