"""Bytes to texts: decoding, the line rule, and every format."""

import gzip
import json
from collections import Counter

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from ptk.data import decoding
from ptk.data.decoding import find_encoding, normalise, text_pieces
from ptk.data.layout import Layout, guess_column, guess_layout
from ptk.data.readers import Span, rows, texts
from ptk.errors import DataError


def span_of(path, kind, **more) -> Span:
    stop = parquet.read_metadata(path).num_row_groups if kind == "parquet" else path.stat().st_size
    return Span(str(path), kind, **{"start": 0, "stop": stop, **more})


def read_all(path, kind, layout=None, **more) -> tuple[list[str], Counter[str]]:
    dropped: Counter[str] = Counter()
    return [text for text, _ in texts(span_of(path, kind, **more), layout or Layout(column="text"), dropped)], dropped


def test_normalise():
    dropped: Counter[str] = Counter()
    text = "a\r\nb\rc\x85d\u2028e\u2029f\vg\fh \t\ni\x00\x1bj\ufeff\ud800 k\tl \u1112\u1161\u11ab e\u0301"
    assert normalise(text, dropped) == "a\nb\nc\nd\ne\nf\ng\nh\nij k\tl 한 é"
    assert dropped == {"control characters": 4}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1 << 20])
def test_blocks_do_not_show(tmp_path, monkeypatch, size):
    monkeypatch.setattr(decoding, "BLOCK", size)
    monkeypatch.setattr(decoding, "PIECE", 4)
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff가나 다\r\n\r\né😀 e\u0301x\rz\u2028".encode())
    pieces = list(text_pieces(str(path), "utf-8-sig", "strict", Counter()))
    assert "".join(pieces) == "가나 다\n\né😀 éx\nz\n"


def test_nothing_composable_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "BLOCK", 1)
    monkeypatch.setattr(decoding, "PIECE", 2)
    path = tmp_path / "a.txt"
    path.write_bytes(("\u1112\u1161\u11ab" * 5 + "e\u0301" * 5).encode())
    assert "".join(text_pieces(str(path), "utf-8", "strict", Counter())) == "한" * 5 + "é" * 5


@pytest.mark.parametrize("block", [2, 1 << 20])
def test_first_fault_by_line_and_byte(tmp_path, monkeypatch, block):
    monkeypatch.setattr(decoding, "BLOCK", block)
    path = tmp_path / "a.txt"
    path.write_bytes("가\nb\n".encode() + b"caf\xe9 x\n\xff")
    _, fault, _ = find_encoding(str(path), ("utf-8",))
    assert str(fault) == f"{path}:3: byte 0xe9 is not utf-8"
    assert fault.remedy == "cp1252"
    assert find_encoding(str(path), ("utf-8", "cp1252")) == ("cp1252", None, False)


def test_a_fault_after_a_character_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "BLOCK", 4)
    path = tmp_path / "a.txt"
    path.write_bytes("aa가".encode() + b"\xff\n\n")
    assert str(find_encoding(str(path), ("utf-8",))[1]) == f"{path}:1: byte 0xff is not utf-8"


