"""Prediction files: as the sites want them, with as many lines as the input, and read back as they were."""

import errno
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptk.errors import DataError, DiskError, RecipeError
from ptk.tasks import find
from ptk.tasks.examples import Examples
from ptk.tasks.prediction_reading import read
from ptk.tasks.predictions import SUBMISSION, glue_zip, over_blanks, write
from ptk.tasks.task import Columns, Task

NER = ("O", "B-PER", "I-PER", "B-LOC")


def task(kind: str, **settings: Any) -> Task:
    shared = {"name": "own", "about": "", "columns": Columns(("text",)), "metrics": ("accuracy",), "recipe": "r"}
    return Task(kind=kind, **(shared | settings))  # type: ignore[arg-type]


def examples(
    labels: Any, names: tuple[str, ...] = (), texts: Any = None, path: Any = "input.tsv", **more: Any
) -> Examples:
    labels = np.array(labels)
    texts = texts or [("text",)] * len(labels)
    return Examples(texts, labels, names, str(path), more.pop("lines", np.arange(1, len(labels) + 1)), **more)


def names_of(name: str) -> tuple[str, ...]:
    return find(name).names


@pytest.mark.parametrize(
    ("name", "split", "file", "labels", "written"),
    [
        ("cola", "test", "CoLA.tsv", [1, 0], ["1", "0"]),
        ("sst2", "test", "SST-2.tsv", [1, 0], ["1", "0"]),
        ("mrpc", "test", "MRPC.tsv", [1, 0], ["1", "0"]),
        ("qqp", "test", "QQP.tsv", [1, 0], ["1", "0"]),
        ("wnli", "test", "WNLI.tsv", [1, 0], ["1", "0"]),
        ("mnli", "test", "MNLI-m.tsv", [0, 1, 2], ["entailment", "neutral", "contradiction"]),
        ("mnli", "test_mismatched", "MNLI-mm.tsv", [2], ["contradiction"]),
        ("ax", "test", "AX.tsv", [2, 1], ["contradiction", "neutral"]),
        ("qnli", "test", "QNLI.tsv", [0, 1], ["entailment", "not_entailment"]),
        ("rte", "test", "RTE.tsv", [1, 0], ["not_entailment", "entailment"]),
        ("stsb", "test", "STS-B.tsv", [-0.4, 2.34567, 5.2], ["0.000", "2.346", "5.000"]),
    ],
)
def test_glue(name: str, split: str, file: str, labels: list, written: list[str], tmp_path: Path):
    predicted = np.array(labels)
    path = write(find(name), split, examples(np.zeros_like(predicted), names_of(name)), predicted, tmp_path / "p")
    assert path == tmp_path / "p" / file
    assert path.read_text() == "".join(["index\tprediction\n", *(f"{i}\t{value}\n" for i, value in enumerate(written))])
    found = read(find(name), path, examples(np.zeros_like(predicted), names_of(name)))
    assert found.dtype == predicted.dtype
    np.testing.assert_allclose(found, np.clip(predicted, 0, 5), atol=1e-3)


def test_the_file_s_own_label_order_does_not_matter(tmp_path: Path):
    other = ("contradiction", "entailment", "neutral")  # BERT's ids of MNLI (FT-3)
    path = write(find("mnli"), "test", examples([0, 0], other), np.array([1, 2]), tmp_path)
    assert path.read_text().split()[2:] == ["0", "entailment", "1", "neutral"]


def test_the_case_of_a_label_does_not_matter_and_others_are_refused(tmp_path: Path):
    shouted = ("CONTRADICTION", "NEUTRAL", "ENTAILMENT")
    path = write(find("mnli"), "test", examples([0, 0], shouted), np.array([0, 2]), tmp_path)
    assert path.read_text().split()[2:] == ["0", "contradiction", "1", "entailment"]
    with pytest.raises(RecipeError, match="label maybe: mnli has entailment, neutral, contradiction"):
        write(find("mnli"), "test", examples([0], ("entailment", "maybe")), np.array([0]), tmp_path)


