"""A task made ready: what is divided, drawn, refused and said; and the real files, untouched."""

import functools

import numpy as np
import pytest

from ptk.errors import DataError, RecipeError
from ptk.recipe import TaskSpec
from ptk.tasks import prepare

HEAD = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"


@pytest.fixture
def mrpc(tmp_path):
    def write(**splits):
        for name, labels in splits.items():
            rows = [f"{label}\t1\t2\t{name} {n}\tother {n}\n" for n, label in enumerate(labels)]
            (tmp_path / f"{name}.tsv").write_text(HEAD + "".join(rows))
        return str(tmp_path)

    return write


def read(name=None, seed=0, **spec):
    said = []
    return prepare.read(TaskSpec(name=name, **spec), seed, said.append), said


def test_what_is_said(mrpc, tmp_path):
    data, said = read("mrpc", data=mrpc(train="0110", dev="01"))
    assert said == [
        f"train: 4 examples, {tmp_path}/train.tsv",
        f"validation: 2 examples, {tmp_path}/dev.tsv",
        "2 labels: not_equivalent, equivalent",
    ]
    assert data.task.name == "mrpc"


def test_no_validation_file(mrpc, tmp_path):
    data, said = read("mrpc", data=mrpc(train="01" * 20), held_out=0.25)
    assert {split: len(examples) for split, examples in data.splits.items()} == {"train": 30, "validation": 10}
    assert said[0] == (
        f"no validation file: {tmp_path}/train.tsv is divided by hash of the first text, 10 of 40 for validation"
    )
    assert not {*data.splits["train"].texts} & {*data.splits["validation"].texts}


def test_one_labelled_file_of_any_name(mrpc, tmp_path):
    data, said = read("mrpc", data=mrpc(dev="01" * 20, test="01" * 3))
    assert {split: len(examples) for split, examples in data.splits.items()} == {
        "train": 36,
        "validation": 4,
        "test": 6,
    }
    assert said[0].startswith(f"no train file: {tmp_path}/dev.tsv is divided by hash of the first text, 4 of 40 for")


def read_split(split="validation", trained=None, **spec):
    said = []
    return prepare.read_split(TaskSpec(name="mrpc", **spec), split, said.append, trained)[1], said


def test_a_split_is_scored_whole_unless_the_run_divided_it(mrpc, tmp_path):
    folder = mrpc(dev="01" * 20)
    assert len(read_split(data=folder)[0]) == 40
    assert (
        len(read_split(data=f"{folder}/dev.tsv", trained=TaskSpec(name="mrpc", data=str(tmp_path / "gone")))[0]) == 40
    )
    trained = TaskSpec(name="mrpc", data=folder, held_out=0.25)
    divided = read("mrpc", data=folder, held_out=0.25)[0].splits
    for place in (folder, f"{folder}/dev.tsv"):
        held, said = read_split(data=place, trained=trained)
        assert held.texts == divided["validation"].texts
        assert "validation: 10 of 40 examples, as the model's run divided its file" in said
    assert read_split("train", trained, data=folder)[0].texts == divided["train"].texts


def test_a_run_on_a_training_file_alone_is_scored_on_its_held_out_part(mrpc, tmp_path):
    folder = mrpc(train="01" * 20)
    spec = {"train": f"{folder}/train.tsv", "held_out": 0.25}
    held, _ = read_split(trained=TaskSpec(name="mrpc", **spec), **spec)
    assert held.texts == read("mrpc", **spec)[0].splits["validation"].texts
    with pytest.raises(DataError, match="no validation split; there are train"):
        read_split(data=folder)
    with pytest.raises(DataError, match="no test split; there are train"):
        read_split("test", TaskSpec(name="mrpc", **spec), **spec)
    own = TaskSpec(data=f"{folder}/train.tsv", label="Quality", text="#1 String", held_out=0.25)
    assert len(prepare.read_split(own, "validation", lambda _: None, own)[1]) == 10
    assert len(prepare.read_split(own, "validation", lambda _: None)[1]) == 40


