"""Tasks from the hub, without it: datasets made here, and the message where nothing is found."""

import datasets
import pytest

from ptk import tasks
from ptk.errors import DataError
from ptk.recipe import TaskSpec
from ptk.tasks import prepare
from ptk.tasks.files import hub


@pytest.fixture(autouse=True)
def _nothing_local(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PTK_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")


def read(name, monkeypatch, splits):
    monkeypatch.setattr(hub, "load", lambda _: splits)
    said = []
    return prepare.read(TaskSpec(name=name), 0, said.append), said


def dataset(columns, **features):
    kinds = {"string": datasets.Value("string"), "int": datasets.Value("int32")}
    made = {name: kinds.get(kind, kind) if isinstance(kind, str) else kind for name, kind in features.items()}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(made))


def test_labels_by_name(monkeypatch):
    """Whatever their order there is (FT-3); a test split of -1 has no labels."""
    label = datasets.ClassLabel(names=["equivalent", "not_equivalent"])
    texts = {"sentence1": ["a", "b"], "sentence2": ["c", "d"]}
    made = {
        split: dataset(texts | {"label": values}, sentence1="string", sentence2="string", label=label)
        for split, values in {"train": [0, 1], "validation": [1, 0], "test": [-1, -1]}.items()
    }
    data, said = read("mrpc", monkeypatch, made)
    assert data.splits["train"].texts == [("a", "c"), ("b", "d")]
    assert data.splits["train"].labels.tolist() == [1, 0]
    assert not data.splits["test"].labelled
    assert said[0] == "mrpc: no files on this machine; from the hub's nyu-mll/glue (mrpc)"


def test_choices_are_counted_from_zero_there(monkeypatch):
    label = datasets.ClassLabel(names=["alternative_1", "alternative_2"])
    columns = {
        "premise": ["a", "b"],
        "question": ["원인", "결과"],
        "alternative_1": ["c", "d"],
        "alternative_2": ["e", "f"],
    }
    made = dataset(columns | {"label": [0, 1]}, **dict.fromkeys(columns, "string"), label=label)
    data, _ = read("kobest-copa", monkeypatch, {"train": made, "validation": made})
    assert data.splits["train"].labels.tolist() == [0, 1]
    assert data.splits["train"].texts[1] == ("b", "그래서 d", "그래서 f")


def test_tags_are_ids_there(monkeypatch):
    tags = datasets.Sequence(datasets.ClassLabel(names=["O", "B-PER", "I-PER"]))
    words = datasets.Sequence(datasets.Value("string"))
    made = dataset({"tokens": [["A", "B", "c"], ["d"]], "ner_tags": [[1, 2, 0], [0]]}, tokens=words, ner_tags=tags)
    data, _ = read("ner", monkeypatch, {"train": made, "validation": made})
    assert data.names == ("O", "B-PER", "I-PER")
    assert data.splits["train"].texts == [("A", "B", "c"), ("d",)]
    assert data.splits["train"].labels.tolist() == [1, 2, 0, 0]


def test_characters_are_words_there(monkeypatch):
    tags = datasets.Sequence(datasets.ClassLabel(names=["B-PS", "I-PS", "O"]))
    words = datasets.Sequence(datasets.Value("string"))
    made = dataset({"tokens": [["박", " ", "씨"], ["a"]], "ner_tags": [[0, 2, 2], [2]]}, tokens=words, ner_tags=tags)
    data, _ = read("klue-ner", monkeypatch, {"train": made, "validation": made})
    assert data.splits["train"].characters
    assert data.splits["train"].texts == [("박", " ", "씨"), ("a",)]
    assert data.splits["train"].labels.tolist() == [1, -100, 0, 0]


def test_examples_without_agreement(monkeypatch):
    label = datasets.ClassLabel(names=["entailment", "neutral", "contradiction"])
    made = dataset(
        {"premise": list("abc"), "hypothesis": list("def"), "label": [2, -1, 0]},
        premise="string",
        hypothesis="string",
        label=label,
    )
    data, said = read("snli", monkeypatch, {"train": made, "validation": made})
    assert data.splits["train"].labels.tolist() == [2, 0]
    assert "stanfordnlp/snli train: 1 examples without a label of the annotators (`-`)" in said


def test_a_dataset_that_is_a_program(monkeypatch):
    """The hub keeps a copy in parquet."""
    asked = []

    def load_dataset(*args, **more):
        asked.append((args, more))
        if not more:
            raise RuntimeError("Dataset scripts are no longer supported, but found conll2003.py")
        return "loaded"

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert hub.load(tasks.find("ner").hub) == "loaded"
    assert asked[1] == (("eriktks/conll2003",), {"data_dir": None, "revision": "refs/convert/parquet"})

    def fails(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(RuntimeError, match="something else"):
        hub.load(tasks.find("ner").hub)


def test_found_nowhere_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    with pytest.raises(DataError) as error:
        prepare.read(TaskSpec(name="sst2"), 0, lambda _: None)
    assert str(error.value) == (
        "sst2: not found in $PTK_DATA/sst2 (not there), ./data/sst2 (not there), ./glue_data (not there), the hub's "
        f"cache ({tmp_path}/nyu-mll___glue: not there; no network: HF_HUB_OFFLINE); expected train.tsv (train), "
        "dev.tsv (validation), test.tsv (test), in it or in SST-2/ there; give the folder or file with --data"
    )


def test_the_hub_does_not_answer(monkeypatch):
    def fail(_):
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(hub, "load", fail)
    with pytest.raises(DataError, match=r"the hub's nyu-mll/glue \(sst2\) \(ConnectionError: no route\); expected"):
        prepare.read(TaskSpec(name="sst2"), 0, lambda _: None)


def test_a_task_that_the_hub_does_not_have():
    assert tasks.find("codah").hub is None
    with pytest.raises(DataError, match=r"codah: not found in \$PTK_DATA/codah \(not there\), ./data/codah"):
        prepare.read(TaskSpec(name="codah"), 0, lambda _: None)
