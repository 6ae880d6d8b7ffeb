"""The store of labelled examples: a document is an example, a sentence one of its texts; ``labels.npy`` beside it.

Built once for (texts, labels, tokenizer) and kept in the cache folder. Everything that reads the store of a corpus
reads this one: rows, plan, batches, engine.

    labels.npy   int64 [examples], of regression float32, of multi-label int8 [examples, L];
                 of tagging int64 [sentences]: each word, or each character, is a sentence;
                 of questions int64 [examples, 2]: the first and the last token of the answer within the context,
                 (-1, -1) for no answer, (IGNORE, IGNORE) for what is not learned from
    offsets.npy  of questions only, int32 [tokens, 2]: the characters of the text that each token stands for
                 (ptk/data/alignment.py)
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock
import numpy as np

from ptk import files
from ptk.data.store import FORMAT, PARTS, Store, check, token_type
from ptk.data.tokenizer import Tokenizer
from ptk.errors import DataError
from ptk.tasks.examples import IGNORE, Examples, Questions

VERSION = 1  # of what is stored of an example
BATCH = 20_000  # texts that are tokenized at once


def tokenized(examples: Examples, tokenizer: Tokenizer) -> Store:
    """The store of one split: found in the cache, waited for, or written aside and renamed when whole.

    Raises DataError for a damaged store and for a tokenizer without what words need, DiskError for a full disk.
    """
    key = files.fingerprint("task store", VERSION, FORMAT, examples.fingerprint, tokenizer.fingerprint)
    folder = files.cache_folder() / "tasks" / key
    with files.disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{folder}.lock"):
            if not folder.exists():
                aside = folder.with_name(f".{key}")
                files.remove_folder(aside)
                aside.mkdir()
                write(examples, tokenizer, aside, key)
                os.rename(aside, folder)
    store = Store(folder)
    check(store, key)
    for name in store.manifest["files"].keys() & {"labels.npy", "offsets.npy"}:
        if (folder / name).stat().st_size != store.manifest["files"][name]:
            raise DataError(f"{folder}/{name}: cut short; delete {folder} to build it again")
    return store


def write(examples: Examples, tokenizer: Tokenizer, folder: Path, key: str) -> None:
    """Every part of a store (ptk/data/store.py) and what is beside it, flushed to disk; the manifest last."""
    ids, lengths, beside = parts_of(examples, tokenizer)
    sizes = np.array([len(texts) for texts in examples.texts], np.int64)
    arrays = {
        "tokens": ids,
        "sentences": np.concatenate([[0], np.cumsum(lengths)]),
        "sentence_bytes": [len(text.encode("utf-8", "surrogatepass")) for texts in examples.texts for text in texts],
        "documents": np.concatenate([[0], np.cumsum(sizes)]),
        "hashes": examples.hashes,
        "sources": np.zeros(len(examples)),
    }
    types = {name: dtype or token_type(tokenizer.vocab_size) for name, dtype in PARTS.items()}
    parts = {name: np.asarray(values, types[name]) for name, values in arrays.items()} | beside
    for name, part in parts.items():
        np.save(folder / f"{name}.npy", part)
        files.flush(folder / f"{name}.npy")
    files.write_json(
        folder / "manifest.json",
        {
            "format": FORMAT,
            "fingerprint": key,
            "tokenizer": tokenizer.fingerprint,
            "vocab_size": tokenizer.vocab_size,
            "sources": [examples.path],
            "tokens": len(ids),
            "sentences": len(lengths),
            "documents": len(examples),
            "counts": {"dropped": {}},
            "files": {f"{name}.npy": (folder / f"{name}.npy").stat().st_size for name in parts},
        },
    )


def in_memory(examples: Examples, tokenizer: Tokenizer) -> Store:
    """A store that nothing of is written: as far as rows and answers need it."""
    ids, lengths, beside = parts_of(examples, tokenizer)
    texts = [len(texts) for texts in examples.texts]
    arrays = {"tokens": ids, "sentences": np.cumsum([0, *lengths]), "documents": np.cumsum([0, *texts])}
    store = Store(Path())
    vars(store).update(arrays | beside)
    return store


def parts_of(examples: Examples, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """(ids of all texts end to end, how many each text has [texts], what lies beside them by name)."""
    if isinstance(examples, Questions):
        return of_questions(examples, tokenizer)
    return *tokens_of(examples, tokenizer), {"labels": examples.labels}


def tokens_of(examples: Examples, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """(ids of all texts end to end, how many each text has [texts])."""
    if examples.characters:
        return _of_characters(examples, tokenizer)
    if examples.tagging:
        return _of_words(examples, tokenizer)
    return _joined(_encoded([text for texts in examples.texts for text in texts], tokenizer))


def of_questions(examples: Questions, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """What ``tokens_of`` gives, and ``labels`` and ``offsets``. Each different text is tokenized once."""
    numbers: dict[str, int] = {}
    which = [numbers.setdefault(text, len(numbers)) for texts in examples.texts for text in texts]
    different = list(numbers)
    batches = range(0, len(different), BATCH)
    forms = [form for start in batches for form in tokenizer.encode_aligned(different[start : start + BATCH])]
    empty = np.array([_stands_for_nothing(tokenizer)], np.uint32), np.zeros((1, 2), np.int32)
    forms = [form if len(form[0]) else empty for form in forms]  # of characters that a model does not read
    spans = zip(examples.labels.tolist(), which[1::2], strict=True)
    labels = [_answer(start, stop, forms[context][1]) for (start, stop), context in spans]
    offsets = np.concatenate([np.empty((0, 2), np.int32), *(forms[number][1] for number in which)])
    beside = {"labels": np.array(labels, np.int64).reshape(-1, 2), "offsets": offsets}
    return *_joined(forms[number][0] for number in which), beside


def _answer(start: int, stop: int, offsets: np.ndarray) -> tuple[int, int]:
    """The first and the last token that have characters of the answer; IGNORE where no token has."""
    if start < 0:
        return start, stop
    begins, ends = offsets.T
    tokens = np.flatnonzero((begins < stop) & (ends > start) & (begins < ends))
    return (int(tokens[0]), int(tokens[-1])) if len(tokens) else (IGNORE, IGNORE)


def share_inside_tokens(examples: Questions, store: Store) -> float:
    """Of the answers that are learned, the share that no run of tokens is exactly: one of them is longer."""
    learned = np.flatnonzero(store.labels[:, 0] >= 0)
    tokens = store.labels[learned] + store.sentences[2 * learned + 1][:, None]
    said = zip(store.offsets[tokens[:, 0], 0].tolist(), store.offsets[tokens[:, 1], 1].tolist(), strict=True)
    wanted = zip(learned.tolist(), examples.labels[learned].tolist(), strict=True)
    wrong = sum(
        examples.texts[number][1][start:stop].strip() != examples.texts[number][1][slice(*span)].strip()
        for (start, stop), (number, span) in zip(said, wanted, strict=True)
    )
    return wrong / max(1, len(learned))


def _encoded(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[np.ndarray]:
    for start in range(0, len(texts), BATCH):
        yield from tokenizer.encode_batch(texts[start : start + BATCH])


def _joined(rows: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    every = list(rows)
    return np.concatenate([np.empty(0, np.uint32), *every]), np.array([len(row) for row in every], np.int64)


def _of_words(examples: Examples, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Each word by itself, each different one once; behind a blank where that is how the tokenizer marks a word.

    A word of which nothing is left is the unknown token, so that each word has a token.
    """
    blank = " " if tokenizer.spec_types & {"ByteLevel", "Metaspace"} else ""
    words = [f"{blank if place else ''}{word}" for texts in examples.texts for place, word in enumerate(texts)]
    numbers: dict[str, int] = {}
    which = [numbers.setdefault(word, len(numbers)) for word in words]
    empty = np.array([_stands_for_nothing(tokenizer)], np.uint32)
    forms = [row if len(row) else empty for row in _encoded(list(numbers), tokenizer)]
    return _joined(forms[number] for number in which)


