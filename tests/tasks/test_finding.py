"""Where files are: the folder, the one above, a file in it, the usual places; what is said where they are not."""

from pathlib import Path

import pytest

from ptk import tasks
from ptk.errors import DataError, RecipeError
from ptk.recipe import TaskSpec
from ptk.tasks.files.finding import find

MRPC, UD = tasks.find("mrpc"), tasks.find("ud")


@pytest.fixture
def glue(tmp_path, monkeypatch):
    folder = tmp_path / "glue_data" / "MRPC"
    folder.mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv", "test.tsv", "dev_ids.tsv"):
        (folder / name).write_text("x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PTK_DATA", raising=False)
    return folder


@pytest.mark.parametrize("data", ["glue_data", "glue_data/MRPC", "glue_data/MRPC/dev.tsv", None])
def test_the_official_layout(glue, data):
    found = find(MRPC, TaskSpec(name="mrpc", data=data)).files
    assert {split: path.resolve() for split, path in found.items()} == {
        "train": glue / "train.tsv",
        "validation": glue / "dev.tsv",
        "test": glue / "test.tsv",
    }


def test_places_in_order(glue, tmp_path, monkeypatch):
    assert find(MRPC, TaskSpec(name="mrpc")).files["train"] == Path("glue_data/MRPC/train.tsv")
    (tmp_path / "data" / "mrpc").mkdir(parents=True)
    (tmp_path / "data" / "mrpc" / "train.tsv").write_text("x")
    assert find(MRPC, TaskSpec(name="mrpc")).files["train"] == Path("data/mrpc/train.tsv")
    (tmp_path / "mine" / "mrpc" / "MRPC").mkdir(parents=True)
    (tmp_path / "mine" / "mrpc" / "MRPC" / "train.tsv").write_text("x")
    monkeypatch.setenv("PTK_DATA", str(tmp_path / "mine"))
    found = find(MRPC, TaskSpec(name="mrpc"))
    assert found.files == {"train": tmp_path / "mine" / "mrpc" / "MRPC" / "train.tsv"}
    assert found.notes == (f"mrpc: found in {tmp_path}/mine/mrpc",)


def test_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PTK_DATA", raising=False)
    (tmp_path / "glue_data").mkdir()
    found = find(MRPC, TaskSpec(name="mrpc"))
    assert not found.files
    assert found.tried == (
        "$PTK_DATA/mrpc (not there)",
        "./data/mrpc (not there)",
        "./glue_data (no file of the task)",
    )


def test_one_file_may_be_another(glue, tmp_path):
    (tmp_path / "mine.tsv").write_text("x")
    spec = TaskSpec(name="mrpc", data="glue_data", test=str(tmp_path / "mine.tsv"))
    assert find(MRPC, spec).files["test"] == tmp_path / "mine.tsv"
    spec = TaskSpec(name="mrpc", train=str(tmp_path / "mine.tsv"))
    assert find(MRPC, spec).files == {"train": tmp_path / "mine.tsv"}
    with pytest.raises(DataError) as error:
        find(MRPC, TaskSpec(name="mrpc", train=str(tmp_path / "mine.tvs")))
    assert str(error.value) == (
        f"task.train: no file or folder {tmp_path}/mine.tvs; did you mean {tmp_path}/mine.tsv?; give the path of a file"
    )


def test_a_file_of_another_name(glue, tmp_path):
    (tmp_path / "mine.tsv").write_text("x")
    found = find(MRPC, TaskSpec(name="mrpc", data="mine.tsv"))
    assert found.files == {"train": Path("mine.tsv")}
    assert found.notes == ("mine.tsv: not a name of mrpc's own files, so it is taken for train",)


def test_the_files_beside_a_file_are_told(glue):
    assert find(MRPC, TaskSpec(name="mrpc", data="glue_data/MRPC/dev.tsv")).notes == (
        "glue_data/MRPC/dev.tsv: mrpc's files beside it are taken too: glue_data/MRPC/train.tsv (train), "
        "glue_data/MRPC/test.tsv (test)",
    )
    assert not find(MRPC, TaskSpec(name="mrpc", data="glue_data/MRPC")).notes


def test_a_folder_without_its_files(glue, tmp_path):
    (glue / "train.tsv").rename(tmp_path / "train.csv")
    with pytest.raises(DataError) as error:
        find(MRPC, TaskSpec(name="mrpc", data=str(tmp_path)))
    assert str(error.value) == (
        f"{tmp_path}: no file of mrpc; expected train.tsv (train), dev.tsv (validation), test.tsv (test), in it or in "
        f"MRPC/ there; found glue_data, train.csv; did you mean task.train={tmp_path}/train.csv?"
    )


def test_a_path_that_is_not_there(glue):
    with pytest.raises(DataError) as error:
        find(MRPC, TaskSpec(name="mrpc", data="glue_dat"))
    assert str(error.value) == (
        "no file or folder glue_dat; did you mean glue_data?; give --data the folder or file of mrpc"
    )


def test_two_treebanks_in_one_folder(tmp_path):
    for name in ("en_a-ud-train.conllu", "en_b-ud-train.conllu"):
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match=r"2 files \*-ud-train.conllu \(en_a-ud-train.conllu, en_b-.*\); name one"):
        find(UD, TaskSpec(name="ud", data=str(tmp_path)))


@pytest.mark.parametrize("key", ["data", "test"])
def test_a_task_that_is_part_of_ptk_reads_no_files(glue, key):
    library = tasks.find("python-docs/library")
    with pytest.raises(RecipeError, match=rf"^task.{key}: python-docs/library reads no files.*leave {key} out"):
        find(library, TaskSpec(name=library.name, **{key: "glue_data"}))
    assert not find(library, TaskSpec(name=library.name)).files
