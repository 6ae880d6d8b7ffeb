"""Untouched public text, end to end: Korean that stays whole, encodings that are not UTF-8, many books."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from ptk import recipe_file
from ptk.data import corpus as corpora
from ptk.data import prepare
from ptk.data import tokenizer as tokenizers
from ptk.errors import DataError
from ptk.pretraining import pretrain
from ptk.progress import Talk
from ptk.recipe import CorpusSource

pytestmark = pytest.mark.real_data
QUIET = Talk(quiet=True)
SHORT = ("train.steps=3", "evaluate.examples=50", "train.precision=fp32")


@pytest.fixture(scope="module")
def korean(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "ko"
    words = [f"corpus={real_data / 'text_ko_rustbook'}", *SHORT]
    pretrain(recipe_file.load("bert-ko", words).recipe, run, talk=QUIET)
    return run


def texts(real_data: Path, name: str) -> list[str]:
    corpus = corpora.open_corpus((CorpusSource(path=str(real_data / name)),))
    return list(prepare.texts(corpus))


def test_no_hangul_syllable_is_taken_apart(korean, real_data):
    tokenizer = tokenizers.load(str(korean / "model"))
    found = [tokenizer.tokens(ids.tolist()) for ids in tokenizer.encode_batch(texts(real_data, "text_ko_rustbook"))]
    letters = {char for pieces in found for piece in pieces for char in piece}
    syllables = {char for char in letters if 0xAC00 <= ord(char) <= 0xD7A3}
    jamo = {char for char in letters if 0x1100 <= ord(char) <= 0x11FF}
    written = {c for text in texts(real_data, "text_ko_rustbook") for c in text if 0xAC00 <= ord(c) <= 0xD7A3}
    assert len(syllables) > 700
    assert jamo == set()
    assert syllables == written


def test_autotokenizer_gives_the_same_ids(korean, real_data):
    from transformers import AutoTokenizer

    ours, theirs = tokenizers.load(str(korean / "model")), AutoTokenizer.from_pretrained(korean / "model")
    for text in texts(real_data, "text_ko_rustbook")[:12]:
        for form in ("NFC", "NFD"):
            written = unicodedata.normalize(form, text[:3000])
            assert theirs(written, add_special_tokens=False)["input_ids"] == ours.encode_batch([written])[0].tolist()


def test_files_that_are_not_utf8_are_named_together_and_read_once_the_recipe_says_how(real_data, tmp_path):
    path = str(real_data / "text_en_speeches")
    with pytest.raises(DataError) as error:
        corpora.open_corpus((CorpusSource(path=path),))
    lines = str(error.value).splitlines()
    assert sum(" is not utf-8" in line for line in lines) == 7
    assert all(line.split(":")[1].isdigit() for line in lines[:7])
    assert "corpus.encoding" in lines[-1]
    words = [f"corpus={path}", "corpus.encoding=[utf-8, cp1252]", "tokenizer.vocab_size=2000", *SHORT]
    pretrain(recipe_file.load("bert-mlm-nsp", words).recipe, tmp_path / "run", talk=QUIET)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert np.isfinite(list(results["metrics"].values())).all()


def test_every_book_is_a_document_whatever_its_name(real_data):
    corpus = corpora.open_corpus((CorpusSource(path=str(real_data / "text_en_books")),))
    counts = corpora.Counts()
    documents = [document for shard in corpus.shards for document in corpora.read(corpus, shard, counts)]
    assert len(documents) == 37
    assert not any("\r" in document.text for document in documents)
    assert counts.sentences > 100_000
