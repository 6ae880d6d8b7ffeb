"""Tagged files to words, tags and lines: columns, CoNLL-U, characters, lists; IO and IOB1 become IOB2."""

import json
from dataclasses import replace

import pytest

from ptk import tasks
from ptk.errors import DataError
from ptk.tasks.files.reading import read_file
from ptk.tasks.task import Columns

NER, UD, KLUE = (tasks.find(name) for name in ("ner", "ud", "klue-ner"))


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode())
        return path

    return write


def read(path, task=NER, needs_labels=True):
    return read_file(task, path, None, needs_labels)


def columns(*sentences, gap=" "):
    return (
        "\n\n".join("\n".join(line.replace(" ", gap) for line in sentence.split("; ")) for sentence in sentences) + "\n"
    )


def test_documents_and_sentences(file):
    """-DOCSTART- is no word; a byte order mark, two blank lines, CRLF and no line end at the end change nothing."""
    text = "\ufeff-DOCSTART- -X- O O\r\n\r\nU.N. NNP I-NP B-ORG\r\nsays VBZ I-VP O\r\n\r\n\r\nYes UH O O"
    raw = read(file("train.txt", text))
    assert raw.texts == [("U.N.", "says"), ("Yes",)]
    assert raw.values == ["B-ORG", "O", "O"]
    assert raw.lines == [3, 4, 7]


@pytest.mark.parametrize("between", [["O"], ["NN", "O"], ["a", "NN", "O"], ["a", "NN", "-", "O"]])
@pytest.mark.parametrize("gap", [" ", "\t"])
def test_two_to_five_columns(file, between, gap):
    raw = read(file("train.txt", f"The{gap}{gap.join(between)}\nBank{gap}{gap.join([*between[:-1], 'B-ORG'])}\n"))
    assert raw.texts == [("The", "Bank")]
    assert raw.values == ["O", "B-ORG"]


def test_where_there_is_a_tab_blanks_belong_to_the_word(file):
    assert read(file("train.txt", "New York\tB-LOC\n. . .\tO\n")).texts == [("New York", ". . .")]


def test_a_line_with_a_tab_alone_ends_a_sentence(file):
    """WNUT-17's train file."""
    raw = read(file("train.txt", "a\tO\n\t\nb\tO\n\t\n"))
    assert raw.texts == [("a",), ("b",)]


def test_a_word_may_begin_with_a_number_sign(file):
    assert read(file("train.txt", "#\tO\n##\tO\n#tag\tB-X\n")).texts == [("#", "##", "#tag")]


def test_io_becomes_iob2(file):
    raw = read(file("train.txt", columns("A I-PER; B I-PER; C O; D I-LOC; E I-PER", "F I-PER")))
    assert raw.values == ["B-PER", "I-PER", "O", "B-LOC", "B-PER", "B-PER"]
    assert dict(raw.notes) == {"entities began with I- (IO or IOB1), now with B- (IOB2)": 4}


def test_iob1_becomes_iob2(file):
    raw = read(file("train.txt", columns("A I-PER; B I-PER; C B-PER; D I-PER; E O; F I-LOC")))
    assert raw.values == ["B-PER", "I-PER", "B-PER", "I-PER", "O", "B-LOC"]


def test_bio_stays(file):
    """A few entities that begin with I- stay as official scorers take them, and are noted."""
    sentence = "A B-PER; B I-PER; C B-PER; D O"
    raw = read(file("train.txt", columns(*[sentence] * 20, "A O; B I-LOC")))
    assert raw.values[-1] == "I-LOC"
    assert dict(raw.notes) == {"entities begin with I- in a file of B- and I-, first in line 102": 1}


def test_a_mixture_of_bio_and_io_is_refused(file):
    """D13."""
    path = file("train.txt", columns("A B-PER; B O; C I-LOC", "D I-LOC"))
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}:3: tag `I-LOC` begins an entity, and so do I- tags for 2 of 3 entities, the others begin with B-; "
        "write all of them in one way"
    )


def test_a_tag_that_is_none(file):
    path = file("train.txt", columns("A B-PER; B PER; C O"))
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == f"{path}:2: tag `PER` is not O, B-TYPE or I-TYPE; correct it"


def test_a_ragged_row(file):
    path = file("train.txt", columns("A NN O; B O; C NN O"))
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == f"{path}:2: 2 columns instead of 3; give each word all of its columns"


def test_words_without_tags(file):
    path = file("test.txt", "A\nB\n\nC\n")
    assert read(path, needs_labels=False).values is None
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == f"{path}: one column only, so words without tags; give a tag behind each word"


def test_conllu(file):
    """Lines of ranges and of empty nodes are no words."""
    rows = ["1 From from ADP IN _ 3 case _ _", "2-3 didn't _ _ _ _ _ _ _ _", "2 did do AUX VBD _ 3 aux _ _"]
    rows += ["3 n't not PART RB _ 0 advmod _ _", "3.1 go go VERB VB _ _ _ _ _"]
    text = (
        "# sent_id = 1\n# text = # From\n" + "\n".join(row.replace(" ", "\t") for row in rows) + "\n\n# sent_id = 2\n"
    )
    text += "1\tA b\ta\tX\tXX\t_\t0\troot\t_\t_\n\n"
    raw = read(file("en_x-ud-train.conllu", text), UD)
    assert raw.texts == [("From", "did", "n't"), ("A b",)]
    assert raw.values == ["ADP", "AUX", "PART", "X"]
    assert raw.lines == [3, 5, 6, 10]
    assert read(file("en_x-ud-train.conllu", text), tasks.find("ud-xpos")).values == ["IN", "VBD", "RB", "XX"]


def test_a_short_line_of_conllu(file):
    path = file("en_x-ud-train.conllu", "1\tA\ta\tX\tXX\t_\t0\troot\t_\t_\n2\tB\tb\tX\n")
    with pytest.raises(DataError, match=r":2: 4 columns instead of 10; give each word all of its columns"):
        read(path, UD)


def test_characters(file):
    """KLUE-NER: a blank is a character, and has no label; comments are no characters, a number sign is one."""
    text = "## 주석 : ##\n## klue-ner-v1_dev_00000\t<경찰:OG> 또 #\n경\tB-OG\n찰\tI-OG\n \tO\n또\tO\n \tO\n#\tO\n\n"
    text += "## id\tx\n박\tB-PS\n\n"
    raw = read(file("klue-ner-v1.1_dev.tsv", text), KLUE)
    assert raw.characters
    assert raw.texts == [("경", "찰", " ", "또", " ", "#"), ("박",)]
    assert raw.values == ["B-OG", "I-OG", "", "O", "", "O", "B-PS"]
    assert raw.lines == [3, 4, 5, 6, 7, 8, 11]


def test_lists_of_words(file):
    rows = [{"words": ["He", "is", "27"], "ner": ["I-PER", "O", "O"]}, {"words": ["Chicago"], "ner": ["I-LOC"]}]
    task = replace(NER, columns=Columns(("words",), "ner"))
    path = file("train.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    raw = read(path, task)
    assert raw.texts == [("He", "is", "27"), ("Chicago",)]
    assert raw.values == ["B-PER", "O", "O", "B-LOC"]
    assert raw.lines == [1, 1, 1, 2]
    path = file("train.jsonl", '{"words": ["a", "b"], "ner": ["O"]}\n{"words": "a b", "ner": "O O"}\n')
    with pytest.raises(DataError) as error:
        read(path, task)
    assert str(error.value) == (
        f"{path}:1: 1 tags of 2 words; give each word a tag\n"
        f"{path}:2: `words` and `ner` are not lists; give a list of words and one of tags"
    )
