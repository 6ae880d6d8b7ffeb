"""The ids of remembered words are those of whole texts, bit for bit; what is not known to be so is encoded whole."""

import json
import random
import unicodedata
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library

from ptk.data import word_cache
from ptk.data.tokenizer import Tokenizer
from ptk.data.tokenizer_training import train
from ptk.data.word_cache import WordCache, words_of
from ptk.recipe import TokenizerSpec

TEXTS = [
    "The quick brown fox jumps over the lazy dog, again and again; it's (about) 5 < 6 & 7 = 7.",
    "한국어 토크나이저는 음절을 자모로 풀지 않는다. 한국어 문장과 영어 sentence 를 함께, 학습한다!",
    "Déjà vu: the fox reads 東京 and हिन्दी की, “and” costs $5 + $6 = $11 — or €12…",
] * 3
SIZES: dict[Any, int] = {"wordpiece": 400, "bpe": 400, "unigram": 300}
BLANKS = list("     \t\n\r\n") + list("\x0b\x0c\x1c\x1f\x85\xa0\u1680\u180e\u2000\u2028\u2029\u3000")
UNSEEN = list("\0\x07\x7f\xad\u0600\u200b\u200d\u2581\ufe0f\ufeff\ufffd\uffff")
MARKS = list("<>=<>=.,!'\"-_[]|^`~#$") + list("“”’—…。，「」")
COMBINING = list("\u0338\u0338\u0301\u0327\u0345\u093c\u11ab\u1161\u20d0\u3099\U0001f3fd")
LETTERS = list("aAzZ019éİßſςΣ²½①٣ªﬁ가각힣한ᄒㄱ日か漢\uf900\U00020000\u0958\u0d4e👩🙂€")
WORDS = ["'s", "'ll", "n't", "[MASK]", "<|endoftext|>", "</s>", "[UNK]", "##", "x" * 150, "x" * 201, "한국어", "The"]
WORDS += [unicodedata.normalize("NFD", "한국어 é")]
ALPHABET = [*BLANKS, *UNSEEN, *MARKS, *COMBINING, *LETTERS, *WORDS]


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    cased = {kind: train(TokenizerSpec(kind=kind, vocab_size=size), TEXTS) for kind, size in SIZES.items()}
    lower: Any = {"wordpiece": 300, "unigram": 300}
    return cased | {
        f"{kind}, lowercase": train(TokenizerSpec(kind=kind, vocab_size=size, lowercase=True), TEXTS)
        for kind, size in lower.items()
    }


@pytest.fixture(autouse=True)
def every_text_is_cut(monkeypatch):
    monkeypatch.setattr(word_cache, "NEW", 2)


def cached(tokenizer: Tokenizer) -> WordCache:
    cache = tokenizer._words
    assert cache is not None
    cache.pause = 0
    return cache


def texts_differ(tokenizer: Tokenizer, texts: list[str]) -> list[str]:
    """Texts whose ids are others when they are put together from words."""
    found = cached(tokenizer).encode(texts)
    assert found is not None
    ids, lengths = found
    assert (ids.dtype, lengths.dtype, len(ids)) == (np.uint32, np.int64, lengths.sum())
    each = np.split(ids, np.cumsum(lengths)[:-1])
    whole = tokenizer.encode_batch(texts)
    return [ascii(text) for text, a, b in zip(texts, each, whole, strict=True) if a.tolist() != b.tolist()]


KINDS = [*SIZES, "wordpiece, lowercase", "unigram, lowercase"]


@pytest.mark.parametrize("kind", KINDS)
def test_random_strings_of_nasty_characters(trained, kind):
    rng = random.Random(0)
    long = ["".join(rng.choices(ALPHABET, k=rng.randrange(20))) for _ in range(4000)]
    few = ["".join(rng.choices(rng.sample(ALPHABET, 4), k=rng.randrange(9))) for _ in range(4000)]
    assert texts_differ(trained[kind], [*long, *few, *TEXTS]) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["a{}b", "a{} b", "a{}  b", " {}a", "  {} a", "a<{}", "<\0{}", "{}.", "'{}t"])
def test_every_kind_of_character_beside_every_kind_of_cut(trained, kind, form):
    """All blanks, controls and marks of Unicode, and a sample of the rest."""
    everything = [chr(code) for code in range(0x3200) if not 0xD800 <= code < 0xE000]
    special = [char for char in everything if unicodedata.category(char)[0] in "ZCM"]
    assert texts_differ(trained[kind], [form.format(char) for char in [*special, *everything[::7]]]) == []


