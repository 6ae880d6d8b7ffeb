"""Text to ids and back: a frozen, picklable Tokenizer around the `tokenizers` library, and loading one.

``tokenizer_training.py`` trains one. Text is text: ``[MASK]`` written in a corpus is seven characters,
never the special token, unless the caller asks for it.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import xxhash
from tokenizers import AddedToken

from ptk.data import alignment, frames, word_starts
from ptk.data.frames import Around, Frame
from ptk.data.word_cache import WordCache, words_of
from ptk.errors import DataError

KINDS = {"WordPiece": "wordpiece", "BPE": "bpe", "Unigram": "unigram", "WordLevel": "word"}
ROLE_OF = {"[CLS]": "cls", "[SEP]": "sep", "[MASK]": "mask"}  # of tokens that are added by these names
# Parts of tokenizer.json that no id without special tokens depends on.
NOT_IDS = ("version", "truncation", "padding", "post_processor", "decoder")


def _id_of(role: str) -> cached_property[int | None]:
    def find(tokenizer: "Tokenizer") -> int | None:
        name = tokenizer.names.get(role)
        return None if name is None else tokenizer._library.token_to_id(name)

    find.__doc__ = f"The id of the special token that plays {role}, or None."
    return cached_property(find)


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer as data; the library's object is built on first use and never pickled."""

    spec: str
    """The text of tokenizer.json."""
    names: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Role (pad, unk, cls, sep, mask, bos, eos) -> the special token that plays it."""
    segments: bool = False
    """Whether the second text of a pair gets token type 1."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What a user should be told: a vocabulary that stayed small, characters left out, a guessed casing."""
    grown: Mapping[int, tuple[int, ...]] = field(default_factory=dict, compare=False)
    """New id -> the old ids whose text it stands for, of the pieces that ``tokenizer.extend`` added."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer, (self.spec, dict(self.names), self.segments, self.notes, dict(self.grown))

    @cached_property
    def _library(self) -> tokenizers.Tokenizer:
        return tokenizers.Tokenizer.from_str(self.spec)

    @cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        """The same ids, but no text leads to a special token."""
        plain = tokenizers.Tokenizer.from_str(with_unreachable_specials(self.spec))
        plain.encode_special_tokens = True
        return plain

    @cached_property
    def _words(self) -> WordCache | None:
        """What remembers the ids of words, where cutting texts into words is known to change no id."""
        words = words_of(json.loads(self.spec))
        return WordCache(with_unreachable_specials(self.spec), words) if words else None

    @cached_property
    def kind(self) -> str:
        """wordpiece, bpe, unigram, char, or word (a table of whole words)."""
        model = json.loads(self.spec)["model"]
        if model["type"] == "BPE" and not model["merges"]:
            return "char"
        return KINDS[model["type"]]

    @cached_property
    def vocab_size(self) -> int:
        """The largest id + 1, special tokens included."""
        return max(self._library.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of every special token, sentinels included: never masked, sampled or drawn as noise (ENG-5)."""
        added = self._library.get_added_tokens_decoder()
        roles = (self._library.token_to_id(token) for token in self.names.values())
        return frozenset(
            [
                *(id_ for id_, token in added.items() if token.special),
                *(id_ for id_ in roles if id_ is not None),
            ]
        )

    @cached_property
    def piece_ids(self) -> np.ndarray:
        """Ids of all pieces but special tokens, int64."""
        return np.setdiff1d(np.arange(self.vocab_size), list(self.special_ids))

    def id_of(self, token: str) -> int | None:
        """The id of a token by its exact text, special or not; None for what the vocabulary lacks."""
        return self._library.token_to_id(token)

    @cached_property
    def sentinel_ids(self) -> np.ndarray:
        """Ids of ``<extra_id_0>``, ``<extra_id_1>`` ... as far as they go, int64 (T5-4)."""
        names = (f"<extra_id_{number}>" for number in count())
        return np.array(list(takewhile(lambda id_: id_ is not None, map(self.id_of, names))), np.int64)

    def extended(self, tokens: Sequence[str]) -> "Tokenizer":
        """The same with more special tokens, behind all others; those it has stay where they are.

        [CLS], [SEP] and [MASK] play their roles where no other token does. Of bytes, [MASK] takes the blank before it:
        it stands for a word, which has one.
        """
        library = tokenizers.Tokenizer.from_str(self.spec)
        masks = {token for token in tokens if ROLE_OF.get(token) == "mask" and "ByteLevel" in self.spec_types}
        missing = [token for token in tokens if library.token_to_id(token) is None]
        library.add_special_tokens([AddedToken(token, lstrip=token in masks, normalized=False) for token in missing])
        names = {ROLE_OF[token]: token for token in tokens if token in ROLE_OF} | dict(self.names)
        return from_library(library, names, segments=self.segments, notes=self.notes, grown=self.grown)

    @cached_property
    def fingerprint(self) -> str:
        """xxh3 of everything that changes ids, roles of special tokens included; not of save's template."""
        parts = {key: value for key, value in json.loads(self.spec).items() if key not in NOT_IDS}
        canonical = json.dumps([parts, dict(self.names)], sort_keys=True, ensure_ascii=False)
        return xxhash.xxh3_128_hexdigest(canonical.encode())

    pad_id = _id_of("pad")
    unk_id = _id_of("unk")
    cls_id = _id_of("cls")
    sep_id = _id_of("sep")
    mask_id = _id_of("mask")
    bos_id = _id_of("bos")
    eos_id = _id_of("eos")

    def encode_batch(self, texts: Sequence[str], *, special_tokens: bool = False) -> list[np.ndarray]:
        """Ids of each text, uint32 [T]; nothing is added in front or behind, nothing is cut.

        With ``special_tokens``, ``[MASK]`` and its like in the text are read as the special tokens.
        """
        library = self._library if special_tokens else self._plain
        encodings = library.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.uint32) for encoding in encodings]

    def encode_joined(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of ``encode_batch`` end to end, uint32 [N], and how many are of each text, int64: for much text.

        It keeps the ids of words in memory, in bounded room, where that is exact (ptk/data/word_cache.py).
        """
        if self._words and (found := self._words.encode(texts)):
            return found
        rows = self.encode_batch(texts)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.concatenate([np.empty(0, np.uint32), *rows]), lengths

    def encode_with_offsets(self, texts: Sequence[str]) -> list[tuple[np.ndarray, list[tuple[int, int]]]]:
        """Ids of each text, uint32 [T], and the characters of it that each covers, (first, behind the last)."""
        encodings = self._plain.encode_batch(list(texts), add_special_tokens=False)
        return [(np.array(encoding.ids, dtype=np.uint32), encoding.offsets) for encoding in encodings]

    def encode_aligned(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids of each text once it is clean, uint32 [T], and where they are in the text as it is, int32 [T, 2].

        What that is of marks, blanks and what cleaning changes: ptk/data/alignment.py.
        """
        cleaned = [alignment.clean(text) for text in texts]
        encodings = self._plain.encode_batch([text for text, _ in cleaned], add_special_tokens=False)
        return [
            (
                np.array(encoding.ids, np.uint32),
                alignment.in_original(text, origins, np.array(encoding.offsets, np.int64).reshape(-1, 2)),
            )
            for (text, origins), encoding in zip(cleaned, encodings, strict=True)
        ]

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        return self._library.decode([int(id_) for id_ in ids], skip_special_tokens=skip_special_tokens)

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The piece of each id; an id that the vocabulary leaves out is the empty string."""
        return [self._library.id_to_token(int(id_)) or "" for id_ in ids]

    def unk_share(self, texts: Sequence[str]) -> float:
        """Share of the ids of ``texts`` that are the unknown token; 0 where there is none."""
        ids = np.concatenate([np.empty(0, np.uint32), *self.encode_batch(texts)])
        return float(np.mean(ids == self.unk_id)) if len(ids) and self.unk_id is not None else 0.0

    @cached_property
    def word_starts(self) -> np.ndarray:
        """bool [V]: whether a piece starts a word, for masking whole words (ALB-7).

        WordPiece: it has no ``##``. Otherwise: it begins with a blank (Ġ, ▁, a newline) or an ideograph, or is
        punctuation, so that letters right after punctuation count as part of its word. Special tokens start one.
        """
        result = np.array(word_starts.found(self), dtype=bool)
        result[list(self.special_ids)] = True
        result.flags.writeable = False
        return result

    @cached_property
    def spec_types(self) -> frozenset[str]:
        """Names of the library's components around the model, such as ByteLevel or Metaspace."""
        parts = {key: value for key, value in json.loads(self.spec).items() if key != "model"}
        return frozenset(re.findall(r'"type": "(\w+)"', json.dumps(parts)))

    def save(self, folder: str | Path, *, around: Around | None = None, max_length: int | None = None) -> None:
        """Write a folder that AutoTokenizer loads as its generic class, with the same ids (ENG-6).

        ``around`` chooses what surrounds texts: ``segments``, ``[CLS] A [SEP] B [SEP]`` with token types 0 and 1;
        ``end``, the end-of-text token behind each; ``nothing``; ``head``, what ``single`` and ``pair`` say; None, what
        the tokenizer has. For a head, texts are padded with the end-of-text token where there is no other.
        ``max_length`` is where ``truncation=True`` cuts. Raises DataError for tokens that it lacks.
        BertTokenizer, by name, would rebuild the normaliser: Hangul lost, words above 100 letters [UNK].
        """
        library = tokenizers.Tokenizer.from_str(self.spec)
        if around is not None:
            library.post_processor = frames.template(self, around)
        with_types = {None: self.segments, "head": self.head_segments}.get(around, around == "segments")
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", *["token_type_ids"] * with_types, "attention_mask"],
            **{f"{role}_token": token for role, token in self.names.items()},
        }
        if around == "head" and self.pad_id is None and self.end is not None:
            config["pad_token"] = self.end[0]
        if max_length is not None:
            config["model_max_length"] = max_length
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(library.to_str(pretty=True), encoding="utf-8")
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")

    @cached_property
    def end(self) -> tuple[str, int] | None:
        """The token, and its id, that ends a text and stands between documents (LM-1); None where there is none."""
        for role, id_ in (("eos", self.eos_id), ("bos", self.bos_id), ("sep", self.sep_id)):
            if id_ is not None:
                return self.names[role], id_
        return None

    @property
    def filler(self) -> int | None:
        """What pads the rows of a head: the padding, else the end-of-text token."""
        return self.pad_id if self.pad_id is not None or self.end is None else self.end[1]

    @cached_property
    def single(self) -> Frame:
        """What a head reads around one text: what the tokenizer puts there, so that AutoTokenizer does the same.

        Where it puts nothing: ``[CLS] A [SEP]`` where it has both, else the end-of-text token behind each text; not
        behind the last where that token is the padding too, as a decoder's head reads the last that is no padding.
        """
        return frames.frame(self, 1)

    @cached_property
    def pair(self) -> Frame:
        """The same around two texts. Raises DataError where nothing would keep them apart."""
        frame = frames.frame(self, 2)
        if not len(frame.parts[1]) and frame.of_texts[0] == frame.of_texts[1]:
            raise DataError(
                f"this {self.kind} tokenizer has no token that could stand between two texts; "
                'add one, such as tokenizer.special_tokens=["[CLS]", "[SEP]"]'
            )
        return frame

    @cached_property
    def has_template(self) -> bool:
        """Whether the tokenizer itself puts something around one text or two."""
        return any(self._library.num_special_tokens_to_add(is_pair) for is_pair in (False, True))

    @property
    def template(self) -> Any:
        """What it puts there, for the library."""
        return self._library.post_processor

    @cached_property
    def head_segments(self) -> bool:
        """Whether the second text of a pair that a head reads gets another token type."""
        return self.segments if self.has_template else self.cls_id is not None and self.sep_id is not None