def _stands_for_nothing(tokenizer: Tokenizer) -> int:
    """The id of a word, or a sentence, without a token: the unknown token, else the end of text, else the first."""
    known = tokenizer.unk_id if tokenizer.unk_id is not None else tokenizer.end[1] if tokenizer.end else None
    return int(tokenizer.piece_ids[0]) if known is None else known


def _of_characters(examples: Examples, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Whole sentences; a token belongs to the first character that it covers and that is no blank.

    The other characters have no token: their prediction continues the one before. The first character of a sentence
    always has one.
    """
    ids: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    for start in range(0, len(examples), BATCH):
        few = examples.texts[start : start + BATCH]
        encoded = tokenizer.encode_with_offsets(["".join(characters) for characters in few])
        for characters, (row, offsets) in zip(few, encoded, strict=True):
            ids.append(row if len(row) else np.array([_stands_for_nothing(tokenizer)], np.uint32))
            lengths.append(np.bincount(_owners(characters, offsets or [(0, 1)]), minlength=len(characters)))
    return np.concatenate([np.empty(0, np.uint32), *ids]), np.concatenate([np.empty(0, np.int64), *lengths])


def _owners(characters: Sequence[str], offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """Of each token, the number of the character that it belongs to; never smaller than that of the token before."""
    text = "".join(characters)
    of_place = np.repeat(np.arange(len(characters)), [len(character) for character in characters])
    starts = []
    for start, stop in offsets:
        blanks = len(text[start:stop]) - len(text[start:stop].lstrip())
        starts.append(min(start + (blanks if start + blanks < stop else 0), len(text) - 1))
    owners = np.maximum.accumulate(of_place[starts])
    owners[0] = 0
    return owners
