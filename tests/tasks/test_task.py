"""The entries: looked up by name, listed, and enough by themselves to make a task."""

import pytest

from ptk import tasks
from ptk.errors import RecipeError
from ptk.recipe import TaskSpec
from ptk.tasks import prepare, scores
from ptk.tasks.task import Columns, Task

GLUE = ["ax", "cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb", "wnli"]
OTHERS = "snli scitail ner conll2003 wnut17 wikigold sec klue-ner pos ud ud-xpos ud-ko swag hellaswag codah copa race "
OTHERS += "kobest-copa kobest-hellaswag klue-nli klue-sts klue-tc nsmc question-pairs hate-speech banking77 "
OTHERS += "squad squad2 korquad"


def test_names():
    assert set(GLUE) | set(OTHERS.split()) <= set(tasks.names())


def test_aliases():
    assert tasks.find("ner").name == "conll2003"
    assert tasks.find("pos").name == "ud"


def test_an_unknown_name():
    with pytest.raises(RecipeError) as error:
        tasks.find("mrcp")
    assert (
        str(error.value) == "task mrcp: no such task; did you mean mrpc? `ptk finetune --task list` prints all of them"
    )


def test_listed():
    lines = list(tasks.listed())
    assert len(lines) == len(tasks.entries())
    assert any(line.split()[:2] == ["mrpc", "classification"] for line in lines)
    assert any(line.startswith("conll2003 (ner) ") for line in lines)


@pytest.mark.parametrize("name", tasks.entries())
def test_every_entry_is_whole(name):
    task = tasks.find(name)
    columns = task.columns
    assert task.about
    assert "\n" not in task.about
    assert task.builtin or {"train", "validation", "test"} & task.files.keys()
    assert bool(columns.choices) == (task.kind == "multiple_choice")
    known = {*scores._METRICS, "entity_f1", "entity_macro_f1", "character_macro_f1"}
    assert set(task.metrics) <= ({"exact_match", "f1"} if task.kind == "answering" else known)
    assert (task.rule is not None) == (task.kind == "answering")
    assert len(task.values) == len(task.names)
    assert all(task.labels[value] == name for value, name in zip(task.values, task.names, strict=True))


def test_labels_have_the_names_of_the_field():
    """So that heads transfer by name, whatever the order of the source (FT-3)."""
    assert tasks.find("mnli").names == tasks.find("snli").names == ("entailment", "neutral", "contradiction")
    assert tasks.find("rte").names == tasks.find("qnli").names == ("entailment", "not_entailment")
    assert tasks.find("wnli").names == ("not_entailment", "entailment")
    assert tasks.find("mrpc").values == ("0", "1")
    assert tasks.find("question-pairs").labels == {"0": "duplicate", "1": "not_duplicate"}  # the reverse of qqp
    assert tasks.find("qqp").labels == {"0": "not_duplicate", "1": "duplicate"}


def test_prediction_files():
    """GLUE-3."""
    written = {name: dict(tasks.find(name).predictions) for name in GLUE}
    assert written["sst2"] == {"test": "SST-2.tsv"}
    assert written["ax"] == {"test": "AX.tsv"}
    assert written["mnli"] == {"test": "MNLI-m.tsv", "test_mismatched": "MNLI-mm.tsv", "diagnostic": "AX.tsv"}


def test_a_task_is_one_entry_of_data(tmp_path, monkeypatch):
    entry = Task(
        name="fruit",
        about="which fruit?",
        kind="classification",
        columns=Columns(("what",), "which"),
        metrics=("accuracy",),
        recipe="finetune/glue",
        files={"train": ("train.tsv",), "validation": ("dev.tsv",)},
        labels={"a": "apple", "p": "pear"},
    )
    monkeypatch.setattr(tasks, "entries", lambda: {"fruit": entry})
    (tmp_path / "train.tsv").write_text("which\twhat\np\tgreen\na\tred\n")
    (tmp_path / "dev.tsv").write_text("what\twhich\nyellow\tp\n")
    data = prepare.read(TaskSpec(name="fruit", data=str(tmp_path)), 0, lambda _: None)
    assert data.names == ("apple", "pear")
    assert data.splits["train"].texts == [("green",), ("red",)]
    assert data.splits["train"].labels.tolist() == [1, 0]
    assert data.splits["validation"].labels.tolist() == [1]
