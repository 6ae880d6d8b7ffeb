"""Tables to texts and values: every trap of the formats, in files written by hand."""

import gzip

import pyarrow as pa
import pytest
from pyarrow import parquet

from ptk import tasks
from ptk.errors import DataError
from ptk.tasks.files.reading import read_file
from ptk.tasks.task import Columns, Task

PLAIN = Task(
    name="plain",
    about="",
    kind="classification",
    columns=Columns(("text",), "label"),
    metrics=("accuracy",),
    recipe="finetune/glue",
)
CHOICE = Task(
    name="choice",
    about="",
    kind="multiple_choice",
    columns=Columns(("ctx",), "label", ("a", "b", "c")),
    metrics=("accuracy",),
    recipe="finetune/swag",
)


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def read(path, task=PLAIN, encoding=None, needs_labels=True):
    return read_file(task, path, encoding, needs_labels)


def test_a_quote_is_a_character_of_a_tsv(file):
    """GLUE-1."""
    raw = read(file("a.tsv", 'text\tlabel\n"open\t1\nno "quote" " here\t0\nclosed"\t1\n'))
    assert raw.texts == [('"open',), ('no "quote" " here',), ('closed"',)]
    assert raw.values == ["1", "0", "1"]
    assert raw.lines == [2, 3, 4]


def test_marks_and_line_ends(file):
    """A byte order mark before the first header, CRLF, and no line end at the end."""
    raw = read(file("a.tsv", b"\xef\xbb\xbftext\tlabel\r\none \t1\r\ntwo\t0"))
    assert raw.texts == [("one",), ("two",)]
    assert raw.values == ["1", "0"]


def test_nfc_and_control_characters(file):
    raw = read(file("a.tsv", "text\tlabel\ncafe\u0301\x00\x1b!\t\u1112\u1161\u11ab\n"))
    assert raw.texts == [("caf\u00e9!",)]
    assert raw.values == ["\ud55c"]


def test_a_bar_of_lines_inside_a_cell_ends_no_row(file):
    """NEL, U+2028 and VT end a line of text, never a row."""
    raw = read(file("a.tsv", "text\tlabel\none\u2028two\x85three\x0bfour\t1\n"))
    assert raw.texts == [("one\ntwo\nthree\nfour",)]


def test_cp1252_is_named_with_the_remedy(file):
    path = file("a.tsv", "text\tlabel\nfine\t1\ncaf\u00e9\t0\n".encode("cp1252"))
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == f"{path}:3: byte 0xe9 is not utf-8; it may be cp1252: task.encoding=cp1252"
    assert read(path, encoding="cp1252").texts[1] == ("caf\u00e9",)


def test_an_encoding_that_is_none(file):
    with pytest.raises(DataError, match=r"task.encoding: unknown encoding: latin-99; use a name Python knows"):
        read(file("a.tsv", "text\tlabel\na\t1\n"), encoding="latin-99")


def test_csv_cells_of_several_lines(file):
    """The line of a row is where it begins; the trailing comma of a header is a column without a name."""
    raw = read(file("a.csv", 'label,text,\r\n1,"two\nlines, and ""quotes""",\r\n\r\n0,next,\r\n'))
    assert raw.texts == [('two\nlines, and "quotes"',), ("next",)]
    assert raw.lines == [2, 5]


def test_na_and_null_are_text(file):
    raw = read(file("a.csv", "text,label\nNA,null\nnull,NA\n"))
    assert raw.texts == [("NA",), ("null",)]
    assert raw.values == ["null", "NA"]


def test_a_quotation_mark_that_stays_open(file):
    path = file("a.csv", 'text,label\nfine,1\n"open,0\nmore,1\n')
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == f"{path}:3: unexpected end of data; close the quotation mark that opens in this row"


def test_a_header_is_found_by_its_names(file):
    """CoLA: none in train and dev, one in test."""
    cola = tasks.find("cola")
    raw = read(file("train.tsv", "gj04\t1\t\tFirst one.\nbc81\t0\t*\tSecond one.\n"), cola)
    assert raw.texts == [("First one.",), ("Second one.",)]
    assert raw.values == ["1", "0"]
    assert raw.lines == [1, 2]
    raw = read(file("test.tsv", "index\tsentence\n0\tFirst one.\n"), cola, needs_labels=False)
    assert raw.texts == [("First one.",)]
    assert raw.values is None
    assert raw.lines == [2]


def test_columns_of_the_official_dev_set(file):
    """The gold label of MNLI is found by its name, behind any number of annotators' labels."""
    head = "index\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label\n"
    raw = read(file("dev_matched.tsv", head + "0\tA\tB\tneutral\tentailment\tcontradiction\n"), tasks.find("mnli"))
    assert raw.texts == [("A", "B")]
    assert raw.values == ["contradiction"]


def test_more_annotators_than_the_header_says(file):
    """SNLI in GLUE's columns; examples without agreement are left out, and counted."""
    rows = "sentence1\tsentence2\tlabel1\tgold_label\nA\tB\tneutral\tentailment\n"
    rows += "C\tD\tneutral\tneutral\tentailment\tneutral\nE\tF\tneutral\t-\n"
    raw = read(file("train.tsv", rows), tasks.find("snli"))
    assert raw.values == ["entailment", "neutral"]
    assert dict(+raw.notes) == {"examples without a label of the annotators (`-`)": 1}


