"""The store of labelled examples: tokens of texts, of words, of characters; cached, whole or not there."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ptk.data import rows
from ptk.data.split import documents_of
from ptk.data.store import Store
from ptk.data.tokenizer import Tokenizer
from ptk.data.tokenizer_training import train
from ptk.errors import DataError
from ptk.objectives.mlm import OBJECTIVE
from ptk.recipe import EvaluateSpec, TokenizerSpec
from ptk.tasks import store
from ptk.tasks.examples import Examples

TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "a store keeps the tokens of every word",
    "경찰 은 또 조사 했다 고 밝혔다",
] * 20
SENTENCES = [("the", "quick", "fox", "keeps", "a", "dog"), ("over", "the", "tokens", "경찰", "은", "또")]
KOREAN = [tuple("경찰은 또 the fox"), tuple("조사 했다"), ("고",)]


@pytest.fixture(scope="module", params=["wordpiece", "bpe", "unigram", "char"])
def tokenizer(request) -> Tokenizer:
    return train(TokenizerSpec(kind=request.param, vocab_size=400), TEXTS)


@pytest.fixture(scope="module")
def wordpiece() -> Tokenizer:
    return train(TokenizerSpec(kind="wordpiece", vocab_size=400), TEXTS)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PTK_CACHE", str(tmp_path))
    return tmp_path


def examples(texts, labels=None, **more) -> Examples:
    count = sum(map(len, texts)) if more else len(texts)
    labels = np.arange(count) % 3 if labels is None else labels
    return Examples(list(texts), labels, ("a", "b", "c"), "a.tsv", np.arange(1, count + 1), **more)


def texts_of(found: Store, tokenizer: Tokenizer) -> list[list[str]]:
    documents = documents_of(found, EvaluateSpec(), "all")
    every = [pairwise(documents.boundaries(piece)) for piece in range(len(documents))]
    return [[tokenizer.decode(found.tokens[start:stop]) for start, stop in bounds] for bounds in every]


def test_texts_are_sentences_of_an_example(tokenizer, cache):
    data = examples([("the quick fox", "a dog"), ("jumps", ""), ("the tokens", "of every word")])
    found = store.tokenized(data, tokenizer)
    plain = [np.concatenate(tokenizer.encode_batch(texts)) for texts in data.texts]
    assert np.concatenate(plain).tolist() == found.tokens.tolist()
    assert [text.strip() for text in texts_of(found, tokenizer)[0]] == ["the quick fox", "a dog"]
    assert found.labels.tolist() == [0, 1, 2]
    assert found.documents.tolist() == [0, 2, 4, 6]
    assert found.sentences[4] == found.sentences[3]  # the empty text has no token
    assert found.hashes.tolist() == data.hashes.tolist()
    assert found.sentence_bytes.tolist() == [13, 5, 5, 0, 10, 13]
    assert found.manifest["documents"] == 3
    assert found.manifest["vocab_size"] == tokenizer.vocab_size
    assert found.tokens.dtype == np.uint16
    assert found.sentences.dtype == found.documents.dtype == np.int64


@pytest.mark.parametrize(
    "labels", [np.array([1.5, np.nan, 3], np.float32), np.array([[0, 1], [1, 1], [0, 0]], np.int8)]
)
def test_labels_of_every_kind(wordpiece, cache, labels):
    found = store.tokenized(examples([("the",), ("fox",), ("dog",)], labels), wordpiece)
    assert found.labels.dtype == labels.dtype
    assert np.array_equal(found.labels, labels, equal_nan=labels.dtype.kind == "f")


def test_words_one_by_one_are_the_sentence(tokenizer, cache):
    """Behind a blank where the tokenizer marks words so: the same ids as the whole sentence has."""
    found = store.tokenized(examples(SENTENCES, tagging=True), tokenizer)
    whole = tokenizer.encode_batch([("" if tokenizer.kind == "char" else " ").join(words) for words in SENTENCES])
    assert found.tokens.tolist() == np.concatenate(whole).tolist()
    assert [[word.strip() for word in words] for words in texts_of(found, tokenizer)] == [list(s) for s in SENTENCES]
    assert len(found.labels) == len(found.sentences) - 1


def test_a_word_of_which_nothing_is_left(wordpiece, cache):
    found = store.tokenized(examples([("the", "", " ", "dog")], tagging=True), wordpiece)
    assert np.diff(found.sentences).min() == 1
    assert found.tokens[found.sentences[1:3]].tolist() == [wordpiece.unk_id] * 2


def test_characters(tokenizer, cache):
    """The whole sentence is tokenized; a token belongs to the first character that it covers and that is no blank."""
    found = store.tokenized(examples(KOREAN, characters=True, tagging=True), tokenizer)
    whole = tokenizer.encode_batch(["".join(characters) for characters in KOREAN])
    assert found.tokens.tolist() == np.concatenate(whole).tolist()
    assert np.diff(found.documents).tolist() == [len(characters) for characters in KOREAN]
    for characters, texts in zip(KOREAN, texts_of(found, tokenizer), strict=True):
        for place, (character, text) in enumerate(zip(characters, texts, strict=True)):
            if character == " ":
                assert not text.strip()  # only a piece that is nothing but a blank
            elif text.strip():
                assert text.strip().startswith((character, "[UNK]"))
            elif place == 0 or characters[place - 1] == " ":
                pytest.fail(f"the first character of a word has no token: {characters}, {texts}")


def test_characters_of_one_word(wordpiece, cache):
    """``the`` is one token: its first character has it, the others have none."""
    assert len(wordpiece.encode_batch(["the"])[0]) == 1
    found = store.tokenized(examples([tuple("a the"), (" ",), tuple(" fox")], characters=True, tagging=True), wordpiece)
    assert np.diff(found.sentences).tolist() == [1, 0, 1, 0, 0, 1, 1, 0, 0, 0]
    assert found.tokens[2] == wordpiece.unk_id  # the first character of a sentence always has a token


def test_found_in_the_cache(wordpiece, cache, monkeypatch):
    first = store.tokenized(examples(SENTENCES, tagging=True), wordpiece)
    monkeypatch.setattr(store, "write", lambda *_: pytest.fail("built again"))
    assert store.tokenized(examples(SENTENCES, tagging=True), wordpiece) == first
    assert first.folder.parent == cache / "tasks"


@pytest.mark.parametrize(
    "other",
    [
        examples([("the",), ("dog",)]),
        examples([("the",), ("fox",)], np.array([1, 0])),
        Examples([("the",), ("fox",)], np.arange(2), ("b", "a", "c"), "a.tsv", np.arange(2)),
    ],
)
def test_other_texts_labels_and_names_are_another_store(wordpiece, cache, other):
    first = store.tokenized(examples([("the",), ("fox",)]), wordpiece)
    assert store.tokenized(other, wordpiece).folder != first.folder


def test_a_store_that_was_stopped_is_not_there(wordpiece, cache, monkeypatch):
    def stops(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(store.files, "write_json", stops)
    with pytest.raises(KeyboardInterrupt):
        store.tokenized(examples(SENTENCES, tagging=True), wordpiece)
    monkeypatch.undo()
    os.environ["PTK_CACHE"] = str(cache)
    assert store.tokenized(examples(SENTENCES, tagging=True), wordpiece).manifest["documents"] == 2


@pytest.mark.parametrize("name", ["tokens.npy", "labels.npy"])
def test_a_damaged_store_is_refused(wordpiece, cache, name):
    found = store.tokenized(examples(SENTENCES, tagging=True), wordpiece)
    os.truncate(found.folder / name, 100)
    with pytest.raises(DataError, match=f"{name}: .*; delete {found.folder} to build it again"):
        store.tokenized(examples(SENTENCES, tagging=True), wordpiece)


def test_rows_are_made_of_it_as_of_a_corpus(wordpiece, cache):
    found = store.tokenized(examples([(text,) for text in TEXTS]), wordpiece)
    source = rows.RowSource(found, OBJECTIVE(second_segment="none"), EvaluateSpec(), 16, 0, "all")
    assert rows.rows(source, 0).lengths().sum() == found.manifest["tokens"]
