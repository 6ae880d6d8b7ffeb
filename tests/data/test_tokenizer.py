import io
import json
import pickle
import struct
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import tokenizers
from transformers import AutoTokenizer

from ptk.data.tokenizer import Tokenizer, load
from ptk.data.tokenizer_training import SENTINELS, train
from ptk.data.word_counts import alphabet
from ptk.data.word_starts import is_punctuation
from ptk.errors import DataError, RecipeError
from ptk.recipe import TokenizerSpec

ENGLISH = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "Pretraining a language model on somebody's own text (about 5 MB) takes minutes.",
    "Déjà vu: the fox reads 東京 and हिन्दी की, and costs $5 + $6 = $11.",
    "A masked token, a random token, the same token; which one was it?",
]
KOREAN = [
    "한국어 토크나이저는 음절을 자모로 풀지 않는다.",
    "러스트 프로그래밍 언어의 소유권과 빌림을 배운다.",
    "한국어 문장과 영어 sentence 를 함께 학습한다.",
]
TEXTS = [f"{line}\nline {n}" for n in range(5) for line in ENGLISH + KOREAN]
SIZES: dict[Any, int] = {"wordpiece": 500, "bpe": 500, "unigram": 400, "char": 300}
NFD = unicodedata.normalize("NFD", "한국어 음절")
WILD = [
    "",
    "   ",
    "The\tquick\r\nbrown\u00a0fox\u3000jumps",
    "a\x00b\ufffdc\x07d\u200de\u00adf",
    "東京の fox を 읽는다 \U00020000\uf900",
    '"$+<=>^`|~" don\'t (a)-[b]_{c} …「x」 ¿que?',
    "हिन्दी Déjà VU ÅNGSTRÖM İstanbul e\u0301 ﬁ Straße",
    NFD,
    "한국어 토크나이저",
    "🙂 fox🙂dog 👩\u200d👩 ☃",
    "x" * 150 + " " + "x" * 201,
    "[MASK] <|endoftext|> </s> <extra_id_0>",
]


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    return {kind: train(TokenizerSpec(kind=kind, vocab_size=size), iter(TEXTS)) for kind, size in SIZES.items()}


@pytest.fixture(scope="module")
def uncased() -> Tokenizer:
    return train(TokenizerSpec(kind="wordpiece", vocab_size=500, lowercase=True), TEXTS)


# --- TOK-1 to TOK-3, beside a reference written from the rules ---------------------------------------------

IDEOGRAPHS = [
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
]


def reference_words(text: str, lowercase: bool) -> list[str]:
    out = ""
    for char in text:
        category = unicodedata.category(char)
        if char in " \t\n\r" or category == "Zs":
            out += " "
        elif char in "\0\ufffd" or category in ("Cc", "Cf"):
            continue
        elif any(low <= ord(char) <= high for low, high in IDEOGRAPHS):
            out += f" {char} "
        else:
            out += char
    words = []
    for word in out.split():
        if lowercase:
            word = unicodedata.normalize("NFD", word.lower())
            word = "".join(char for char in word if unicodedata.category(char) != "Mn")
        piece = ""
        for char in unicodedata.normalize("NFC", word):
            punctuation = char in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" or unicodedata.category(char)[0] == "P"
            words += [piece, char] if punctuation else []
            piece = "" if punctuation else piece + char
        words.append(piece)
    return [word for word in words if word]


def reference_pieces(words: list[str], vocabulary: dict[str, int]) -> list[str]:
    result = []
    for word in words:
        pieces, start = [], 0
        while start < len(word) and len(word) <= 200:
            candidates = (("##" if start else "") + word[start:end] for end in range(len(word), start, -1))
            piece = next((c for c in candidates if c in vocabulary), None)
            if piece is None:
                break
            pieces.append(piece)
            start += len(piece) - 2 * (start > 0)
        result += pieces if pieces and start == len(word) else ["[UNK]"]
    return result


