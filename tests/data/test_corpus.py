"""Whole corpora: found, checked, cut into shards, read."""

import json
import pickle

import pyarrow as pa
import pytest
from pyarrow import parquet

from ptk.data import shards
from ptk.data.corpus import Counts, open_corpus, read
from ptk.data.sentences import Document
from ptk.errors import DataError
from ptk.recipe import CorpusSource

BERT = "One is here.\nTwo is there.\n\nThree!\nFour?\nFive.\n\n"


def corpus_of(path, shard_bytes=8 << 20, **settings):
    return open_corpus([CorpusSource(path=str(path), **settings)], shard_bytes)


def read_all(corpus) -> tuple[list[Document], Counts]:
    counts = Counts()
    return [each for shard in corpus.shards for each in read(corpus, shard, counts)], counts


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_bert_format(tmp_path):
    corpus = corpus_of(write(tmp_path / "a.txt", BERT))
    documents, counts = read_all(corpus)
    assert documents == [
        Document("One is here.\nTwo is there.", ("One is here.", "\nTwo is there.")),
        Document("Three!\nFour?\nFive.", ("Three!", "\nFour?", "\nFive.")),
    ]
    assert counts == Counts(2, 5, 44, 44)
    assert corpus.notes == (
        f"{tmp_path}/a.txt: a blank line ends a document, a line is a sentence"
        " (guessed; corpus.split_documents says otherwise)",
    )


def test_a_folder_of_speeches(tmp_path):
    for name in ("b", "a"):
        write(
            tmp_path / f"{name}.txt", f"Speech {name} is long and its lines are\nwrapped. It ends.\n\nThe end\nis here."
        )
    documents, _ = read_all(corpus_of(tmp_path))
    assert [each.sentences for each in documents] == [
        (f"Speech {name} is long and its lines are\nwrapped.", " It ends.", "\n\nThe end\nis here.") for name in "ab"
    ]


def test_markdown_and_korean(tmp_path):
    write(tmp_path / "a.md", "# 제목\n\n저는 [학생](x)입니다. 그는 `간다`.\n")
    (document,), counts = read_all(corpus_of(tmp_path))
    assert document.sentences == ("제목", "\n\n저는 학생입니다.", " 그는 간다.")
    assert counts.bytes == len(document.text.encode())


@pytest.mark.parametrize("shard_bytes", [1, 60, 500, 8 << 20])
def test_shards_do_not_show(tmp_path, monkeypatch, shard_bytes):
    """The same documents in the same order, whatever the size of a shard."""
    monkeypatch.setattr(shards, "BLOCK", 5)
    write(tmp_path / "a.txt", "".join(f"First {n}.\r\nSecond.\r\n \t\r\n" for n in range(30)))
    write(tmp_path / "b.jsonl", "".join(json.dumps({"text": f"Row {n}.", "n": n}) + "\n" for n in range(30)))
    write(tmp_path / "c.tsv", "text\tn\n" + "".join(f'Line "{n}.\t{n}\n' for n in range(30)))
    write(tmp_path / "d/wiki_00", "".join(f'<doc id="{n}">\nTitle {n}\n</doc>\n' for n in range(30)))
    for n in range(5):
        write(tmp_path / f"e/{n}.md", f"Page {n}.")
    parquet.write_table(pa.table({"text": [f"Cell {n}." for n in range(30)]}), tmp_path / "f.parquet", row_group_size=4)
    corpus = corpus_of(tmp_path, shard_bytes)
    documents, counts = read_all(corpus)
    expected = [f"First {n}.\nSecond." for n in range(30)] + [f"Row {n}." for n in range(30)]
    expected += [f'Line "{n}.' for n in range(30)] + [f"Title {n}" for n in range(30)]
    expected += [f"Page {n}." for n in range(5)] + [f"Cell {n}." for n in range(30)]
    assert [each.text for each in documents] == expected
    assert counts.documents == 155
    assert [shard.index for shard in corpus.shards] == list(range(len(corpus.shards)))
    assert len(corpus.shards) > 100 if shard_bytes == 1 else len(corpus.shards) < 60