def test_the_zip(tmp_path: Path):
    for name in ("RTE", "MNLI-m", "dev"):
        (tmp_path / f"{name}.tsv").write_text(f"index\tprediction\n0\t{name}\n")
    absent = glue_zip(tmp_path, tmp_path / "out" / "glue.zip")
    assert absent == tuple(f"{name}.tsv" for name in SUBMISSION if name not in ("RTE", "MNLI-m"))
    assert len(absent) == 9
    with zipfile.ZipFile(tmp_path / "out" / "glue.zip") as file:
        assert file.namelist() == ["MNLI-m.tsv", "RTE.tsv"]
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert file.read("RTE.tsv") == b"index\tprediction\n0\tRTE\n"


def test_wnli_is_answered_when_told(tmp_path: Path):
    assert "WNLI.tsv" not in glue_zip(tmp_path, tmp_path / "glue.zip", wnli_majority=True)
    with zipfile.ZipFile(tmp_path / "glue.zip") as file:
        lines = file.read("WNLI.tsv").decode().splitlines()
    assert lines == ["index\tprediction", *(f"{index}\t0" for index in range(146))]
    (tmp_path / "WNLI.tsv").write_text("trained")
    glue_zip(tmp_path, tmp_path / "glue.zip", wnli_majority=True)
    with zipfile.ZipFile(tmp_path / "glue.zip") as file:
        assert file.read("WNLI.tsv") == b"trained"


CONLL = "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\r\n\n\nPeter NNP I-NP I-PER\n"
CONLLU = "# text = don't\n1-2\tdon't\t_\t_\n1\tdo\tdo\tAUX\n2\tn't\tnot\tPART\n2.1\tgo\tgo\tVERB\n\n"
CHARACTERS = "## a\tb\n김\tB-PER\n \tO\n수\tI-PER\n \tO\n는\tO"


@pytest.mark.parametrize(
    ("content", "suffix", "lines", "labels", "expected"),
    [
        (
            CONLL.encode(),
            ".txt",
            [3, 4, 7],
            [3, 0, 1],
            "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG B-LOC\nrejects VBZ I-VP O O\r\n\n\nPeter NNP I-NP I-PER B-PER\n",
        ),
        (
            CONLLU.encode(),
            ".conllu",
            [3, 4],
            [1, 2],
            "# text = don't\n1-2\tdon't\t_\t_\n1\tdo\tdo\tAUX\tB-PER\n2\tn't\tnot\tPART\tI-PER\n2.1\tgo\tgo\tVERB\n\n",
        ),
        (b"one\ntwo\n", "", [1, 2], [1, 0], "one B-PER\ntwo O\n"),
        (b"\xef\xbb\xbfone O\n\xe9 O\n", ".conll", [1, 2], [1, 0], b"\xef\xbb\xbfone O B-PER\n\xe9 O O\n"),
        ("one O\nzwölf O\n".encode("utf-16"), ".txt", [1, 2], [1, 0], "one O B-PER\nzwölf O O\n".encode("utf-16")),
    ],
)
def test_tagging(content: bytes, suffix: str, lines: list[int], labels: list[int], expected: Any, tmp_path: Path):
    given = tmp_path / f"given{suffix}"
    given.write_bytes(content)
    at = np.array(lines)
    words = examples(np.zeros(len(at), int), NER, [("w",) * len(at)], given, lines=at)
    path = write(task("tagging", format="columns"), "test", words, np.array(labels), tmp_path / "out")
    assert path == tmp_path / "out" / f"test{suffix or '.txt'}"
    assert path.read_bytes() == (expected.encode() if isinstance(expected, str) else expected)
    assert path.read_bytes().count(b"\n") == content.count(b"\n")
    np.testing.assert_array_equal(read(task("tagging", format="columns"), path, words), labels)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_blanks_between_characters(tmp_path: Path):
    given = tmp_path / "ner.tsv"
    given.write_text(CHARACTERS, encoding="utf-8")
    texts = [("김", " ", "수", " ", "는")]
    written = examples(np.zeros(5, int), NER, texts, given, lines=np.arange(2, 7), characters=True)
    said = np.array([1, 2, 2, 2, 0])  # every blank goes on with what is before it
    path = write(task("tagging", format="characters"), "test", written, said, tmp_path / "out")
    assert path.read_text(encoding="utf-8") == (
        "## a\tb\n김\tB-PER\tB-PER\n \tO\tI-PER\n수\tI-PER\tI-PER\n \tO\tO\n는\tO\tO"
    )