@pytest.mark.parametrize("text", [*WILD, *TEXTS[:7]])
@pytest.mark.parametrize("lowercase", [False, True])
def test_wordpiece_follows_bert(trained, uncased, text, lowercase):
    tokenizer = uncased if lowercase else trained["wordpiece"]
    vocabulary = {piece: id_ for id_, piece in enumerate(tokenizer.tokens(range(tokenizer.vocab_size)))}
    expected = reference_pieces(reference_words(text, lowercase), vocabulary)
    assert tokenizer.tokens(tokenizer.encode_batch([text])[0]) == expected


def test_word_limit_is_200_letters(trained):
    whole, cut = trained["wordpiece"].encode_batch(["x" * 200, "x" * 201])
    assert trained["wordpiece"].unk_id not in whole
    assert cut.tolist() == [trained["wordpiece"].unk_id]


def test_lowercasing_keeps_hangul_and_takes_other_accents_off(uncased):
    words = uncased.decode(uncased.encode_batch(["Déjà " + NFD])[0])
    assert words == "deja 한국어 음절"


def test_punctuation_is_berts():
    assert [char for char in map(chr, range(33, 127)) if is_punctuation(char)] == list(
        "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    )
    assert is_punctuation("。")
    assert not is_punctuation("€")


# --- training -----------------------------------------------------------------------------------------------


def test_layouts(trained):
    wordpiece, bpe, unigram, char = (trained[kind] for kind in SIZES)
    assert wordpiece.tokens(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert bpe.tokens(range(2)) == ["<|endoftext|>", "<pad>"]
    assert (bpe.bos_id, bpe.eos_id, bpe.pad_id, bpe.unk_id) == (0, 0, 1, None)
    assert unigram.tokens(range(6)) == ["<pad>", "</s>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    assert unigram.tokens(range(unigram.vocab_size - 100, unigram.vocab_size)) == SENTINELS
    assert unigram.tokens([unigram.vocab_size - 1]) == ["<extra_id_0>"]
    assert char.tokens(range(3, char.vocab_size)) == sorted({char for text in TEXTS for char in text})
    assert [len(trained[kind].special_ids) for kind in SIZES] == [5, 2, 106, 3]
    assert {kind: tokenizer.kind for kind, tokenizer in trained.items()} == {kind: kind for kind in SIZES}


def test_vocabulary_size_is_met_or_the_reason_said(trained):
    for kind in ("wordpiece", "bpe", "unigram"):
        tokenizer = trained[kind]
        assert tokenizer.vocab_size == SIZES[kind] or "entries" in " ".join(tokenizer.notes)
    small = train(TokenizerSpec(kind="wordpiece", vocab_size=5000), TEXTS)
    assert f"the text gave {small.vocab_size} of 5000 entries" in small.notes[-1]


SCRIPT = """
import sys
from ptk.data.tokenizer_training import train
from ptk.recipe import TokenizerSpec
texts = open(sys.argv[1], encoding="utf-8").read().split("\\f")
for kind, size in {sizes}.items():
    print(train(TokenizerSpec(kind=kind, vocab_size=size), texts).fingerprint)
"""


def test_training_is_deterministic(trained, tmp_path):
    (tmp_path / "texts").write_text("\f".join(TEXTS), encoding="utf-8")
    command = [sys.executable, "-c", SCRIPT.format(sizes=SIZES), str(tmp_path / "texts")]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    expected = [tokenizer.fingerprint for tokenizer in trained.values()]
    assert [run.split() for run in runs] == [expected, expected]


def test_no_syllable_is_lost_while_the_vocabulary_has_room():
    syllables = [chr(code) for code in range(0xAC00, 0xAC00 + 2400)]  # each seen once, beside much English
    texts = [*ENGLISH * 300, " ".join(a + b for a, b in zip(syllables[::2], syllables[1::2], strict=True))]
    for kind in ("wordpiece", "unigram"):
        tokenizer = train(TokenizerSpec(kind=kind, vocab_size=8192), texts)
        assert tokenizer.unk_share(texts) == 0, kind


def test_characters_that_do_not_fit_are_said():
    tokenizer = train(TokenizerSpec(kind="char", vocab_size=5), ["aaabbc"])
    assert tokenizer.tokens(range(5)) == ["<|endoftext|>", "<pad>", "<unk>", "a", "b"]
    assert "1 of 3 distinct characters (16.667% of the text, such as 'c')" in tokenizer.notes[0]
    assert tokenizer.unk_share(["abcc"]) == 0.5
    assert alphabet(Counter({"ab": 3, "c": 1}), 3)[:2] == (["a", "b"], ["b"])


@pytest.mark.parametrize("kind", SIZES)
def test_nothing_to_train_on(kind):
    for texts in ([], ["  ", ""] if kind != "char" else []):
        with pytest.raises(DataError, match="text to train a tokenizer on"):
            train(TokenizerSpec(kind=kind, vocab_size=400), texts)


@pytest.mark.parametrize(("kind", "size"), [("wordpiece", 5), ("bpe", 200), ("unigram", 104), ("char", 3)])
def test_no_room(kind, size):
    with pytest.raises(RecipeError, match="vocab_size"):
        train(TokenizerSpec(kind=kind, vocab_size=size), TEXTS)


# --- encoding and decoding ----------------------------------------------------------------------------------


def test_ids_are_uint32_without_specials(trained):
    for tokenizer in trained.values():
        ids = tokenizer.encode_batch(["The fox", ""])
        assert [array.dtype for array in ids] == [np.uint32, np.uint32]
        assert len(ids[1]) == 0
        assert not tokenizer.special_ids & set(ids[0].tolist())


def test_special_tokens_in_the_text_are_text(trained):
    for kind, tokenizer in trained.items():
        names = [*tokenizer.names.values(), *(SENTINELS[:1] if kind == "unigram" else [])]
        real = tokenizer.special_ids - {tokenizer.unk_id}
        for name in names:
            assert not real & set(tokenizer.encode_batch([f"a {name} b", name])[0].tolist()), (kind, name)
            read = tokenizer.encode_batch([name], special_tokens=True)[0].tolist()
            assert len(read) == 1
            assert set(read) <= tokenizer.special_ids


@pytest.mark.parametrize("text", [*WILD, *TEXTS[:3], "".join(map(chr, range(1, 900)))])
def test_bytes_round_trip(trained, text):
    bpe = trained["bpe"]
    assert bpe.decode(bpe.encode_batch([text])[0]) == text


def test_characters_round_trip(trained):
    char = trained["char"]
    for text in [*TEXTS[:7], "  two  blanks\n\nthe end \n"]:
        ids = char.encode_batch([text])[0]
        assert char.decode(ids) == text
        assert len(ids) == len(text)


def test_unigram_takes_blanks_together_and_composes_hangul(trained):
    unigram = trained["unigram"]
    ids = unigram.encode_batch(["  The\n\nquick\t ▁fox " + NFD, ""])
    assert unigram.decode(ids[0]) == "The quick fox 한국어 음절"
    assert len(ids[1]) == 0


def test_word_starts(trained):
    def starts(kind: str, text: str) -> list[str]:
        tokenizer = trained[kind]
        ids = tokenizer.encode_batch([text])[0]
        pieces = np.array(tokenizer.tokens(ids), dtype=object)
        return pieces[tokenizer.word_starts[ids]].tolist()

    text = "The fox, again (한국어)\nzebra"
    assert len(starts("wordpiece", text)) == 8
    assert [piece[0] for piece in starts("bpe", " The fox, again\nzebra")] == ["Ġ", "Ġ", ",", "Ġ", "Ċ"]
    assert [piece[0] for piece in starts("unigram", "The fox, again")] == ["▁", "▁", ",", "▁"]
    assert starts("char", "a fox, a\nb") == [" ", ",", " ", "\n"]
    for tokenizer in trained.values():
        assert tokenizer.word_starts.shape == (tokenizer.vocab_size,)
        assert tokenizer.word_starts[list(tokenizer.special_ids)].all()


def test_pickles_as_data(trained):
    for tokenizer in trained.values():
        ids = tokenizer.encode_batch(TEXTS[:2])[0].tolist()
        dumped = pickle.dumps(tokenizer)
        assert len(dumped) < 1.1 * len(tokenizer.spec.encode()) + 1000
        copy = pickle.loads(dumped)
        assert copy == tokenizer
        assert copy.encode_batch(TEXTS[:2])[0].tolist() == ids


# --- save and load ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SIZES)
def test_saved_and_loaded_is_the_same(trained, tmp_path, kind):
    tokenizer = trained[kind]
    tokenizer.save(tmp_path)
    loaded = load(str(tmp_path))
    assert loaded == tokenizer
    assert (loaded.fingerprint, loaded.kind) == (tokenizer.fingerprint, kind)
    assert loaded.special_ids == tokenizer.special_ids


def test_fingerprint_tells_ids_apart_not_templates(trained, uncased, tmp_path):
    unigram = trained["unigram"]
    unigram.save(tmp_path, around="segments")
    assert load(str(tmp_path)).fingerprint == unigram.fingerprint
    prints = {tokenizer.fingerprint for tokenizer in [*trained.values(), uncased]}
    assert len(prints) == 5


@pytest.mark.parametrize("config", [None, "BertConfig", "GPT2Config", "T5Config"])
@pytest.mark.parametrize("kind", [*SIZES, "uncased"])
def test_auto_tokenizer_agrees(trained, uncased, tmp_path, kind, config):
    import transformers

    tokenizer = uncased if kind == "uncased" else trained[kind]
    tokenizer.save(tmp_path, max_length=512)
    if config:
        getattr(transformers, config)().save_pretrained(tmp_path)
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [*WILD[:-1], *TEXTS[:7]]:  # the last one holds special tokens
        ids = tokenizer.encode_batch([text])[0].tolist()
        assert auto(text, add_special_tokens=False)["input_ids"] == ids, text
        assert auto.decode(ids) == tokenizer.decode(ids)
    for role in ("pad", "unk", "cls", "sep", "mask", "bos", "eos"):
        assert getattr(auto, f"{role}_token_id") == getattr(tokenizer, f"{role}_id")
    assert auto.model_max_length == 512
    a, b = (ids.tolist() for ids in tokenizer.encode_batch(["The fox", "한국어"]))
    pair = dict(auto("The fox", "한국어"))
    if tokenizer.segments:
        assert pair["input_ids"] == [2, *a, 3, *b, 3]
        assert pair["token_type_ids"] == [0] * (len(a) + 2) + [1] * (len(b) + 1)
        masked = auto("The [MASK] jumps")["input_ids"]
        assert masked.count(auto.mask_token_id) == 1
    else:
        assert pair["input_ids"] == ([*a, 1, *b, 1] if kind == "unigram" else a + b)
        assert "token_type_ids" not in pair


def test_segments_are_chosen_at_saving(trained, tmp_path):
    from transformers import AutoTokenizer

    trained["unigram"].save(tmp_path, around="segments")
    pair = AutoTokenizer.from_pretrained(tmp_path)("The", "fox")
    assert pair["input_ids"][0] == trained["unigram"].cls_id
    assert set(pair["token_type_ids"]) == {0, 1}
    trained["wordpiece"].save(tmp_path, around="nothing")
    bare = AutoTokenizer.from_pretrained(tmp_path)("The")
    assert "token_type_ids" not in bare
    assert bare["input_ids"] == trained["wordpiece"].encode_batch(["The"])[0].tolist()
    for kind, end in (("wordpiece", "sep_id"), ("bpe", "eos_id"), ("unigram", "eos_id"), ("char", "eos_id")):
        trained[kind].save(tmp_path, around="end")
        ids = trained[kind].encode_batch(["The"])[0].tolist()
        assert AutoTokenizer.from_pretrained(tmp_path)("The")["input_ids"] == [*ids, getattr(trained[kind], end)]
    with pytest.raises(DataError, match="no segments"):
        trained["bpe"].save(tmp_path, around="segments")


def vocab_file(folder: Path, tokens: str, **config) -> str:
    (folder / "vocab.txt").write_text("\n".join(f"[PAD] [UNK] [CLS] [SEP] [MASK] {tokens}".split()) + "\n")
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return str(folder)


def test_vocab_txt(tmp_path):
    cased = load(vocab_file(tmp_path, "The the fox ##es 한국 ##어"))
    assert (cased.kind, cased.vocab_size, cased.cls_id, cased.segments) == ("wordpiece", 11, 2, True)
    assert "cased, as entries have capitals" in cased.notes[0]
    assert [ids.tolist() for ids in cased.encode_batch(["The foxes 한국어", "FOX"])] == [
        [5, 7, 8, 9, 10],
        [1],
    ]
    uncased = load(vocab_file(tmp_path, "the fox ##es 한국 ##어 \u1112 ##\u1161"))
    assert "uncased, as no entry has capitals" in uncased.notes[0]
    assert uncased.encode_batch(["THE Fôxes"])[0].tolist() == [5, 6, 7]
    assert uncased.tokens(uncased.encode_batch(["하"])[0]) == ["\u1112", "##\u1161"]  # trained on jamo
    told = load(vocab_file(tmp_path, "the fox caf ##é 한국", do_lower_case=True, strip_accents=False))
    assert told.notes == ()
    assert told.tokens(told.encode_batch(["THE CAFÉ 한국"])[0]) == ["the", "caf", "##é", "한국"]


PROBES = [*TEXTS, *WILD, "  a  b ", "▁a ▁", "ﬁ ½ ①", "A  B   C ", " x", "\u200b", "zq☃☃ ☃", "(a) b.c"]


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"byte_fallback": True},
        {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "add_dummy_prefix": False},
        {"allow_whitespace_only_pieces": True, "remove_extra_whitespaces": False},
        {
            "pad_id": 0,
            "unk_id": 1,
            "bos_id": -1,
            "eos_id": -1,
            "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
        },
        {"user_defined_symbols": list('().-"')},
    ],
    ids=["plain", "bytes", "identity", "blanks", "albert", "symbols"],
)
def test_sentencepiece_model(tmp_path, model_type, settings):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in TEXTS for line in text.split("\n")),
        model_writer=model,
        model_type=model_type,
        vocab_size=500,
        hard_vocab_limit=False,
        minloglevel=3,
        **settings,
    )
    path = tmp_path / "spiece.model"
    path.write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    tokenizer = load(str(path))
    assert (tokenizer.kind, tokenizer.vocab_size) == (model_type, processor.vocab_size())
    assert tokenizer.unk_id == processor.unk_id()
    for text, ids in zip(PROBES, tokenizer.encode_batch(PROBES), strict=True):
        assert ids.tolist() == processor.encode(text), text
    tokenizer.save(tmp_path / "out")
    assert load(str(tmp_path / "out")) == tokenizer
    assert load(str(tmp_path)) == tokenizer