def test_pickles(tmp_path):
    corpus = corpus_of(write(tmp_path / "a.txt", BERT))
    again = pickle.loads(pickle.dumps(corpus))
    assert again == corpus
    assert read_all(again) == read_all(corpus)


def test_two_sources(tmp_path):
    write(tmp_path / "a.txt", BERT)
    write(tmp_path / "b.csv", "id,story\n1,It was so.\n")
    sources = [CorpusSource(path=str(tmp_path / name)) for name in ("b.csv", "a.txt")]
    corpus = open_corpus(sources)
    assert [shard.source for shard in corpus.shards] == [0, 1]
    assert [each.text for each in read_all(corpus)[0]][:2] == ["It was so.", "One is here.\nTwo is there."]
    assert corpus.notes[0].startswith(f"{tmp_path}/b.csv: text is in `story` (guessed")


def test_counts():
    one = Counts(1, 2, 3, 4)
    one.dropped["null texts"] += 2
    both = one + Counts(10, 20, 30, 40)
    assert both == Counts.from_dict(json.loads(json.dumps(both.to_dict())))
    assert (both.documents, both.bytes, both.dropped) == (11, 44, {"null texts": 2})


def test_empty_documents_are_counted(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": " "}\n{"text": null}\n\n{"text": "\x7f"}\n')
    _, counts = read_all(corpus_of(path))
    assert counts.documents == 1
    assert counts.dropped == {"empty documents": 2, "null texts": 1, "blank lines": 1, "control characters": 1}


# Errors


def test_every_file_that_does_not_decode_is_named(tmp_path):
    for n in range(25):
        (tmp_path / f"{n:02}.txt").write_bytes(b"fine\n" * n + b"caf\xe9 x")
    write(tmp_path / "good.txt", "good")
    with pytest.raises(DataError) as caught:
        corpus_of(tmp_path)
    lines = str(caught.value).split("\n")
    assert lines[2] == f"{tmp_path}/02.txt:3: byte 0xe9 is not utf-8"
    assert lines[20:] == [
        "... and 5 more files",
        "25 files do not decode; they look like cp1252: corpus.encoding=cp1252 if all files are,"
        " corpus.encoding='[utf-8, cp1252]' to try one after the other, or corpus.encoding_errors=replace or skip",
    ]


def test_encodings(tmp_path):
    (tmp_path / "a.txt").write_bytes("caf\u00e9 one".encode("cp1252"))
    (tmp_path / "b.txt").write_bytes("caf\u00e9 two".encode())
    corpus = corpus_of(tmp_path, encoding=("utf-8", "cp1252"))
    assert [each.text for each in read_all(corpus)[0]] == ["café one", "café two"]
    assert f"{tmp_path}: 1 read as cp1252: {tmp_path}/a.txt" in corpus.notes
    with pytest.raises(DataError, match="unknown encoding: klingon; use a name Python knows"):
        corpus_of(tmp_path, encoding="klingon")


def test_encoding_errors_touch_only_faulty_files(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"good\nbad \xff\n")
    write(tmp_path / "b.txt", "a real \ufffd stays")
    documents, counts = read_all(corpus_of(tmp_path, encoding_errors="skip"))
    assert [each.text for each in documents] == ["good", "a real \ufffd stays"]
    assert counts.dropped == {"lines that do not decode": 1}


@pytest.mark.parametrize("text", ["", " \n\t\r\n", "\ufeff", "\x00\x01"])
def test_no_text(tmp_path, text):
    with pytest.raises(DataError, match=rf"{tmp_path}/a.txt: no text.*; check corpus.path"):
        corpus_of(write(tmp_path / "a.txt", text))


def test_nothing_to_read(tmp_path):
    write(tmp_path / "book/a.txt", "x")
    with pytest.raises(DataError, match=r"no file or folder .*/bok; did you mean .*/book\?"):
        corpus_of(tmp_path / "bok")
    write(tmp_path / "pics/a.png", "x")
    with pytest.raises(DataError, match=r"pics: no file to read \(1 skipped.*ptk reads \.txt"):
        corpus_of(tmp_path / "pics")


def test_wrong_column(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"body": "One text.", "id": "1"}\n')
    with pytest.raises(DataError) as caught:
        corpus_of(path, text="text")
    assert str(caught.value) == (
        f"{path}: no column `text`; found: body, id. Did you mean `body`? (`corpus.text=body`)"
    )


def test_truncated_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["a"] * 100}), path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=f"{path}: damaged or truncated"):
        corpus_of(path)