def test_splits_that_are_not_usual(mrpc, tmp_path):
    folder = mrpc(dev="01")
    with pytest.raises(RecipeError, match="--split foo: mrpc has train, validation, test; name one of them"):
        read_split("foo", data=f"{folder}/dev.tsv")
    (tmp_path / "AX.tsv").write_text("index\tsentence1\tsentence2\n0\ta\tb\n")
    with pytest.raises(DataError, match="ax: no validation split; there are test: --split says which"):
        prepare.read_split(TaskSpec(name="ax", data=folder), "validation", lambda _: None)
    (tmp_path / "mine.tsv").write_text("sentence1\tsentence2\tgold_label\na\tb\tneutral\n")
    spec = TaskSpec(name="mnli", data=str(tmp_path / "mine.tsv"))
    assert len(prepare.read_split(spec, "validation_mismatched", lambda _: None)[1]) == 1
    assert len(prepare.read_split(spec, "diagnostic", lambda _: None)[1]) == 1


def test_no_other_split_is_read(mrpc, tmp_path, monkeypatch):
    opened = []
    real = prepare.read_file
    monkeypatch.setattr(
        prepare, "read_file", lambda task, path, *more: opened.append(path.name) or real(task, path, *more)
    )
    folder = mrpc(train="0110", dev="01", test="0101")
    read_split(data=folder)
    assert opened == ["dev.tsv"]
    (tmp_path / "train.csv").write_text("text,label\na,x\nb,y\n")
    (tmp_path / "dev.csv").write_text("text,label\nc,x\n")
    for path in tmp_path.glob("*.tsv"):
        path.unlink()
    opened.clear()
    examples = prepare.read_split(TaskSpec(data=str(tmp_path)), "validation", lambda _: None)[1]
    assert (examples.names, sorted(opened)) == (("x", "y"), ["dev.csv", "train.csv"])  # the labels are sought


def test_labels_in_another_case_are_the_task_s(mrpc):
    data, _ = read("mrpc", data=mrpc(train="0111", dev="01"), labels=("EQUIVALENT", "0"))
    assert data.names == ("equivalent", "not_equivalent")
    assert data.splits["train"].labels.tolist() == [1, 0, 0, 0]
    assert data.task.positive == "equivalent"


def test_too_few_to_divide(mrpc):
    with pytest.raises(DataError, match=r"train.tsv: 1 examples are too few to validate on some; name a validation"):
        read("mrpc", data=mrpc(train="0"))


def test_drawn_by_seed(mrpc):
    folder = mrpc(train="01" * 50, dev="01")
    few, said = read("mrpc", data=folder, examples=0.1)
    more, _ = read("mrpc", data=folder, examples=40)
    other, _ = read("mrpc", data=folder, examples=0.1, seed=1)
    assert (len(few.splits["train"]), len(more.splits["train"])) == (10, 40)
    assert {*few.splits["train"].texts} < {*more.splits["train"].texts}
    assert few.splits["train"].texts != other.splits["train"].texts
    assert "train: 10 of 100 examples drawn (task.examples=0.1, seed 0)" in said


def test_pairs_in_both_orders(mrpc, tmp_path):
    """ELE-12: of the training examples alone, each label with its pair."""
    data, said = read("mrpc", data=mrpc(train="011", dev="01"), both_orders=True)
    train = data.splits["train"]
    pairs = [(f"train {n}", f"other {n}") for n in range(3)]
    assert train.texts == [*pairs, *((second, first) for first, second in pairs)]
    assert train.labels.tolist() == [0, 1, 1, 0, 1, 1]
    assert train.lines.tolist() == [2, 3, 4, 2, 3, 4]
    assert len(data.splits["validation"]) == 2
    assert "train: 6 examples, each pair in both orders (task.both_orders)" in said
    (tmp_path / "one.csv").write_text("text,label\n" + "".join(f"some text {n},{n % 2}\n" for n in range(20)))
    with pytest.raises(RecipeError, match=r"task.both_orders: one does not consist of pairs of texts; leave it out"):
        read(data=str(tmp_path / "one.csv"), both_orders=True)


def test_one_class_only(mrpc, tmp_path):
    """D11."""
    with pytest.raises(DataError) as error:
        read("mrpc", data=mrpc(train="111", dev="01"))
    assert str(error.value) == (
        f"{tmp_path}/train.tsv: all 3 examples have the label `equivalent`; nothing can be learned from them"
    )


