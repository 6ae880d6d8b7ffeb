"""More pieces for a tokenizer that is there: what is learned by hand, old ids that stay, text that gets shorter."""

import io
import json
import math
import os
import pickle
import subprocess
import sys
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import tokenizers
from tokenizers import models, pre_tokenizers

from ptk import recipe_file
from ptk.data import corpus, prepare, tokenizer_extension
from ptk.data.tokenizer import Tokenizer, from_library, load
from ptk.data.tokenizer_extension import extend, likely, spelling
from ptk.data.tokenizer_training import train
from ptk.data.word_starts import is_punctuation
from ptk.errors import DataError, RecipeError
from ptk.progress import Talk
from ptk.recipe import CorpusSource, TokenizerSpec

ENGLISH = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "Pretraining a language model on somebody's own text (about 5 MB) takes minutes.",
    "A masked token, a random token, the same token; which one was it?",
] * 4
KOREAN = [
    "한국어 토크나이저는 음절을 자모로 풀지 않는다.",
    "러스트 프로그래밍 언어의 소유권과 빌림을 배운다.",
    "한국어 문장과 영어 sentence 를 함께 학습한다. 한국어 문장을 배운다.",
    "토크나이저는 한국어 프로그래밍 언어를 배운다, 함께 학습한다.",
] * 3
KINDS: dict[Any, int] = {"wordpiece": 200, "bpe": 400, "unigram": 220}
WANTED = 80


@pytest.fixture(scope="module")
def english() -> dict[str, Tokenizer]:
    return {kind: train(TokenizerSpec(kind=kind, vocab_size=size), ENGLISH) for kind, size in KINDS.items()}


@pytest.fixture(scope="module")
def extended(english) -> dict[str, Tokenizer]:
    return {kind: extend(tokenizer, KOREAN, WANTED) for kind, tokenizer in english.items()}


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode_batch([text])[0].tolist()


def new_pieces(tokenizer: Tokenizer) -> list[str]:
    return tokenizer.tokens(tokenizer.grown)


# --- by hand ------------------------------------------------------------------------------------------------


def by_hand(model: Any, **parts: Any) -> Tokenizer:
    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    for name, part in parts.items():
        setattr(library, name, part)
    return from_library(library, {"unk": "[UNK]"})


def test_wordpiece_joins_its_pieces():
    pieces = ["[UNK]", "un", "##ab", "##le", "x", "##a", "##b", "##l", "##e", "u", "##n"]
    old = by_hand(models.WordPiece({piece: id_ for id_, piece in enumerate(pieces)}, unk_token="[UNK]"))
    new = extend(old, ["unable unable xable"], 5)
    assert dict(zip(new_pieces(new), new.grown.values(), strict=True)) == {"##able": (2, 3), "unable": (1, 2, 3)}
    assert new.tokens(ids(new, "unable xable able")) == ["unable", "x", "##able", "[UNK]"]
    assert "the text gave 2 of 5 pieces (tokenizer.extend): it has no more that occur 2 times" in new.notes
    assert new.notes[-1] == "extended by 2 pieces: the text has 4 tokens instead of 9"


def test_wordpiece_adds_characters_where_they_are_needed():
    old = by_hand(models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2, "b": 3}, unk_token="[UNK]"))
    new = extend(old, ["c ca ab ac"], 8)
    assert dict(zip(new_pieces(new), new.grown.values(), strict=True)) == {"##c": (), "c": (), "##a": (1,)}
    assert new.unk_share(["c ca ab ac cb"]) == 0
    told = "the text has 7 tokens instead of 5, 0.0% of them unknown instead of 60.0%"
    assert new.notes[-1] == f"extended by 3 pieces: {told}"


def test_characters_beyond_half_of_the_pieces_stay_unknown_and_are_said():
    old = by_hand(models.WordPiece({"[UNK]": 0, "a": 1, "##a": 2}, unk_token="[UNK]"))
    new = extend(old, ["aa aa b b b c c d"], 2)
    assert new_pieces(new) == ["b", "aa"]
    told = "2 of 4 distinct characters (30.000% of the text, such as 'c') stay unknown"
    assert new.notes[0] == f"{told}; a larger tokenizer.extend adds them"
    assert new_pieces(extend(old, ["aa b b b c c d"], 3)) == ["b", "c", "d"]  # no pairs: characters take all


def test_bpe_appends_its_merges_behind_the_old_ones():
    table = {"a": 0, "b": 1, "c": 2, "ab": 3, "abcc": 4}
    old = by_hand(models.BPE(table, [("a", "b")]))
    new = extend(old, ["abc abc abcc abcc"], 3)
    merges = json.loads(new.spec)["model"]["merges"]
    assert merges == [["a", "b"], ["ab", "c"]]  # abc + c would be a piece that is there
    assert new.grown == {5: (3, 2)}
    assert new.tokens(ids(new, "abc ab")) == ["abc", "ab"]


