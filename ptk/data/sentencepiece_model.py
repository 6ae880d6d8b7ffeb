"""SentencePiece's .model, read without protobuf and turned into the `tokenizers` library's own model."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from ptk.data.frames import bert_template, eos_template
from ptk.errors import DataError

# Types of a piece, and of a model, in sentencepiece_model.proto.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE = 1, 2
Piece = tuple[str, float, int]


def read(path: Path) -> tokenizers.Tokenizer:
    """A Unigram or BPE model of SentencePiece, with its own normalisation.

    Ids are those of SentencePiece itself; only where two segmentations score the same may they differ
    (a line of sixty dashes).
    """
    try:
        message = _Message(path.read_bytes())
        pieces = [_Message(piece) for piece in message.all(1)]
        table = [(piece.text(1), piece.score(2), piece.number(3, 1)) for piece in pieces]
        trainer, rules = _Message(message.bytes(2)), _Message(message.bytes(3))
    except (IndexError, ValueError, struct.error) as error:
        raise DataError(f"{path}: not a SentencePiece model ({error}); fetch or copy it again") from error
    model_type = trainer.number(3, UNIGRAM)
    if not table or model_type not in (UNIGRAM, BPE):
        raise DataError(f"{path}: not a SentencePiece model of type unigram or bpe; convert it first")
    library = tokenizers.Tokenizer(_unigram(table) if model_type == UNIGRAM else _bpe(table))
    library.normalizer = _sentencepiece_normalizer(rules)
    prepend = "always" if rules.number(3, 1) else "never"
    # Metaspace puts no ▁ before a text that begins with a blank; a kept blank needs the normaliser's.
    splitting = "never" if rules.number(3, 1) and not rules.number(4, 1) else prepend
    crosses = any("▁" in piece.lstrip("▁") or piece.startswith("▁▁") for piece, _, _ in table)
    library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=splitting, split=not crosses)
    steps = [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme=prepend), decoders.Fuse()]
    library.decoder = decoders.Sequence(steps)
    library.add_special_tokens([piece for piece, _, type_ in table if type_ in (UNKNOWN, CONTROL, UNUSED)])
    if model_type == BPE:
        symbols = [piece for piece, _, type_ in table if type_ == USER_DEFINED and len(piece) > 1]
        library.add_tokens([AddedToken(piece, normalized=False) for piece in symbols])
    ids = {piece: id_ for id_, (piece, _, _) in enumerate(table)}
    if "[CLS]" in ids and "[SEP]" in ids:
        library.post_processor = bert_template(("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"]))
    elif model_type == UNIGRAM and "</s>" in ids:
        library.post_processor = eos_template("</s>", ids["</s>"])
    return library


def _unigram(table: list[Piece]) -> models.Unigram:
    unk_id = next((id_ for id_, (_, _, type_) in enumerate(table) if type_ == UNKNOWN), None)
    return models.Unigram(
        [(piece, score) for piece, score, _ in table],
        unk_id=unk_id,
        byte_fallback=any(type_ == BYTE for _, _, type_ in table),
    )


def _bpe(table: list[Piece]) -> models.BPE:
    """SentencePiece keeps scores where the library keeps merges: pieces are made in order of score."""
    ids = {piece: id_ for id_, (piece, _, _) in enumerate(table)}
    merges = []
    for piece, score, type_ in table:
        if type_ == NORMAL:
            halves = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
            known = [(left, right) for left, right in halves if left in ids and right in ids]
            merges += [(-score, ids[left], ids[right], left, right) for left, right in known]
    merges.sort(key=lambda merge: merge[:3])
    unk = next((piece for piece, _, type_ in table if type_ == UNKNOWN), None)
    return models.BPE(
        ids,
        [(left, right) for *_, left, right in merges],
        unk_token=unk,
        fuse_unk=True,
        byte_fallback=any(type_ == BYTE for _, _, type_ in table),
    )


def _sentencepiece_normalizer(rules: "_Message") -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = []
    if rules.bytes(2):
        # The library looks graphemes up whole: it would miss Hangul in three letters, and take CR LF for one.
        steps += [normalizers.NFC(), normalizers.Replace("\r\n", "\n\n")]
        steps.append(normalizers.Precompiled(rules.bytes(2)))
    if rules.number(4, 1):
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    elif rules.number(3, 1):
        steps += [normalizers.Replace(" ", "▁"), normalizers.Prepend("▁")]
    return normalizers.Sequence(steps)


class _Message:
    """Fields of one protobuf message: enough of the wire format to read a model without the package."""

    def __init__(self, data: bytes) -> None:
        self.fields = list(_wire(data))

    def all(self, number: int) -> list[Any]:
        return [value for key, value in self.fields if key == number]

    def bytes(self, number: int) -> bytes:
        return (self.all(number) or [b""])[-1]

    def text(self, number: int) -> str:
        return self.bytes(number).decode("utf-8")

    def number(self, number: int, default: int) -> int:
        return (self.all(number) or [default])[-1]

    def score(self, number: int) -> float:
        return struct.unpack("<f", self.bytes(number) or bytes(4))[0]


def _wire(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        if key & 7 not in (1, 2, 5):
            raise ValueError(f"wire type {key & 7} at byte {at}")
        size = varint() if key & 7 == 2 else {1: 8, 5: 4}[key & 7]
        if at + size > len(data):
            raise ValueError(f"ends at byte {len(data)} inside a field")
        yield key >> 3, data[at : at + size]
        at += size