def field(number: int, content: bytes) -> bytes:
    """One length-delimited field of a protobuf message."""
    return bytes([number << 3 | 2, len(content)]) + content


def test_sentencepiece_bpe_merges_by_score_not_by_position(tmp_path):
    table = [("<unk>", 0.0, 2), ("ab", -3.0, 1), ("bc", -2.0, 1)]
    table += [(char, -5.0 - n, 1) for n, char in enumerate("▁abc")]
    pieces = [
        field(1, piece.encode()) + b"\x15" + struct.pack("<f", score) + bytes([3 << 3, type_])
        for piece, score, type_ in table
    ]
    model = b"".join(field(1, piece) for piece in pieces) + field(2, bytes([3 << 3, 2])) + field(3, b"")
    (tmp_path / "m.model").write_bytes(model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    texts = ["abc", "ab bc", "abab bcbc abcab"]
    assert [ids.tolist() for ids in load(str(tmp_path)).encode_batch(texts)] == processor.encode(texts)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", b"{}", r"tokenizer.json: not a tokenizer"),
        ("tokenizer.json", b"\xff\xfe", r"tokenizer.json: not a tokenizer"),
        ("vocab.txt", b"the\nfox\n", r"vocab.txt: no line \[UNK\]"),
        ("vocab.txt", b"[UNK]\n\xff\n", r"vocab.txt: byte 6 is not UTF-8"),
        ("m.model", b"\x0a\x7f", r"m.model: not a SentencePiece model"),
        ("m.model", b"", r"m.model: not a SentencePiece model"),
        ("m.model", b"\x80\x04\x95pickle", r"m.model: not a SentencePiece model"),
        ("notes.md", b"hello", r"holds tokenizer.json, vocab.txt or a SentencePiece .model"),
    ],
)
def test_malformed_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(str(tmp_path))