def test_a_piece_that_two_pairs_spell_is_one_piece():
    table = {"a": 0, "b": 1, "c": 2, "bc": 3, "x": 4}
    old = by_hand(models.BPE(table, [("b", "c")]))
    new = extend(old, ["abcx abcx"], 9)  # a|bc|x
    assert new_pieces(new) == ["abc", "abcx"]
    assert [new.tokens(ids(new, text)) for text in ("abcx", "abc", "ab")] == [["abcx"], ["abc"], ["a", "b"]]


def test_bpe_with_ends_of_words_marks_them():
    table = {"l": 0, "o": 1, "w</w>": 2, "o</w>": 3}
    old = by_hand(models.BPE(table, [], end_of_word_suffix="</w>", unk_token=None))
    # Without merges it counts as a tokenizer of characters; one merge makes it BPE.
    with pytest.raises(RecipeError, match="has no pieces to join"):
        extend(old, ["low"], 3)
    old = by_hand(models.BPE({**table, "lo": 4}, [("l", "o")], end_of_word_suffix="</w>"))
    new = extend(old, ["low low w"], 3)
    assert dict(zip(new_pieces(new), new.grown.values(), strict=True)) == {"low</w>": (4, 2)}
    assert new.tokens(ids(new, "low")) == ["low</w>"]


def test_unigram_scores_are_log_frequencies_above_every_other_spelling():
    old = {"a": -1.0, "b": -1.0, "bc": -1.5}
    assert spelling("abc", old) == -2.5
    assert spelling("abd", old) == -math.inf
    found = likely(old, Counter({"abc": 1, "ab": 50, "d": 10}), total=100)
    assert found["ab"] == pytest.approx(math.log(0.5))
    assert found["abc"] == pytest.approx(-2.5 + 1e-3)  # its own frequency, log(0.01), is less
    assert found["d"] == pytest.approx(math.log(0.1))
    found = likely({"a": -3.0, "b": -3.0, "c": -3.0}, Counter({"abc": 1, "ab": 50}), total=100)
    assert found["abc"] == pytest.approx(math.log(0.5) - 3 + 1e-3)  # above ab and c, though it was there first


def test_unigram_pieces_are_counted_among_the_pieces_of_the_text():
    table = [("<unk>", 0.0), ("▁", -2.0), ("a", -2.0), ("b", -2.0)]
    old = by_hand(models.Unigram(table, unk_id=0), pre_tokenizer=pre_tokenizers.Metaspace())
    new = extend(old, ["ab ab", "ab ab"], 1)
    assert json.loads(new.spec)["model"]["vocab"][4:] == [["▁a", round(math.log(4 / 12), 9)]]


def test_a_text_that_is_one_word_is_learned_from_by_its_blanks():
    table = {"▁": 0, "a": 1, "b": 2, "ab": 3}
    old = by_hand(models.BPE(table, [("a", "b")]), pre_tokenizer=pre_tokenizers.Metaspace(split=False))
    assert new_pieces(extend(old, ["ab ab ab ab ab"], 9)) == ["▁ab"]


def test_a_character_that_bpe_passes_over_does_not_join_its_neighbours():
    old = by_hand(models.BPE({"a": 0, "b": 1, "c": 2, "bc": 3}, [("b", "c")]))
    new = extend(old, ["axbc axbc"], 1)  # no room for x before pairs are learned
    assert new_pieces(new) == ["x"]


# --- every kind ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_old_ids_stay_and_new_ones_begin_behind(english, extended, kind, tmp_path):
    old, new = english[kind], extended[kind]
    assert list(new.grown) == list(range(old.vocab_size, old.vocab_size + WANTED))
    assert new.vocab_size == old.vocab_size + WANTED
    assert new.tokens(range(old.vocab_size)) == old.tokens(range(old.vocab_size))
    assert new.special_ids == old.special_ids
    assert new.sentinel_ids.tolist() == old.sentinel_ids.tolist()
    assert (new.names, new.segments) == (old.names, old.segments)
    assert all(id_ < old.vocab_size for spelled in new.grown.values() for id_ in spelled)
    assert not old.grown
    assert new.fingerprint != old.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_saved_it_is_the_same_for_ptk_and_for_transformers(extended, kind, tmp_path):
    from transformers import AutoTokenizer

    new = extended[kind]
    new.save(tmp_path)
    loaded, auto = load(str(tmp_path)), AutoTokenizer.from_pretrained(tmp_path)
    assert loaded == new
    assert loaded.fingerprint == new.fingerprint
    for text in [*ENGLISH, *KOREAN]:
        assert ids(loaded, text) == ids(new, text) == auto(text, add_special_tokens=False)["input_ids"]
    for id_ in sorted(new.special_ids):
        assert auto.convert_tokens_to_ids(new.tokens([id_])[0]) == id_
        assert loaded.id_of(new.tokens([id_])[0]) == id_
    assert pickle.loads(pickle.dumps(new)).grown == new.grown