def test_nothing_to_train_on(mrpc, tmp_path):
    folder = mrpc(test="01")
    with pytest.raises(DataError, match=r"^mrpc: nothing to train on, only .*/test.tsv \(test\); name .* task.train$"):
        read("mrpc", data=folder)
    (tmp_path / "AX.tsv").write_text("index\tsentence1\tsentence2\n0\ta\tb\n")
    spec = TaskSpec(name="ax", data=folder)
    with pytest.raises(DataError, match=r"^ax: nothing to train on, only .*/AX.tsv \(test\); .* fine-tuned on mnli"):
        prepare.read(spec, 0, lambda _: None)
    assert len(prepare.read_split(spec, "test", lambda _: None)[1]) == 1


def test_train_without_labels(mrpc, tmp_path):
    with pytest.raises(DataError, match=r"train.tsv: no labels to train on; name their column with task.label"):
        read("mrpc", data=mrpc(train=["", ""], dev="01"))


def test_texts_that_are_in_train_too(mrpc, tmp_path):
    """D12."""
    folder = mrpc(train="0101", dev="01")
    (tmp_path / "dev.tsv").write_text(HEAD + "1\t1\t2\ttrain 0\tother 0\n0\t1\t2\ttrain 1\tnew\n")
    assert "warning: 1 of the 2 texts of validation are in train too" in read("mrpc", data=folder)[1]


def test_a_label_that_is_in_no_example_of_train(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\na,x\nb,y\n")
    (tmp_path / "dev.csv").write_text("text,label\nc,z\nd,y\n")
    data, said = read(data=str(tmp_path))
    assert data.names == ("x", "y", "z")
    assert f"warning: {tmp_path}/dev.csv: z: in no example of train" in said


def test_another_label_column_of_a_task(tmp_path):
    """Its labels are those of the files, unless they are the task's own."""
    (tmp_path / "train.tsv").write_text("comments\tbias\tcopy\thate\na\tgender\tnone\tnone\nb\tnone\thate\thate\n")
    (tmp_path / "dev.tsv").write_text("comments\tbias\tcopy\thate\nc\tothers\tnone\tnone\n")
    assert read("hate-speech", data=str(tmp_path))[0].names == ("none", "offensive", "hate")
    assert read("hate-speech", data=str(tmp_path), label="bias")[0].names == ("gender", "none", "others")
    assert read("hate-speech", data=str(tmp_path), label="copy")[0].names == ("none", "offensive", "hate")


def test_the_fingerprint_is_that_of_texts_and_labels(mrpc):
    folder = mrpc(train="0110", dev="01")
    first = read("mrpc", data=folder)[0].fingerprint
    assert read("mrpc", data=folder)[0].fingerprint == first
    assert read("mrpc", data=mrpc(train="0111", dev="01"))[0].fingerprint != first
    assert read("mrpc", data=mrpc(train="0110", dev="01"), examples=3)[0].fingerprint != first


def test_columns_of_a_task_under_other_names(tmp_path):
    (tmp_path / "train.tsv").write_text("a\tb\tQuality\nx\ty\t0\nz\tw\t1\nu\tv\t0\nr\ts\t1\n")
    (tmp_path / "test.tsv").write_text("#1 String\tb\tQuality\nx\tv\t0\n")
    data, _ = read("mrpc", train=str(tmp_path / "train.tsv"), text="a", pair="b")
    assert {("x", "y"), ("z", "w"), ("u", "v"), ("r", "s")} > {*data.splits["train"].texts}
    spec = TaskSpec(name="mrpc", test=str(tmp_path / "test.tsv"), pair="b")
    assert prepare.read_split(spec, "test", lambda _: None)[1].texts == [("x", "v")]


@functools.cache
def real(name, where):
    return read(name, data=str(where))[0]


REAL = {
    ("cola", "glue"): {"train": 8551, "validation": 1043, "test": 1063},
    ("sst2", "glue"): {"train": 67349, "validation": 872, "test": 1821},
    ("mrpc", "glue/MRPC"): {"train": 3667, "validation": 408, "test": 1725},
    ("stsb", "glue"): {"train": 5749, "validation": 1500, "test": 1379},
    ("qnli", "glue/QNLI/dev.tsv"): {"train": 4917, "validation": 546, "test": 5463},
    ("wnli", "glue"): {"train": 635, "validation": 71, "test": 146},
    ("mnli", "glue_kshot/MNLI/16-13"): {"train": 48, "validation": 48},
    ("qqp", "glue_kshot/QQP/16-13"): {"train": 32, "validation": 32},
    ("snli", "glue_kshot/SNLI/16-13"): {"train": 48, "validation": 48},
    ("banking77", "cls_banking77"): {"train": 9003, "validation": 1000, "test": 3080},
    ("codah", "mc_codah"): {"train": 1665, "validation": 556, "test": 555},
    ("wnut17", "ner_wnut17"): {"train": 3394, "validation": 1009, "test": 1287},
    ("sec", "ner_sec_conll"): {"train": 1048, "validation": 116, "test": 303},
    ("wikigold", "ner_wikigold"): {"train": 1526, "validation": 170},
    ("klue-ner", "ko_klue_ner"): {"train": 4500, "validation": 500},
    ("ud-ko", "pos_ud_ko_gsd"): {"train": 855, "validation": 95, "test": 989},
    ("kobest-copa", "ko_kobest_mc"): {"train": 3076, "validation": 500, "test": 1000},
    ("kobest-hellaswag", "ko_kobest_mc"): {"train": 2029, "validation": 500, "test": 500},
    ("klue-nli", "ko_klue_nli_sts"): {"train": 2700, "validation": 300},
    ("klue-sts", "ko_klue_nli_sts"): {"train": 467, "validation": 52},
    ("nsmc", "ko_nsmc"): {"train": 27000, "validation": 3000, "test": 10000},
    ("question-pairs", "ko_question_pair"): {"train": 6136, "validation": 682, "test": 758},
    ("hate-speech", "ko_hate_speech"): {"train": 7896, "validation": 471, "test": 974},
}
"""Counts of the sources' own notes."""


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "where"), REAL)
def test_real_files(real_data, name, where):
    data = real(name, real_data / where)
    assert {split: len(examples) for split, examples in data.splits.items()} == REAL[name, where]
    for split, examples in data.splits.items():
        sizes = {len(texts) for texts in examples.texts}
        assert data.task.kind == "tagging" or len(sizes) == 1
        assert examples.labelled or split == "test"
        assert not examples.labelled or examples.characters or examples.has_label.all()