def from_library(library: tokenizers.Tokenizer, names: Mapping[str, str], **fields: Any) -> Tokenizer:
    """Freeze a tokenizer of the library; ``names`` give the role of its special tokens."""
    library.no_truncation()
    library.no_padding()
    spec = json.loads(library.to_str())
    if spec["model"]["type"] == "Unigram":  # the library reads long decimals back a bit off
        spec["model"]["vocab"] = [[piece, round(score, 9)] for piece, score in spec["model"]["vocab"]]
    return Tokenizer(json.dumps(spec, ensure_ascii=False), dict(names), **fields)


def with_unreachable_specials(spec: str) -> str:
    """Give special pieces that the model may find in text names that no text contains: Unigram's, and WordPiece's."""
    parts = json.loads(spec)
    model = parts["model"]
    vocabulary, special = model["vocab"], [token for token in parts["added_tokens"] if token["special"]]
    if model["type"] == "Unigram":
        lowest = min(score for _, score in vocabulary)
        for token in special:
            if token["id"] < len(vocabulary):
                token["content"] = f"\uffff{token['id']}"
                vocabulary[token["id"]] = [token["content"], lowest]
    elif model["type"] == "WordPiece":
        for token in special:
            if token["content"] in vocabulary and token["content"] != model["unk_token"]:
                vocabulary[f"\uffff{token['id']}"] = vocabulary.pop(token["content"])
                token["content"] = f"\uffff{token['id']}"
    else:
        return spec
    return json.dumps(parts)


def load(path: str) -> Tokenizer:
    """A folder, a ``vocab.txt``, a SentencePiece ``.model``, a tokenizer.json, or an id of the hub.

    Raises DataError, naming the file, for what is absent or malformed. Nothing is unpickled or executed.
    """
    from ptk.data import tokenizer_formats as formats

    file = formats.find(path)
    library, notes = formats.read(file)
    config = formats.read_config(file.parent)
    inputs = config.get("model_input_names")
    segments = "token_type_ids" in inputs if inputs else 1 in library.encode("a", "b").type_ids
    return from_library(library, formats.roles(library, config), segments=segments, notes=notes)
