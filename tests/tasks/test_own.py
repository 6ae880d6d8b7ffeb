"""Files of one's own: kind and columns guessed, said, or asked for."""

import json

import pytest

from ptk.errors import DataError, RecipeError
from ptk.recipe import TaskSpec
from ptk.tasks import prepare
from ptk.tasks.files import own


@pytest.fixture
def file(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


def guess(**spec):
    said = []
    return own.task(TaskSpec(**spec), said.append)[0], said


def test_text_and_label(file):
    path = file("mine.csv", "id,review,sentiment\n1,good,pos\n2,bad,neg\n")
    task, said = guess(data=path)
    assert (task.name, task.kind, task.metrics) == ("mine", "classification", ("accuracy",))
    assert (task.columns.text, task.columns.label) == (("review",), "sentiment")
    assert said == [
        f"{path}: text in `review`, label in `sentiment` (guessed; task.text, task.pair and task.label say otherwise)",
        f"{path}: classification, by the labels (guessed; task.kind says otherwise)",
    ]


def test_a_pair(file):
    task, _ = guess(data=file("a.jsonl", '{"premise": "a", "hypothesis": "b", "label": "x"}\n'))
    assert task.columns.text == ("premise", "hypothesis")


def test_the_recipe_says_it(file):
    path = file("a.tsv", "text\tother\tlabel\tmine\na\tb\tc\td\n")
    task, said = guess(data=path, text="other", label="mine", kind="classification")
    assert (task.columns.text, task.columns.label) == (("other",), "mine")
    assert said == []


def test_the_longest_column_and_the_only_other_one(file):
    assert guess(data=file("a.tsv", "id\tbemerkung\tlabel\n1\tein langer Satz\tx\n"))[0].columns.text == ("bemerkung",)
    assert guess(data=file("b.tsv", "text\tklasse\na\tx\n"))[0].columns.label == "klasse"


def test_columns_that_nothing_says(file):
    path = file("a.tsv", "text\tcoarse\tfine\na\tx\ty\n")
    with pytest.raises(DataError) as error:
        guess(data=path)
    assert str(error.value) == (
        f"{path}: no column of labels by its name; found: text, coarse, fine; name it with task.label; where the file "
        "has no header give task.text and task.label by number, from 0"
    )


def test_a_file_without_a_header(file):
    path = file("a.tsv", "1\tgood\n0\tbad\n1\tfine\n")
    data = prepare.read(TaskSpec(data=path, text="1", label="0", held_out=0.3), 0, lambda _: None)
    assert sum(map(len, data.splits.values())) == 3
    assert data.names == ("0", "1")


def test_scores(file):
    rows = "".join(f"text {n}\t{n % 30}\n" for n in range(60))
    assert guess(data=file("a.tsv", "text\tscore\n" + rows))[0].kind == "regression"
    assert guess(data=file("b.tsv", "text\tscore\na\t1\nb\t2.5\n"))[0].kind == "regression"
    assert guess(data=file("c.tsv", "text\tscore\na\t1\nb\t2\n"))[0].kind == "classification"
    assert guess(data=file("c.tsv", "text\tscore\na\t1\nb\t2\n"), kind="regression")[0].metrics == (
        "pearson",
        "spearman",
    )


def test_several_labels_only_when_asked(file):
    path = file("a.tsv", "text\tlabels\na\tx|y\nb\ty\nc\tx\n")
    assert guess(data=path)[0].kind == "classification"
    data = prepare.read(TaskSpec(data=path, kind="multi_label", held_out=0.3), 0, lambda _: None)
    assert data.names == ("x", "y")
    assert data.task.metrics == ("micro_f1",)


def test_choices(file):
    rows = [{"question": "q", "choices": ["a", "b", "c"], "answer": letter} for letter in "AC"]
    path = file("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    task, said = guess(data=path)
    assert (task.kind, task.recipe, task.columns.text) == ("multiple_choice", "finetune/swag", ("question",))
    assert task.labels == {"A": "0", "B": "1", "C": "2"}
    assert said == [f"{path}: multiple choice, text in `question`, choices in choices, label in `answer`"]
    path = file("a.tsv", "goal\tsol1\tsol2\tlabel\na\tb\tc\t2\nd\te\tf\t1\n")
    assert guess(data=path)[0].labels == {"1": "0", "2": "1"}


def test_words_and_tags(file):
    task, said = guess(data=file("train.txt", "A B-X\nb O\n\nc O\n"))
    assert (task.kind, task.format, task.metrics, task.recipe) == ("tagging", "columns", ("entity_f1",), "finetune/ner")
    assert said[0].endswith("train.txt: tags of entities, by the tags")
    task, _ = guess(data=file("a.conllu", "1\tA\ta\tX\tXX\t_\t0\troot\t_\t_\n"))
    assert (task.format, task.metrics, task.recipe) == ("conllu", ("accuracy",), "finetune/pos")
    task, _ = guess(data=file("a.jsonl", '{"tokens": ["a"], "pos_tags": ["X"]}\n'))
    assert (task.kind, task.columns.text, task.columns.label) == ("tagging", ("tokens",), "pos_tags")
    task, _ = guess(data=file("a.tsv", "A\tB-X\n \tO\nb\tO\n\n"), kind="tagging")
    assert task.format == "characters"
    task, _ = guess(data=file("b.tsv", "An\tX\tB-X\n\nb\tY\tO\n"), kind="tagging", label="1")
    assert task.columns.label == 1


def test_a_folder(file, tmp_path):
    for name in ("train.csv", "dev.csv", "test.csv"):
        file(name, "text,label\na,x\nb,y\n")
    found = own.task(TaskSpec(data=str(tmp_path)), lambda _: None)[1].files
    assert {split: path.name for split, path in found.items()} == {
        "train": "train.csv",
        "validation": "dev.csv",
        "test": "test.csv",
    }
    file("valid.csv", "text,label\na,x\n")
    with pytest.raises(DataError, match=r"dev.csv and valid.csv are both validation; name one of them with task.valid"):
        own.task(TaskSpec(data=str(tmp_path)), lambda _: None)


def test_nothing_to_read(file, tmp_path):
    with pytest.raises(RecipeError, match=r"task: neither name nor data; give --task NAME, or --data FILE"):
        guess()
    file("other.csv", "x")
    with pytest.raises(DataError, match=r"no train file; found other.csv; name the files with task.train"):
        guess(data=str(tmp_path))
    with pytest.raises(DataError, match=r"a.pdf: .pdf is not read; give .tsv, .csv"):
        guess(data=file("a.pdf", "x"))