@pytest.mark.parametrize(
    ("texts", "said", "filled"),
    [
        ([(" ", "a")], [2, 2], [0, 2]),  # nothing is before it
        ([("a", " ", " ", "b")], [1, 0, 0, 2], [1, 2, 2, 2]),
        ([("a", " ", "b")], [1, 2, 1], [1, 0, 1]),  # a new entity begins
        ([("a", " ", "b")], [3, 2, 2], [3, 0, 2]),  # of another type
        ([("a", " ")], [1, 2], [1, 0]),  # nothing comes after it
        ([("a", " "), ("b",)], [1, 2, 2], [1, 0, 2]),  # but in the next example
    ],
)
def test_over_blanks(texts: list, said: list[int], filled: list[int]):
    given = examples(np.zeros(len(said), int), NER, texts, characters=True)
    np.testing.assert_array_equal(over_blanks(given, np.array(said)), filled)


@pytest.mark.parametrize(
    ("kind", "names", "texts", "predicted", "probability", "rows"),
    [
        ("classification", ("a", "b"), None, [1, 0], [0.75, 0.5], [
            {"label": "b", "probability": 0.75}, {"label": "a", "probability": 0.5}]),
        ("classification", ("가", "나"), None, [1], None, [{"label": "나"}]),
        ("regression", (), None, [-0.25, 5.5], None, [{"score": -0.25}, {"score": 5.5}]),
        ("multi_label", ("a", "b", "c"), None, [[1, 0, 1], [0, 0, 0]], None, [{"labels": ["a", "c"]}, {"labels": []}]),
        ("multiple_choice", ("1", "2"), [("c", "x", "y")] * 2, [1, 0], [0.9, 0.6], [
            {"choice": 1, "label": "2", "probability": 0.9}, {"choice": 0, "label": "1", "probability": 0.6}]),
        ("multiple_choice", (), [("c", "x", "y")], [1], None, [{"choice": 1}]),
        ("tagging", NER, [("a", "b"), ("c",)], [1, 2, 0], None, [{"labels": ["B-PER", "I-PER"]}, {"labels": ["O"]}]),
    ],
)  # fmt: skip
def test_json_lines(kind: str, names: tuple, texts: Any, predicted: list, probability: Any, rows: list, tmp_path: Path):
    said = np.array(predicted)
    given = examples(np.zeros_like(said), names, texts or [("text",)] * len(said))
    sure = None if probability is None else np.array(probability, np.float32)
    path = write(task(kind), "validation", given, said, tmp_path, sure)
    assert path == tmp_path / "validation.jsonl"
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == rows
    assert len(rows) == len(given)
    assert "\\u" not in path.read_text(encoding="utf-8")
    np.testing.assert_array_equal(read(task(kind), path, given), said)


def test_what_the_file_calls_a_choice(tmp_path: Path):
    copa = task("multiple_choice", labels={"1": "first", "2": "second"})
    given = examples([0], ("first", "second"), [("c", "x", "y")])
    assert json.loads(write(copa, "test", given, np.array([1]), tmp_path).read_text()) == {"choice": 1, "label": "2"}


GLUE_FAULTS = [
    ("1\n0\n", ":1: the header is '1', not index<TAB>prediction"),
    ("", ":1: the header is '', not index<TAB>prediction"),
    ("index\tprediction\n0\t1\n1\t2\n", ":3: label '2' is none of not_equivalent, equivalent, 0, 1"),
    ("index\tprediction\n0\t1\n0\t1\n", ":3: index '0' comes twice"),
    ("index\tprediction\n0\t1\n2\t1\n", ":3: index '2' is not one of 0 to 1"),
    ("index\tprediction\n0\t1\n\n", ":3: index '' is not one of 0 to 1"),
    ("index\tprediction\n1\t1\n", ": no prediction for index 0 (1 missing of 2 in dev.tsv)"),
]


