"""Sentence splitting: a partition, whatever the text, and the ends a reader would set."""

import random
import time

import pytest

from ptk.data.sentences import LONGEST_PARAGRAPH, cut_at_whitespace, document, split


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        ("", []),
        ("  ", ["  "]),
        ("One. Two? Three!", ["One.", " Two?", " Three!"]),
        ("Mr. Smith left the U.S. in 1990. He ran.", ["Mr. Smith left the U.S. in 1990.", " He ran."]),
        ("Some, e.g. cats, sleep. Dr. J. R. Roe agrees.", ["Some, e.g. cats, sleep.", " Dr. J. R. Roe agrees."]),
        ('He said, "I am here." Then he left.', ['He said, "I am here."', " Then he left."]),
        ("It is 3.5 km. 2. Next one.", ["It is 3.5 km.", " 2. Next one."]),
        ("안녕하세요. 저는 학생입니다.", ["안녕하세요.", " 저는 학생입니다."]),
        ('그는 "간다."라고 말했다. 정말요?', ['그는 "간다."라고 말했다.', " 정말요?"]),
        ("그렇다.그래서 갔다.", ["그렇다.", "그래서 갔다."]),
        ("今日は。明日も。本当？", ["今日は。", "明日も。", "本当？"]),
        ("Er kam z. B. nicht. »Wer sind Sie?« fragte K.", ["Er kam z. B. nicht.", " »Wer sind Sie?« fragte K."]),
        ("A line\ngoes on. The\nnext.  ", ["A line\ngoes on.", " The\nnext.  "]),
    ],
)
def test_split(paragraph, expected):
    assert split(paragraph) == expected


PARTS = [*"aB.?!\"'()\n 가다\t\xa0\u3000\u2009“”’。…「」ßİ́1😀", ". ", "Mr.", "e.g.", "다.", "[1]", "http://x.y/"]


def test_split_is_a_partition_of_any_text():
    rng = random.Random(0)
    for _ in range(5000):
        text = "".join(rng.choices(PARTS, k=rng.randint(1, 50)))
        sentences = split(text)
        assert "".join(sentences) == text
        assert len(sentences) == 1 or all(sentence.strip() for sentence in sentences)


def test_wide_blank_before_a_full_stop():
    assert "".join(split("Plan B\xa0. Next\u3000. 끝.")) == "Plan B\xa0. Next\u3000. 끝."  # sentencex alone panics


def test_windows_do_not_cut_sentences():
    sentence = " The quick brown fox jumps over the lazy dog near the river bank."
    assert split(sentence * 500) == [sentence] * 500
    endless = "word " * 5000
    assert split(endless) == [endless]


def test_time_is_linear_in_the_text():
    text = "“" * 100_000
    began = time.perf_counter()
    assert split(text) == [text]
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("wrapped", ("He ran.", " She\nsat.", "\n\nWe ate.", "\nYou")),
        ("paragraphs", ("He ran.", " She", "\nsat.", "\n\nWe ate.", "\nYou")),
        ("sentences", ("He ran. She", "\nsat.", "\n\nWe ate.", "\nYou")),
    ],
)
def test_document(lines, expected):
    made = document("\n  He ran. She\nsat.\n\nWe ate.\nYou \n", lines)
    assert made.sentences == expected
    assert "".join(made.sentences) == made.text


def test_long_paragraphs_are_cut_at_whitespace():
    made = document("abcd " * (LONGEST_PARAGRAPH // 2), "wrapped")
    assert len(made.sentences) == 3
    assert "".join(made.sentences) == made.text
    assert all(sentence.startswith(" abcd") for sentence in made.sentences[1:])


def test_cut_at_whitespace():
    assert list(cut_at_whitespace("aa bb cc", 5)) == ["aa bb", " cc"]
    assert list(cut_at_whitespace("aaaaaaa", 3)) == ["aaa", "aaa", "a"]
    assert list(cut_at_whitespace("", 3)) == [""]