@pytest.mark.parametrize("kind", KINDS)
def test_every_new_piece_is_what_its_text_is_cut_into(extended, kind):
    new = extended[kind]
    cut = tokenizers.Tokenizer.from_str(new.spec).model.tokenize
    letters = [piece for piece in new.tokens(range(new.vocab_size)) if len(piece) == 1]
    for id_, piece in zip(new.grown, new_pieces(new), strict=True):
        if piece.startswith("##"):  # inside a word: behind a letter with which it makes nothing longer
            assert any(cut(letter + piece[2:])[-1].id == id_ for letter in letters), piece
        else:
            assert [token.id for token in cut(piece)] == [id_], piece


@pytest.mark.parametrize("kind", KINDS)
def test_text_without_a_new_piece_keeps_its_ids(english, extended, kind):
    old, new = english[kind], extended[kind]
    marked = {piece.removeprefix("##").strip("▁Ġ") for piece in new_pieces(new)}
    kept = 0
    for word in " ".join(ENGLISH).split():
        if not any(text and text in word for text in marked):
            assert ids(new, f" {word}") == ids(old, f" {word}")
            kept += 1
    assert kept > 100


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_becomes_shorter_and_known(english, extended, kind):
    old, new = english[kind], extended[kind]
    if kind != "bpe":
        assert old.unk_share(KOREAN) > 0.3
        assert new.unk_share(KOREAN) < (0.25 if kind == "wordpiece" else 0.2)  # half of the pieces are letters
        wide = extend(old, KOREAN, 400)
        assert wide.unk_share(KOREAN) == 0
        assert "0.0% of them unknown instead of" in wide.notes[-1]
    else:
        assert sum(map(len, new.encode_batch(KOREAN))) < 0.5 * sum(map(len, old.encode_batch(KOREAN)))


@pytest.mark.parametrize("text", ["  two  blanks\n\nthe end \n", KOREAN[2], "☃ 🙂 한국어\u00a0e\u0301", "러스트러스트"])
def test_bytes_round_trip(extended, text):
    assert extended["bpe"].decode(ids(extended["bpe"], text)) == text


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_decomposed_hangul_teaches_the_same_pieces(english, extended, kind):
    taken_apart = [unicodedata.normalize("NFD", text) for text in KOREAN]
    assert extend(english[kind], taken_apart, WANTED) == extended[kind]


SCRIPT = """
import sys
from ptk.data.tokenizer import load
from ptk.data.tokenizer_extension import extend
texts = open(sys.argv[2], encoding="utf-8").read().split("\\f")
print(extend(load(sys.argv[1]), texts, 80).fingerprint)
"""


def test_the_same_text_gives_the_same_bytes(english, extended, tmp_path):
    (tmp_path / "texts").write_text("\f".join(KOREAN), encoding="utf-8")
    for kind, tokenizer in english.items():
        assert extend(tokenizer, iter(KOREAN), WANTED).spec == extended[kind].spec
    english["wordpiece"].save(tmp_path / "old")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "old"), str(tmp_path / "texts")]
    environment = {**os.environ, "PYTHONHASHSEED": "3"}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert said.strip() == extended["wordpiece"].fingerprint


def test_special_tokens_never_match_text(english):
    texts = [*KOREAN, "the <extra_id_0> MODE </s> [MASK] " * 40]
    for kind, old in english.items():
        more = old.extended(["MODE", "[R]"])
        new = extend(more, texts, 120)
        assert new.special_ids == more.special_ids
        assert new.extended(["[X]"]).grown == new.grown
        assert new.tokens(range(more.vocab_size)) == more.tokens(range(more.vocab_size))
        special = new.special_ids - {new.unk_id}
        assert not special & set(ids(new, texts[-1])), kind
        assert new.encode_batch(["MODE"], special_tokens=True)[0].tolist() == [more.id_of("MODE")]
        assert not {new.tokens([id_])[0] for id_ in special} & set(new_pieces(new))
        assert not special & {id_ for spelled in new.grown.values() for id_ in spelled}


def test_unigram_joins_no_letters_with_punctuation(extended):
    for piece in new_pieces(extended["unigram"]):
        assert len({is_punctuation(char) for char in piece.strip("▁")}) == 1, piece
        assert "▁" not in piece[1:]