def test_malformed_configuration_is_named(trained, tmp_path):
    trained["bpe"].save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(DataError, match=r"tokenizer_config.json: not a JSON object"):
        load(str(tmp_path))


@pytest.mark.parametrize("path", ["no/such/folder", "./missing", "absent/vocab.txt", "spiece.model"])
def test_missing_path(path):
    with pytest.raises(DataError, match="no such file"):
        load(path)


def test_hub_id(trained, tmp_path, monkeypatch):
    import huggingface_hub

    trained["bpe"].save(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(tmp_path))
    assert load("somebody/bpe") == trained["bpe"]

    def offline(name, **_):
        raise OSError("no connection\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(DataError, match=r"somebody/bpe: .*\(no connection\).*give its folder"):
        load("somebody/bpe")


def test_a_vocabulary_of_word_ends_has_no_word_starts():
    model = tokenizers.models.BPE({"a": 0, "a</w>": 1}, [], end_of_word_suffix="</w>")
    tokenizer = Tokenizer(tokenizers.Tokenizer(model).to_str())
    with pytest.raises(DataError, match="word starts"):
        _ = tokenizer.word_starts


@pytest.mark.real_data
def test_korean_book(real_data):
    texts = [path.read_text(encoding="utf-8") for path in sorted(real_data.glob("text_ko_rustbook/**/*.md"))]
    assert texts
    tokenizer = train(TokenizerSpec(kind="wordpiece", vocab_size=8192), texts)
    assert tokenizer.unk_share(texts) < 1e-4
    pieces = set("".join(tokenizer.tokens(range(tokenizer.vocab_size))))
    assert not [char for char in pieces if "\u1100" <= char <= "\u11ff"]
    assert {char for text in texts for char in text if "가" <= char <= "힣"} <= pieces


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
def test_a_mask_among_words_stands_for_a_word(kind, tmp_path):
    """With the blank before it, as in training: no piece of its own is left for that."""
    texts = ["the cat sees a red house"] * 9
    trained = train(TokenizerSpec(kind=kind, vocab_size=300 if kind == "bpe" else 160), texts)
    made = trained.extended(["[CLS]", "[SEP]", "[MASK]"])
    before, cat, whole = (ids.tolist() for ids in made.encode_batch(["the", "the cat", "the cat sees a house"]))
    (masked,) = made.encode_batch(["the [MASK] sees a house"], special_tokens=True)
    expected = [*before, made.mask_id, *whole[len(cat) :]]
    assert masked.tolist() == expected
    made.save(tmp_path, around="segments")
    theirs = AutoTokenizer.from_pretrained(tmp_path)("the [MASK] sees a house")["input_ids"]
    assert theirs == [made.cls_id, *expected, made.sep_id]
    (plain,) = made.encode_batch(["the [MASK] sees"])
    assert made.mask_id not in plain
