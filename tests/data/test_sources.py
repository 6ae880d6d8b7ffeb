"""Paths to files."""

import pytest

from ptk.data.sources import find_files, not_found
from ptk.errors import DataError


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("Text.\n")


def names_of(found):
    return [(file.name, file.format) for file in found.files]


def test_folder(tmp_path):
    make(tmp_path, "b.txt", "a b/Émile.md", "c.jsonl.gz", "_note.txt", ".hidden.txt", ".git/x.txt", "README", "x.png")
    (tmp_path / "c.jsonl.gz").rename(tmp_path / "C.JSONL.GZ")
    found = find_files(str(tmp_path))
    assert names_of(found) == [("C.JSONL.GZ", "jsonl"), ("a b/Émile.md", "markdown"), ("b.txt", "text")]
    assert found.skipped == 4  # .git is not entered at all


def test_names_with_glob_characters(tmp_path):
    make(tmp_path, "a[1].txt", "a1.txt", "x/y[2]*.txt")
    assert names_of(find_files(str(tmp_path / "a[1].txt"))) == [("a[1].txt", "text")]
    assert names_of(find_files(str(tmp_path / "x/y[2]*.txt"))) == [("y[2]*.txt", "text")]


def test_globs(tmp_path):
    make(tmp_path, "a/1.txt", "a/_2.txt", "b/3.txt", "b/c/4.txt")
    assert names_of(find_files(str(tmp_path / "*/*.txt"))) == [("a/1.txt", "text"), ("b/3.txt", "text")]
    assert names_of(find_files(str(tmp_path / "**/*.txt")))[-1] == ("b/c/4.txt", "text")
    assert find_files(str(tmp_path / "*.parquet")) is None


def test_wikiextractor_names_are_told_apart_by_content(tmp_path):
    (tmp_path / "AA").mkdir()
    (tmp_path / "AA/wiki_00").write_text('<doc id="1" url="u" title="t">\nt\n</doc>\n')
    (tmp_path / "AA/wiki_01").write_text('{"id": "1", "text": "t"}\n')
    (tmp_path / "a.txt").write_text('\ufeff<doc id="1">\nt\n</doc>\n')
    assert [kind for _, kind in names_of(find_files(str(tmp_path)))] == ["wiki", "jsonl", "wiki"]


def test_a_named_file_is_plain_text_unless_its_extension_says_otherwise(tmp_path):
    make(tmp_path, "wiki.train.tokens", "corpus", "a.json")
    assert names_of(find_files(str(tmp_path / "wiki.train.tokens"))) == [("wiki.train.tokens", "text")]
    assert names_of(find_files(str(tmp_path / "corpus"))) == [("corpus", "text")]
    with pytest.raises(DataError, match=r"a\.json: \.json is not read; give text as \.txt"):
        find_files(str(tmp_path / "a.json"))


def test_near_names(tmp_path):
    make(tmp_path, "books/a.txt")
    assert not_found(str(tmp_path / "book")) == f"no file or folder {tmp_path}/book; did you mean {tmp_path}/books?"
    assert f"did you mean {tmp_path}/books?" in not_found(str(tmp_path / "boks/a.txt"))
    assert not_found(str(tmp_path / "zzz")) == f"no file or folder {tmp_path}/zzz"