@pytest.mark.parametrize(("content", "message"), GLUE_FAULTS)
def test_faults_of_a_glue_file(content: str, message: str, tmp_path: Path):
    path = tmp_path / "MRPC.tsv"
    path.write_text(content)
    with pytest.raises(DataError) as raised:
        read(find("mrpc"), path, examples([0, 0], names_of("mrpc"), path="dev.tsv"))
    assert str(raised.value) == f"{path}{message}"


def test_a_glue_file_in_another_order(tmp_path: Path):
    path = tmp_path / "MRPC.tsv"
    path.write_bytes(b"\xef\xbb\xbfindex\tprediction\r\n1\tequivalent\r\n0\t0")
    assert read(find("mrpc"), path, examples([0, 0], names_of("mrpc"))).tolist() == [0, 1]


ROW_FAULTS = [
    ("classification", '{"label": "a"}\n', ": 1 predictions for the 2 examples of dev.tsv"),
    ("classification", '{"label": "a"}\nb\n', ':2: not a JSON object with "label"'),
    ("classification", '{"label": "a"}\n{"labels": []}\n', ':2: not a JSON object with "label"'),
    ("classification", '{"label": "a"}\n{"label": 3}\n', ":2: label 3 is none of a, b"),
    ("regression", '{"score": 1}\n{"score": NaN}\n', ":2: score nan is not a number"),
    ("regression", '{"score": "high"}\n{"score": 1}\n', ":1: score 'high' is not a number"),
    ("multi_label", '{"labels": ["a"]}\n{"labels": "a"}\n', ":2: \"labels\" is 'a', not a list"),
    ("multi_label", '{"labels": ["a"]}\n{"labels": ["c"]}\n', ":2: label 'c' is none of a, b"),
    ("multiple_choice", '{"choice": 1}\n{"choice": 2}\n', ":2: choice 2 is not one of 0 to 1"),
    ("multiple_choice", '{"choice": true}\n{"choice": 1}\n', ":1: choice True is not one of 0 to 1"),
    ("tagging", '{"labels": ["a", "b", "a"]}\n{"labels": ["a"]}\n', ":2: 1 labels for 3 words"),
]


@pytest.mark.parametrize(("kind", "content", "message"), ROW_FAULTS)
def test_faults_of_json_lines(kind: str, content: str, message: str, tmp_path: Path):
    path = tmp_path / "test.jsonl"
    path.write_text(content)
    given = examples([0, 0], ("a", "b"), [("c", "x", "y")] * 2, "dev.tsv")
    with pytest.raises(DataError) as raised:
        read(task(kind), path, given)
    assert str(raised.value) == f"{path}{message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("one O O\n", "{path}: 2 lines, {given} has 3; give that file with a column more, the prediction"),
        ("one O O\n\n", "{path}:2: label '' is none of O, B-PER, I-PER, B-LOC"),
        ("one O O\ntwo O X\n", "{path}:2: label 'X' is none of O, B-PER, I-PER, B-LOC"),
    ],
)
def test_faults_of_a_column_file(content: str, message: str, tmp_path: Path):
    given, path = tmp_path / "given.txt", tmp_path / "test.txt"
    given.write_text("one O\ntwo O\n")
    path.write_text(content)
    with pytest.raises(DataError) as raised:
        read(task("tagging"), path, examples([0, 0], NER, [("one", "two")], given))
    assert str(raised.value) == message.format(path=path, given=given)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(DiskError, match=r"glue\.zip: no space left"):
        glue_zip(tmp_path, tmp_path / "glue.zip")
    assert not [*tmp_path.iterdir()]


def test_as_many_predictions_as_labels(tmp_path: Path):
    with pytest.raises(ValueError, match=r"predictions \(1,\) for labels \(2,\)"):
        write(task("classification"), "test", examples([0, 0], ("a",)), np.array([0]), tmp_path)