# Fingerprint


def test_fingerprint(tmp_path):
    path = write(tmp_path / "one/a.txt", BERT)
    first = corpus_of(path).fingerprint
    assert len(first) == 16
    assert corpus_of(write(tmp_path / "two/a.txt", BERT)).fingerprint == first  # the place does not matter
    assert corpus_of(path, weight=3.0).fingerprint == first
    assert corpus_of(path, shard_bytes=10).fingerprint == first
    assert corpus_of(path, split_documents="line").fingerprint != first
    assert corpus_of(path, encoding_errors="skip").fingerprint != first
    assert corpus_of(write(tmp_path / "one/b.txt", BERT)).fingerprint != first
    assert corpus_of(write(path, BERT.replace("Five.", "Sixx."))).fingerprint != first


def test_fingerprint_sees_every_byte(tmp_path):
    around = "An unchanged sentence. " * 9000
    texts = [f"{around}{word}{around}" for word in ("one", "two", "six")]
    found = {corpus_of(write(tmp_path / "a.txt", text)).fingerprint for text in texts}
    assert len(found) == 3


# The hub


def test_hub(monkeypatch):
    import datasets

    rows = [{"id": "1", "text": "One. Two."}, {"id": "2", "text": None}, {"id": "3", "text": "Three."}]
    asked = []

    def load_dataset(path, name, *, split, streaming):
        asked.append((path, name, split, streaming))
        return iter(rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    corpus = corpus_of("someone/corpus-x", config="en", split="test")
    documents, counts = read_all(corpus)
    assert [each.sentences for each in documents] == [("One.", " Two."), ("Three.",)]
    assert counts.dropped == {"null texts": 1}
    assert set(asked) == {("someone/corpus-x", "en", "test", True)}
    assert len(corpus.shards) == 1
    assert corpus.notes == ("someone/corpus-x: hub dataset, text is in `text`",)


def test_hub_not_found(monkeypatch):
    import datasets

    def load_dataset(*_, **__):
        raise ConnectionError("offline\nmore")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError) as caught:
        corpus_of("someone/corpus-x")
    assert str(caught.value) == (
        "corpus: no file or folder someone/corpus-x; the hub's dataset someone/corpus-x (config default, split train)"
        " could not be read: ConnectionError: offline"
    )
    with pytest.raises(DataError, match=r"no file or folder data/corpus\.txt$"):
        corpus_of("data/corpus.txt")  # a file's name is not sought on the hub


# Real data


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("folder", "settings", "documents"),
    [
        ("text_en_books", {}, 37),
        ("text_en_gutenberg", {"encoding": ("utf-8", "cp1252")}, 6),
        ("text_en_shakespeare", {}, 1),
        ("text_en_speeches", {"encoding": ("utf-8", "cp1252")}, 121),
        ("text_en_wikiextractor_sample", {}, 5),
        ("text_ko_pytorch", {}, 39),
        ("text_ko_react", {}, 195),
    ],
)
def test_real_data(real_data, folder, settings, documents):
    corpus = corpus_of(real_data / folder, **settings)
    found, counts = read_all(corpus)
    assert counts.documents == documents
    for each in found:
        assert "".join(each.sentences) == each.text == each.text.strip()


@pytest.mark.real_data
def test_real_faults(real_data):
    with pytest.raises(DataError, match=r"1661-8.txt:1141: byte 0xe9 is not utf-8\n.*345-8.txt:545: byte 0xe8"):
        corpus_of(real_data / "text_en_gutenberg")
    with pytest.raises(DataError, match="7 files do not decode; they look like cp1252"):
        corpus_of(real_data / "text_en_speeches")