def test_a_character_that_ends_too_early_is_a_fault(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("a\n가".encode()[:-1])
    assert str(find_encoding(str(path), ("utf-8",))[1]) == f"{path}:2: byte 0xea is not utf-8"


@pytest.mark.parametrize(
    ("encoding", "text"), [("cp949", "안녕하세요 세계"), ("shift_jis", "これはテスト"), ("utf-16-le", "ab é")]
)
def test_plausible_encodings(tmp_path, encoding, text):
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    fault = find_encoding(str(path), ("utf-8",))[1]
    assert fault
    assert fault.remedy == encoding


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_byte_order_marks(tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes("한국어\nb".encode(encoding))
    assert find_encoding(str(path), ("utf-8",)) == (encoding, None, False)
    assert read_all(path, "text", encoding=encoding)[0] == ["한국어\nb"]


def test_replace_and_skip(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\nbad \xff\xfe\nfine\n")
    kept, dropped = read_all(path, "text", errors="skip")
    assert (kept, dropped) == (["good\nfine\n"], {"lines that do not decode": 1})
    kept, dropped = read_all(path, "text", errors="replace")
    assert (kept, dropped) == (["good\nbad ��\nfine\n"], {"bytes that do not decode (now U+FFFD)": 2})


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_and_truncated(tmp_path, suffix):
    path = tmp_path / f"a.txt{suffix}"
    data = "".join(f"line {n}\n" for n in range(5000)).encode()
    packed = gzip.compress(data) if suffix == ".gz" else zstandard.compress(data)
    path.write_bytes(packed + packed)
    assert "".join(read_all(path, "text")[0]) == (data + data).decode()
    path.write_bytes(packed[:-20])
    with pytest.raises(DataError, match=rf"{path}: damaged or truncated"):
        read_all(path, "text")


def test_gutenberg(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(
        "Header\n*** START OF THIS PROJECT GUTENBERG EBOOK A\nB ***\n\nThe book.\n\n"
        "End of Project Gutenberg's A\n*** END OF THIS PROJECT GUTENBERG EBOOK A ***\nLicence"
    )
    kept, dropped = read_all(path, "text")
    assert [text.strip() for text in kept] == ["The book."]
    assert dropped == {"Project Gutenberg headers": 1, "Project Gutenberg licences": 1}


def test_documents_of_plain_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a\nb\n \n\nc\n")
    assert read_all(path, "text", Layout("blank_line"))[0] == ["a\nb", "c\n"]
    assert read_all(path, "text", Layout("line"))[0] == ["a", "b", "", "", "c"]
    assert read_all(path, "text", Layout("file"))[0] == ["a\nb\n\n\nc\n"]


def test_wikiextractor(tmp_path):
    path = tmp_path / "wiki_00"
    path.write_text('<doc id="1" url="u" title="A">\nA\n\nText.\n</doc>\n<doc id="2" title="B">\nB\n</doc>\n')
    assert read_all(path, "wiki")[0] == ["A\n\nText.", "B"]


def test_jsonl(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a\\u2028b"}\n\n{"text": null}\n{"text": "c\u2028d", "n": 1}\n')
    assert read_all(path, "jsonl") == (["a\nb", "c\nd"], {"blank lines": 1, "null texts": 1})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r":2: not JSON: .* at column 2; a line is one object"),
        ("[1]", r":2: \[1\] is not a JSON object"),
        ('{"text": 3}', r":2: `text` is 3 \(int\), not text"),
        ('{"txt": "a"}', r":2: no column `text`; found: txt. Did you mean `txt`\? \(`corpus.text=txt`\)"),
    ],
)
def test_jsonl_faults_name_the_line(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    good = json.dumps({"text": "good"}) + "\n"
    path.write_text(good + line + "\n")
    with pytest.raises(DataError, match=f"{path}{message}"):
        read_all(path, "jsonl")
    with pytest.raises(DataError, match=f"{path}{message}"):  # the same line of the file in a later shard
        read_all(path, "jsonl", start=len(good))


def test_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes('\ufefftext,n\r\n"one, ""two""\r\nlines",1\r\nNA,2\r\n\r\nnull,3\r\n,4\r\n'.encode())
    kept, dropped = read_all(path, "csv", encoding="utf-8-sig")
    assert kept == ['one, "two"\nlines', "NA", "null", ""]
    assert dropped == {"blank lines": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('text,n\n"a\nb",1\nc\n', r":4: 1 cells under a header of 2 \(text, n\)"),
        ('text,n\na,1\n"b,2\nc,3\n', r":3: unexpected end of data; close the quotation mark"),
    ],
)
def test_csv_faults_name_the_line(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=f"{path}{message}"):
        read_all(path, "csv")


def test_tsv_has_no_quotes(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b'n\ttext\r\n1\t"unbalanced\r\n2\tNA\r\n')
    assert read_all(path, "tsv")[0] == ['"unbalanced', "NA"]
    path.write_bytes(b"n\ttext\n1\n")
    with pytest.raises(DataError, match=f"{path}:2: 1 cells under a header of 2"):
        read_all(path, "tsv")


def test_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["a", None, "c", "d"], "n": [1, 2, 3, 4]}), path, row_group_size=1)
    assert read_all(path, "parquet") == (["a", "c", "d"], {"null texts": 1})
    assert read_all(path, "parquet", start=2, stop=3)[0] == ["c"]
    with pytest.raises(DataError, match=r"no column `txt`; found: n, text. Did you mean `text`\?"):
        read_all(path, "parquet", Layout(column="txt"))
    with pytest.raises(DataError, match="row 1: `n` is 1"):
        read_all(path, "parquet", Layout(column="n"))
    assert list(rows(span_of(path, "parquet"), Counter()))[3] == (4, {"text": "d", "n": 4})


@pytest.mark.parametrize(
    ("samples", "documents", "lines"),
    [
        (["One is here.\nTwo is there.\n\nThree!\nFour?\nFive."], "blank_line", "sentences"),
        (["하나가 있다.\n둘이 있다.\n\n셋이다.\n넷이다."], "blank_line", "sentences"),
        (["A line that is wrapped and\ngoes on here. Then it\nends.\n\nNext one\nis here."] * 2, "file", "wrapped"),
        (["First Citizen:\nHear me speak,\nfriends.\n\nAll:\nSpeak, speak."], "file", "wrapped"),
        (["It was so. And so. And more.\nThen it ended. It did. Yes.\nWe left. All left. Now."], "file", "paragraphs"),
        (["One paragraph. It is long.\n\nAnother one. It is too."], "file", "wrapped"),
        ([""], "file", "wrapped"),
    ],
)
def test_guess_layout(samples, documents, lines):
    assert guess_layout(samples, "auto") == Layout(documents, lines)
    assert guess_layout(samples, "line") == Layout("line", "paragraphs")
    assert guess_layout(samples, "blank_line").documents == "blank_line"
    assert guess_layout(samples, "file").documents == "file"


def test_guess_column():
    assert guess_column([{"id": "a long identifier", "Body": "b"}]) == "Body"
    assert guess_column([{"id": "1", "story": "long"}, {"id": "2", "story": "longer"}]) == "story"
    assert guess_column([{"n": 1}]) is None