@pytest.mark.real_data
def test_the_real_diagnostic_set(real_data):
    spec = TaskSpec(name="ax", data=str(real_data / "glue"))
    assert len(prepare.read_split(spec, "test", lambda _: None)[1]) == 1104


@pytest.mark.real_data
def test_real_classes(real_data):
    """Counts that a wrong column, order or convention would change."""
    labels = {split: e.labels for split, e in real("hate-speech", real_data / "ko_hate_speech").splits.items()}
    assert np.bincount(labels["train"]).tolist() == [3486, 2499, 1911]
    pairs = real("question-pairs", real_data / "ko_question_pair")
    assert np.bincount(pairs.splits["train"].labels).tolist() == [4169, 1967]
    nli = real("klue-nli", real_data / "ko_klue_nli_sts")
    both = np.concatenate([nli.splits["train"].labels, nli.splits["validation"].labels])
    assert np.bincount(both).tolist() == [1000, 1000, 1000]
    assert np.mean(real("wnli", real_data / "glue").splits["validation"].labels == 0) == 40 / 71
    assert len(real("banking77", real_data / "cls_banking77").names) == 77


@pytest.mark.real_data
def test_real_words(real_data):
    """Words of the treebank, 285,929 characters, entities that are begun once each."""
    korean = real("ud-ko", real_data / "pos_ud_ko_gsd").splits
    assert len(korean["test"].labels) == 11677
    assert len(korean["train"].labels) + len(korean["validation"].labels) == 11958
    klue = real("klue-ner", real_data / "ko_klue_ner").splits
    assert len(klue["train"].labels) + len(klue["validation"].labels) == 285929
    gold = real("wikigold", real_data / "ner_wikigold")
    names = np.array(gold.names)[np.concatenate([e.labels for e in gold.splits.values()])]
    assert sum(name.startswith("B-") for name in names.tolist()) == 3558
    assert len(names) == 39007


@pytest.mark.real_data
def test_the_real_csv_of_question_pairs(real_data, tmp_path):
    """A byte order mark, CRLF, and a trailing comma in the header of one file."""
    folder = real_data / "ko_question_pair"
    train, test = folder / "kor_pair_train.csv", folder / "kor_Pair_test.csv"
    data, _ = read("question-pairs", train=str(train), test=str(test), held_out=0.1)
    assert sum(len(data.splits[split]) for split in ("train", "validation")) == 6888
    assert len(data.splits["test"]) == 688
