"""Values of labels to ids."""

from dataclasses import replace

import numpy as np
import pytest

from ptk import tasks
from ptk.errors import DataError
from ptk.tasks.files.labelling import labelled, labels_of, several
from ptk.tasks.files.raw import Raw

MRPC, NER, STSB = (tasks.find(name) for name in ("mrpc", "ner", "stsb"))
OWN = replace(MRPC, labels={})
MANY = replace(OWN, kind="multi_label")


def raw(*values, texts=None):
    texts = texts or [("text",)] * len(values)
    return Raw("a.tsv", texts, list(values), list(range(2, len(values) + 2)))


def ids(task, *values, wanted=()):
    found = raw(*values)
    return labelled(task, found, labels_of(task, wanted, [found]))


def test_ids_are_in_the_order_of_the_task():
    assert ids(MRPC, "1", "0", "1").labels.tolist() == [1, 0, 1]
    assert ids(MRPC, "1").names == ("not_equivalent", "equivalent")
    assert ids(MRPC, "equivalent", "0").labels.tolist() == [1, 0]  # a name says it too


def test_choices_counted_from_one():
    """KoBEST COPA: 1 and 2 are the first and the second, and 0 is a fault."""
    copa = tasks.find("kobest-copa")
    assert ids(copa, "1", "2").labels.tolist() == [0, 1]
    with pytest.raises(DataError, match=r"a.tsv:3: label `0` is none of 1 \(0\), 2 \(1\); correct it"):
        ids(copa, "1", "0")


def test_a_label_outside_the_set():
    """D11: by line, all of them counted."""
    with pytest.raises(DataError) as error:
        ids(MRPC, "1", "-1", "2.5", "", "x", "y")
    assert str(error.value) == (
        "a.tsv:3: label `-1` is none of 0 (not_equivalent), 1 (equivalent); correct it, or name the labels with "
        "task.labels\n"
        "a.tsv:4: label `2.5` is none of 0 (not_equivalent), 1 (equivalent); correct it, or name the labels with "
        "task.labels\n"
        "a.tsv:5: no label; give one of 0 (not_equivalent), 1 (equivalent); correct it, or name the labels with "
        "task.labels\n"
        "and 2 more faults of these files"
    )


def test_labels_of_all_files_in_order():
    """TAG-1: those of validation and test too; numbers by size."""
    labels = labels_of(OWN, (), [raw("10", "9"), raw("2"), Raw("test.tsv", [("a",)], None, [1])])
    assert labels.names == ("2", "9", "10")
    assert labels_of(OWN, (), [raw("b", "a", "B")]).names == ("B", "a", "b")


def test_tags_of_an_entity_stand_together():
    """``O`` first; an I- that no file holds is there, so that a prediction can go on."""
    labels = labels_of(replace(NER), (), [raw("I-LOC", "O", "B-LOC", "B-PER", "", "_")])
    assert labels.names == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def test_true_whatever_its_case():
    assert ids(OWN, "TRUE", "False", "true").labels.tolist() == [1, 0, 1]
    assert ids(OWN, "TRUE", "False").names == ("false", "true")


def test_the_recipe_names_the_labels():
    assert ids(OWN, "b", "a", wanted=("b", "a", "c")).labels.tolist() == [0, 1]
    with pytest.raises(DataError, match="label `d` is none of b, a, c; correct it"):
        ids(OWN, "d", wanted=("b", "a", "c"))


def test_a_tag_that_is_missing():
    assert ids(NER, "O", "", "_", "B-X").labels.tolist() == [0, -100, -100, 1]


def test_a_file_without_labels():
    none = replace(raw("x"), values=None)
    labels = labels_of(MRPC, (), [none])
    assert labelled(MRPC, none, labels).labels.tolist() == [-100]
    assert not labelled(MRPC, none, labels).labelled
    assert np.isnan(labelled(STSB, none, labels_of(STSB, (), [none])).labels).all()
    several = labelled(MANY, none, labels_of(MANY, ("a", "b"), [none]))
    assert several.labels.tolist() == [[-1, -1]]
    assert not several.labelled


def test_scores():
    examples = ids(STSB, "5.000", "3")
    assert examples.labels.dtype == np.float32
    assert examples.labels.tolist() == [5, 3]
    assert examples.names == ()
    with pytest.raises(DataError) as error:
        ids(STSB, "5.0", "good", "nan")
    assert str(error.value) == (
        "a.tsv:3: score `good` is not a number; write one (task.kind: classification for labels)\n"
        "a.tsv:4: score `nan` is not a number; write one (task.kind: classification for labels)"
    )


def test_several_labels():
    assert several('["a", "b"]') == several("a, b") == several("a|b") == several(["a", "b"]) == ["a", "b"]
    assert several("") == []
    examples = ids(MANY, "b|a", "", "c", ["a"])
    assert examples.names == ("a", "b", "c")
    assert examples.labels.dtype == np.int8
    assert examples.labels.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]]


def test_a_list_where_there_is_one_label():
    with pytest.raises(DataError, match=r"the label is a list, \['a'\]; give one label, or task.kind=multi_label"):
        labelled(OWN, raw(["a"]), labels_of(OWN, ("a",), []))