def test_a_long_text_is_read_in_parts(english, extended, monkeypatch):
    monkeypatch.setattr(tokenizer_extension, "CHUNK", 7)
    for kind in ("wordpiece", "bpe"):
        assert extend(english[kind], KOREAN, WANTED) == extended[kind]


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_a_character_that_was_bytes_stands_for_them(tmp_path, model_type):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(ENGLISH),
        model_writer=model,
        model_type=model_type,
        vocab_size=380,
        hard_vocab_limit=False,
        byte_fallback=True,
        minloglevel=3,
    )
    (tmp_path / "m.model").write_bytes(model.getvalue())
    old = load(str(tmp_path))
    new = extend(old, KOREAN, 300)
    at = new.id_of("한")
    assert at is not None
    assert old.tokens(new.grown[at]) == ["<0xED>", "<0x95>", "<0x9C>"]
    assert "한국어" in "".join(new_pieces(new))
    assert new.decode(ids(new, KOREAN[0])) == KOREAN[0]
    assert len(ids(new, KOREAN[0])) < 0.3 * len(ids(old, KOREAN[0]))
    assert [ids(new, text) == ids(old, text) for text in ENGLISH] == [True] * len(ENGLISH)


# --- refusals, recipes, the cache ---------------------------------------------------------------------------


def test_nothing_to_join_and_nothing_to_learn_from(english):
    char = train(TokenizerSpec(kind="char", vocab_size=60), ENGLISH)
    with pytest.raises(RecipeError, match=r"tokenizer.extend: a char tokenizer has no pieces to join; give"):
        extend(char, KOREAN, 10)
    with pytest.raises(RecipeError, match="a word tokenizer has no pieces"):
        extend(by_hand(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]")), KOREAN, 10)
    for kind, tokenizer in english.items():
        assert extend(tokenizer, ["a"], 10).grown == {}, kind
        with pytest.raises(DataError, match=r"no text .* check corpus.path"):
            extend(tokenizer, ["", ""], 10)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{extend: 40}", r"tokenizer.extend: adds to a tokenizer that is there; name it with tokenizer.path"),
        ("{kind: bpe, extend: 40}", r"tokenizer.(extend|kind) is given too"),
        ("{path: x, extend: 0}", r"tokenizer.extend: 0 is out of range; it must be at least 1"),
    ],
)
def test_a_recipe_that_extends_nothing_is_told(tiny, section, message):
    with pytest.raises(RecipeError, match=message):
        recipe_file.load(str(tiny(tokenizer=section)))


def test_a_recipe_that_extends(tiny):
    path = tiny(tokenizer="{path: some/where, extend: 40}")
    assert recipe_file.load(str(path)).recipe.tokenizer.extend == 40
    trained = recipe_file.load(str(path), ["tokenizer.kind=bpe"]).recipe.tokenizer
    assert (trained.path, trained.extend) == (None, None)  # kind takes path away, and what belongs to it


def test_learned_once_and_said(english, tmp_path, monkeypatch, capsys):
    english["wordpiece"].save(tmp_path / "old")
    (tmp_path / "ko.txt").write_text("\n".join(KOREAN), encoding="utf-8")
    spec = TokenizerSpec(path=str(tmp_path / "old"), extend=WANTED, special_tokens=("[R]",))
    text = corpus.open_corpus((CorpusSource(path=str(tmp_path / "ko.txt")),))
    new = prepare.load_or_train(spec, text, Talk())
    said = capsys.readouterr().err
    assert "extending a wordpiece tokenizer of" in said
    assert "tokens instead of" in said
    assert new.id_of("[R]") == min(new.grown) - 1
    monkeypatch.setattr(prepare, "extend", None)
    again = prepare.load_or_train(spec, text, Talk())
    assert (again, again.grown) == (new, new.grown)
    assert len(again.grown) == WANTED
    assert capsys.readouterr().err == ""
    with pytest.raises(TypeError):  # another number of pieces is another tokenizer
        prepare.load_or_train(replace(spec, extend=WANTED - 1), text, Talk(quiet=True))


@pytest.mark.real_data
def test_korean_documentation(real_data: Path, english):
    texts = [path.read_text(encoding="utf-8") for path in sorted(real_data.glob("text_ko_hfcourse/**/*.mdx"))]
    assert texts
    for old in english.values():
        new = extend(old, texts, 2000)
        assert len(new.grown) == 2000
        assert new.unk_share(texts) < 0.01
        used = set(np.concatenate(new.encode_batch(texts)).tolist())
        assert len(used & new.grown.keys()) > 0.9 * 2000  # the others are steps to longer ones