def test_bytes_are_cut_only_where_the_pre_tokenizer_cuts():
    """Pre-tokens, as ids are the same on both sides of a wrong cut over which nothing was merged."""
    pre_tokens = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    rng = random.Random(0)
    texts = ["".join(rng.choices(ALPHABET, k=rng.randrange(15))) for _ in range(10_000)]
    texts += ["".join(rng.choices(rng.sample(ALPHABET, 4), k=rng.randrange(9))) for _ in range(20_000)]
    texts += [form.format(chr(code)) for code in range(0x3200) for form in ("a{}  b", "a {} b", "{}.", "a{}\n")]
    for text in texts:
        words = word_cache.WORDS_WITH_BLANKS.findall(text)
        assert "".join(words) == text
        cut = [token for word in words for token, _ in pre_tokens(word)]
        assert cut == [token for token, _ in pre_tokens(text)], ascii(text)


def test_what_is_known(trained):
    patterns = {kind: words_of(json.loads(tokenizer.spec)) for kind, tokenizer in trained.items()}
    assert all(patterns.values())
    assert train(TokenizerSpec(kind="char", vocab_size=90), TEXTS)._words is None
    assert train(TokenizerSpec(kind="bpe", vocab_size=400, lowercase=True), TEXTS)._words is None


def changed(tokenizer: Tokenizer, **parts: Any) -> Tokenizer:
    library = Library.from_str(tokenizer.spec)
    for name, part in parts.items():
        setattr(library, name, part)
    return Tokenizer(library.to_str(), tokenizer.names)


def test_other_components_are_encoded_whole(trained):
    """Each of these gives other ids when words are cut first, or is not known not to."""
    bpe, wordpiece, unigram = (trained[kind] for kind in ("bpe", "wordpiece", "unigram"))
    others = [
        changed(bpe, pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)),
        changed(bpe, pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)),
        changed(bpe, normalizer=normalizers.NFKC()),
        changed(wordpiece, normalizer=normalizers.Replace(" ", "")),
        changed(wordpiece, pre_tokenizer=pre_tokenizers.WhitespaceSplit()),
        changed(unigram, pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first")),
        changed(unigram, pre_tokenizer=pre_tokenizers.Metaspace(split=False)),
        changed(unigram, normalizer=normalizers.Nmt()),
        changed(
            unigram, normalizer=normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
        ),
        changed(unigram, pre_tokenizer=pre_tokenizers.Metaspace(replacement="_")),
    ]
    assert [other._words for other in others] == [None] * len(others)
    library = Library.from_str(wordpiece.spec)
    library.add_tokens([AddedToken("quick brown")])
    assert Tokenizer(library.to_str(), wordpiece.names)._words is None


def test_texts_of_new_words_go_to_the_library_as_they_are(trained, monkeypatch):
    monkeypatch.setattr(word_cache, "FIRST", 0)
    monkeypatch.setattr(word_cache, "NEW", 0.5)
    rng = random.Random(0)
    texts = [" ".join(f"{rng.getrandbits(64):x}" for _ in range(20)) for _ in range(50)]
    for kind in SIZES:
        tokenizer = trained[kind]
        cache, before = cached(tokenizer), len(cached(tokenizer).ids)
        assert cache.encode(texts) is None
        assert [cache.encode(TEXTS) for _ in range(word_cache.PAUSE)] == [None] * word_cache.PAUSE
        assert len(cache.ids) == before
        ids, lengths = tokenizer.encode_joined(texts)
        assert np.array_equal(ids, np.concatenate(tokenizer.encode_batch(texts)))
        assert lengths.tolist() == list(map(len, tokenizer.encode_batch(texts)))


def test_a_text_with_the_mark_itself(trained):
    for kind in SIZES:
        texts = [f"The fox{word_cache.MARK} jumps", "again"]
        assert cached(trained[kind]).encode(texts) is None
        assert np.array_equal(trained[kind].encode_joined(texts)[0], np.concatenate(trained[kind].encode_batch(texts)))


def test_room_is_bounded(trained, monkeypatch):
    monkeypatch.setattr(word_cache, "ROOM", 50 * word_cache.ENTRY)
    rng = random.Random(0)
    cache = WordCache(trained["wordpiece"].spec, words_of(json.loads(trained["wordpiece"].spec)))  # type: ignore[arg-type]
    for _ in range(20):
        texts = [" ".join(f"w{rng.randrange(10**6)}" for _ in range(30)), *TEXTS]
        found = cache.encode(texts)
        assert found is not None
        assert np.array_equal(found[0], np.concatenate(trained["wordpiece"].encode_batch(texts)))
        assert len(cache.ids) < 250


def test_nothing(trained):
    for tokenizer in trained.values():
        for texts in ([], [""], ["", " "]):
            ids, lengths = tokenizer.encode_joined(texts)
            assert len(lengths) == len(texts)
            assert np.array_equal(ids, np.concatenate([[], *tokenizer.encode_batch(texts)]))