def test_broken_rows_of_qqp_are_left_out_and_counted(file):
    """GLUE-1: a line end inside a question breaks its row in two."""
    rows = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t1\t2\tA?\tB?\t1\n2\t3\t4\tC\nD?\tE?\t0\n"
    rows += "3\t5\t6\tF?\tG?\t0\n"
    raw = read(file("train.tsv", rows), tasks.find("qqp"))
    assert raw.texts == [("A?", "B?"), ("F?", "G?")]
    assert raw.lines == [2, 5]
    assert dict(+raw.notes) == {"rows that a line end breaks in two": 2}


def test_no_row_of_a_test_file_is_left_out(file):
    """Predictions are numbered by its rows."""
    path = file("test.tsv", "id\tquestion1\tquestion2\n0\tA?\tB?\n1\tC\nD?\tE?\n2\tF?\tG?\n")
    with pytest.raises(DataError) as error:
        read_file(tasks.find("qqp"), path, None, needs_labels=False)
    assert str(error.value) == (
        f"{path}:3: 2 cells under a header of 3 (id, question1, question2); give each row all of its cells\n"
        f"{path}:4: 2 cells under a header of 3 (id, question1, question2); give each row all of its cells"
    )


def test_a_row_of_tabs_only_is_a_fault_unless_it_ends_the_file(file):
    path = file("a.tsv", "text\tlabel\na\t1\n\t\n\nb\t0\n\t\n \n")
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == f"{path}:3: a row of empty cells; write its text, or take the line out"
    assert read(file("b.tsv", "text\tlabel\na\t1\n\nb\t0\n\t\n \n")).lines == [2, 4]


def test_ragged_rows(file):
    path = file("a.tsv", "text\tlabel\na\t1\nb\nc\t0\t9\nd\t1\n")
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}:3: 1 cells under a header of 2 (text, label); give each row all of its cells\n"
        f"{path}:4: 3 cells under a header of 2 (text, label); give each row all of its cells"
    )


def test_only_the_first_faults_are_told(file):
    path = file("a.tsv", "text\tlabel\n" + "a\n" * 7)
    with pytest.raises(DataError) as error:
        read(path)
    lines = str(error.value).splitlines()
    assert len(lines) == 4
    assert lines[-1] == "and 4 more faults of these files"


def test_a_missing_column(file):
    path = file("a.tsv", "texts\tlabel\na\t1\n")
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: no column `text`; found: texts, label. Did you mean `texts`? (task.text=texts)"
    )
    path = file("b.tsv", "text\tclass\na\t1\n")
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == f"{path}: no column `label`; found: text, class; name another with task.label"
    assert read(path, needs_labels=False).values is None


def test_a_number_that_no_column_has(file):
    path = file("train.tsv", "gj04\t1\tFirst one.\n")
    with pytest.raises(DataError) as error:
        read(path, tasks.find("cola"))
    assert str(error.value) == f"{path}: no column `3`; found: 3 columns without a header; name another with task.text"


@pytest.mark.parametrize("content", ["", "text\tlabel\n", "\n\n"])
def test_an_empty_file(file, content):
    path = file("a.tsv", content)
    with pytest.raises(DataError, match=r"a\.tsv: no examples; "):
        read(path)


def test_a_file_whose_labels_say_that_there_are_none(file):
    assert read(file("a.tsv", "text\tlabel\na\t-1\nb\t-1\n")).values is None
    assert read(file("a.tsv", "text\tlabel\na\t\nb\t\n")).values is None
    assert read(file("a.tsv", "text\tlabel\na\t-1\nb\t1\n")).values == ["-1", "1"]


def test_jsonl(file):
    raw = read(
        file("a.jsonl", '{"text": "a", "label": 1}\n\n{"label": 0.0, "text": null}\n{"text": "c", "label": true}')
    )
    assert raw.texts == [("a",), ("",), ("c",)]
    assert raw.values == ["1", "0", "True"]
    assert raw.lines == [1, 3, 4]
    assert raw.notes["empty texts"] == 1


def test_a_text_that_is_none(file):
    path = file("a.jsonl", '{"text": "a", "label": 1}\n{"text": 5, "label": 0}\n')
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == f"{path}:2: `text` is 5 (int), not text; write it as text"
    path = file("b.jsonl", '{"ctx": 5, "endings": ["a", "b", "c", "d"], "label": 1}\n')
    with pytest.raises(DataError, match=r"b\.jsonl:1: `ctx` is 5 \(int\), not text"):
        read(path, tasks.find("hellaswag"))


