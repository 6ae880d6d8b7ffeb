"""Ids of clean text, and where each of them is in the text as it was."""

import random
import unicodedata

import numpy as np
import pytest

from ptk.data import alignment
from ptk.data.tokenizer import Tokenizer
from ptk.data.tokenizer_training import train
from ptk.recipe import TokenizerSpec
from ptk.tasks.files.tables import clean

NFD = unicodedata.normalize("NFD", "한국어 음절은 é")
TEXTS = ["the quick brown fox jumps over it, again and again; 한국어 음절은 길다 é"] * 5
NASTY = [
    "  The\tquick\r\nbrown\u202ffox\u3000jumps \n over\x00 it\ufeff  ",
    f"fox {NFD} fox",
    "🙂 fox🙂dog 👩\u200d👩 ☃ ❤️ x",
    "x" * 150 + " fox",
    "n\u0308x o\u0327\u0301 \u212b \u0958",
    "",
    " \t ",
]
KINDS = ["wordpiece", "bpe", "unigram", "char", "uncased"]


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    made = {kind: train(TokenizerSpec(kind=kind, vocab_size=400), TEXTS) for kind in KINDS[:-1]}  # type: ignore[arg-type]
    return made | {"uncased": train(TokenizerSpec(kind="wordpiece", vocab_size=400, lowercase=True), TEXTS)}


def test_clean_text_is_that_of_all_other_text():
    letters = "ab \t\n\r\u202f\u00a0\u200b\ufeff\x00\x85\u2028é\u0301\u0327\u0308\u212b\u0958"
    letters += "한가\u11a8🙂\ufe0f\ud800\u0dcf\u0dd9" + unicodedata.normalize("NFD", "한")
    draw = random.Random(0)
    for _ in range(2000):
        text = "".join(draw.choices(letters, k=draw.randrange(12)))
        found, origins = alignment.clean(text)
        assert found == clean(text)
        assert len(origins) == len(found)
        assert (np.diff(origins[:, 0]) >= 0).all()


def test_what_each_character_stands_for():
    text = "a\r\nb \n" + unicodedata.normalize("NFD", "한é") + "\x00c"
    found, origins = alignment.clean(text)
    assert found == "a\nb\n한éc"
    parts = [text[start:stop] for start, stop in origins.tolist()]
    assert parts == ["a", "\r\n", "b", "\n", *(unicodedata.normalize("NFD", letter) for letter in "한é"), "c"]


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_clean_text(tokenizers, kind):
    tokenizer = tokenizers[kind]
    plain = tokenizer.encode_batch([clean(text) for text in NASTY])
    for (ids, offsets), wanted in zip(tokenizer.encode_aligned(NASTY), plain, strict=True):
        assert ids.tolist() == wanted.tolist()
        assert (ids.dtype, offsets.dtype, offsets.shape) == (np.uint32, np.int32, (len(ids), 2))


@pytest.mark.parametrize("kind", KINDS)
def test_every_character_is_part_of_a_token(tokenizers, kind):
    """Of all characters but blanks and those that cleaning or the model drops; no token begins or ends with a blank."""
    for text, (_, offsets) in zip(NASTY, tokenizers[kind].encode_aligned(NASTY), strict=True):
        covered = np.zeros(len(text), bool)
        for start, stop in offsets.tolist():
            covered[start:stop] = True
            assert text[start:stop] == text[start:stop].strip()
        left = "".join(np.array(list(text))[~covered]) if text else ""
        assert not left.strip(" \t\r\n\u202f\u3000\x00\ufeff\u200d"), left


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_in_decomposed_letters_is_found_whole(tokenizers, kind):
    text = NASTY[1]
    for word in (unicodedata.normalize("NFD", "한국어"), unicodedata.normalize("NFD", "é")):
        start = text.index(word)
        (_, offsets) = tokenizers[kind].encode_aligned([text])[0]
        inside = offsets[(offsets[:, 0] < start + len(word)) & (offsets[:, 1] > start)]
        assert text[inside[0, 0] : inside[-1, 1]] == word


def test_accents_that_the_model_does_not_read(tokenizers):
    text = "n\u0308 x"
    assert tokenizers["uncased"].encode_aligned([text])[0][1].tolist()[0] == [0, 2]


def test_a_token_of_blanks_is_no_part_of_text(tokenizers):
    """What begins with it begins behind the blanks, what ends with it ends before them."""
    _, offsets = tokenizers["char"].encode_aligned(["a b"])[0]
    assert offsets.tolist() == [[0, 1], [2, 1], [2, 3]]