def test_a_damaged_line_of_json(file):
    with pytest.raises(DataError, match=r"a\.jsonl:2: not JSON: Expecting ',' delimiter"):
        read(file("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b" "label": 0}\n'))
    with pytest.raises(DataError, match=r"a\.jsonl:1: 5 is not a JSON object; a line is one object"):
        read(file("a.jsonl", "5\n"))


def test_an_array_of_nested_objects(file):
    """KLUE: CRLF, ``labels.label``; the line of an example is that of its brace."""
    sts = tasks.find("klue-sts")
    one = '    {\r\n  "sentence1": "a",\r\n  "sentence2": "b",\r\n  "labels": {"label": 4.9, "binary-label": 1}\r\n }'
    path = file("klue-sts-v1.1_dev.json", f"[\r\n{one},\r\n{one.replace('4.9', '1.0')}\r\n]\r\n")
    raw = read(path, sts)
    assert raw.texts == [("a", "b"), ("a", "b")]
    assert raw.values == ["4.9", "1"]
    assert raw.lines == [2, 7]
    with pytest.raises(DataError, match=r"_dev\.json:7: not JSON: .*; the array is cut short or damaged"):
        read(file("klue-sts-v1.1_dev.json", f"[\r\n{one},\r\n{one[:50]}"), sts)


def test_json_lines_in_a_json_file(file):
    assert read(file("a.json", '{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n')).texts == [("a",), ("b",)]


def test_parquet_and_gz(tmp_path):
    parquet.write_table(pa.table({"text": ["a", "b"], "label": [1, 0]}), tmp_path / "a.parquet")
    raw = read(tmp_path / "a.parquet")
    assert (raw.texts, raw.values, raw.lines) == ([("a",), ("b",)], ["1", "0"], [1, 2])
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a", "label": 1}'))
    assert read(tmp_path / "a.jsonl.gz").texts == [("a",)]


def test_choices(file):
    """What every choice begins with stands before each of them (MC-1)."""
    head = ",video-id,sent1,sent2,ending0,ending1,ending2,ending3,label\n"
    raw = read(
        file("train.csv", head + '0,x,They sit. She,She,"goes, fast.",stays.,sings.,eats.,2\n'), tasks.find("swag")
    )
    assert raw.texts == [("They sit. She", "She goes, fast.", "She stays.", "She sings.", "She eats.")]
    assert raw.values == ["2"]


def test_a_list_of_choices_and_words_for_values(file):
    raw = read(
        file("train.jsonl", '{"ctx": "A.", "endings": ["b", "c", "d", "e"], "label": 3}\n'), tasks.find("hellaswag")
    )
    assert raw.texts == [("A.", "b", "c", "d", "e")]
    one = '{"premise": "A.", "choice1": "b", "choice2": "c", "question": "cause", "label": 1}\n'
    raw = read(file("train.jsonl", one + one.replace("cause", "effect")), tasks.find("copa"))
    assert raw.texts == [("A.", "because b", "because c"), ("A.", "so b", "so c")]


def test_choices_without_a_header(file):
    """CODAH: seven columns, of which the first may be empty."""
    raw = read(file("train.tsv", "\tIt\ta\tb\tc\td\t3\no\tHe\te\tf\tg\th\t0\n"), tasks.find("codah"))
    assert raw.texts == [("It", "a", "b", "c", "d"), ("He", "e", "f", "g", "h")]
    assert raw.values == ["3", "0"]


def test_three_endings_instead_of_four(file):
    path = file(
        "train.jsonl",
        "".join(f'{{"ctx": "A.", "endings": {e}, "label": 0}}\n' for e in ['["b","c","d","e"]', '["b","c","d"]']),
    )
    with pytest.raises(DataError) as error:
        read(path, tasks.find("hellaswag"))
    assert str(error.value) == f"{path}:2: 3 choices instead of 4; write every choice of the row"
    path = file("train.csv", "sent1,sent2,ending0,ending1,ending2,ending3,label\nA,B,c,d,e,,1\n")
    with pytest.raises(DataError) as error:
        read(path, tasks.find("swag"))
    assert str(error.value) == f"{path}:2: 3 choices instead of 4; write every choice of the row"


def test_race(tmp_path):
    folder = tmp_path / "train" / "middle"
    folder.mkdir(parents=True)
    passage = '{"article": "It rained.", "id": "x", "questions": ["It _ .", "Why?"], "answers": ["B", "A"], '
    passage += '"options": [["sun", "rain", "snow", "wind"], ["a", "b", "c", "d"]]}'
    (folder / "1.txt").write_text(passage)
    raw = read(tmp_path / "train", tasks.find("race"))
    assert raw.texts[0] == ("It rained.", "It sun .", "It rain .", "It snow .", "It wind .")
    assert raw.texts[1][1:3] == ("Why? a", "Why? b")
    assert raw.values == ["B", "A"]
    (folder / "2.txt").write_text(passage.replace(', "d"', ""))
    with pytest.raises(DataError) as error:
        read(tmp_path / "train", tasks.find("race"))
    assert str(error.value) == f"{folder}/2.txt: question 2: 3 options instead of 4; write all of them"
    (folder / "2.txt").write_text('{"article": "It rained."}')
    with pytest.raises(DataError, match=r"2\.txt: not a passage of RACE; it has article, questions, options, answers"):
        read(tmp_path / "train", tasks.find("race"))
