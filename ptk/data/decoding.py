"""Bytes of a file to clean text, in bounded memory.

The rules, for every format:

* The encoding is UTF-8 unless the recipe says otherwise; a byte order mark tells UTF-16 and UTF-32.
* CRLF, CR, NEL, VT, FF, U+2028 and U+2029 all end a line, and become LF.
* The other C0 and C1 control characters, byte order marks and lone surrogates are dropped and counted.
* Blanks at line ends are dropped, and the text is put into Unicode's NFC.
"""

import codecs
import gzip
import io
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, cast

import zstandard

from ptk.errors import DataError

BLOCK = 1 << 20  # bytes read at once
PIECE = 4_000_000  # characters of text held at once: a longer document is read as several
COMPRESSED = (".gz", ".zst")

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ud800-\udfff]")
_BLANK_AT_LINE_END = re.compile(r"[^\S\n]\n")
_UNREADABLE = (EOFError, OSError, zlib.error, zstandard.ZstdError)


class Fault(NamedTuple):
    """The first byte of a file that does not decode."""

    path: str
    line: int
    byte: int
    encoding: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: byte 0x{self.byte:02x} is not {self.encoding}"


def open_bytes(path: str) -> BinaryIO:
    """The file's bytes, decompressed when its name ends in .gz or .zst."""
    if path.endswith(".gz"):
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.endswith(".zst"):
        return cast(BinaryIO, io.BufferedReader(_ZstdFile(path)))
    return open(path, "rb")


def byte_blocks(path: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """Bytes ``start`` to ``stop`` (its end when None), a block at a time. DataError when it is damaged."""
    with open_bytes(path) as file:
        left = float("inf") if stop is None else stop - start
        try:
            if start:
                file.seek(start)
            while left > 0 and (block := file.read(int(min(BLOCK, left)))):
                left -= len(block)
                yield block
        except _UNREADABLE as error:
            raise DataError(unreadable(path, error)) from error


def unreadable(path: str, error: Exception) -> str:
    if path.endswith(COMPRESSED):
        return f"{path}: damaged or truncated ({error}); fetch or compress the file again"
    return f"{path}: cannot be read: {error}"


def find_encoding(path: str, encodings: tuple[str, ...]) -> tuple[str, Fault | None, bool]:
    """(encoding, first fault, is blank): the first of ``encodings`` in which the whole file decodes.

    A byte order mark decides before them. The fault, if all fail, is that of the first.
    """
    with open_bytes(path) as file:
        try:
            head = file.read(4)
        except _UNREADABLE as error:
            raise DataError(unreadable(path, error)) from error
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    first: Fault | None = None
    for encoding in (marked,) if marked else encodings:
        fault, blank = _check(path, encoding)
        if fault is None:
            return encoding, None, blank
        first = first or fault
    return marked or encodings[0], first, False


def _check(path: str, encoding: str) -> tuple[Fault | None, bool]:
    decoder = codecs.getincrementaldecoder(encoding)()
    lines, blank = 1, True
    held = b""  # bytes of a character that went over the end of the last block
    for block in byte_blocks(path):
        try:
            blank = _is_blank(decoder.decode(block)) and blank
        except UnicodeDecodeError as error:
            at = error.start - len(held)
            return _fault(path, lines + block.count(b"\n", 0, max(at, 0)), error, held + block), False
        held = decoder.getstate()[0]
        lines += block.count(b"\n")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return _fault(path, lines, error, held), False
    return None, blank


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _fault(path: str, line: int, error: UnicodeDecodeError, data: bytes) -> Fault:
    byte = error.object[error.start] if error.start < len(error.object) else 0
    return Fault(path, line, byte, error.encoding, _plausible_encoding(data))


def _plausible_encoding(data: bytes) -> str:
    """What bytes that are not UTF-8 may be: Korean or Japanese, UTF-16 without its mark, or Western."""
    if data.count(0) > len(data) // 4:
        return "utf-16-le" if data[1::2].count(0) > data[::2].count(0) else "utf-16-be"
    for encoding, letters in (("shift_jis", r"[ぁ-ヿ]"), ("cp949", r"[가-힣]")):
        text = data[:BLOCK].decode(encoding, "replace")
        if "\ufffd" not in text[:-1] and len(re.findall(letters, text)) * 3 > sum(c > "\x7f" for c in text):
            return encoding
    return "latin-1" if re.search(rb"[\x81\x8d\x8f\x90\x9d]", data) else "cp1252"


def text_pieces(
    path: str, encoding: str, errors: str, dropped: Counter[str], start: int = 0, stop: int | None = None
) -> Iterator[str]:
    """Clean text of a file's bytes, about PIECE characters at a time, cut after a paragraph if there is one.

    errors: ``strict``; ``replace`` (each byte that does not decode is U+FFFD) or ``skip`` (its line is
    dropped), both counted in ``dropped``.
    """
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder(encoding)("strict" if errors == "strict" else "replace"), translate=True
    )
    held: list[str] = []
    size = 0
    for block in byte_blocks(path, start, stop):
        held.append(decoder.decode(block))
        size += len(held[-1])
        if size >= PIECE:
            text = "".join(held)
            if cut := _cut(text):
                yield normalise(_drop_undecodable(text[:cut], errors, dropped), dropped)
            held, size = [text[cut:]], len(text) - cut
    text = "".join(held) + decoder.decode(b"", final=True)
    yield normalise(_drop_undecodable(text, errors, dropped), dropped)


def _cut(text: str) -> int:
    """Where to cut: after the last blank line, else line, else blank, else near the end; 0 for nowhere."""
    for end in ("\n\n", "\n", " "):
        at = text.rfind(end)
        if at > 0:
            return at + len(end)
    near_end = range(len(text) - 1, max(0, len(text) - 100), -1)
    return next((at for at in near_end if _may_start(text, at)), 0)


def _may_start(text: str, at: int) -> bool:
    """Whether NFC composes the character at ``at`` with none before it."""
    before, after = text[max(0, at - 3) : at], text[at]
    apart = unicodedata.normalize("NFC", before) + unicodedata.normalize("NFC", after)
    return not unicodedata.combining(after) and unicodedata.normalize("NFC", before + after) == apart


def _drop_undecodable(text: str, errors: str, dropped: Counter[str]) -> str:
    """Counts U+FFFD, or drops the lines that hold it. Only called with faulty files unless ``strict``."""
    if errors == "strict" or "\ufffd" not in text:
        return text
    if errors == "replace":
        dropped["bytes that do not decode (now U+FFFD)"] += text.count("\ufffd")
        return text
    lines = text.split("\n")
    kept = [line for line in lines if "\ufffd" not in line]
    dropped["lines that do not decode"] += len(lines) - len(kept)
    return "\n".join(kept)


def normalise(text: str, dropped: Counter[str]) -> str:
    """``text`` by the rules at the top of this file; what is dropped is counted."""
    text = LINE_ENDS.sub("\n", text)
    text, controls = CONTROL.subn("", text)
    if controls:
        dropped["control characters"] += controls
    if _BLANK_AT_LINE_END.search(text):
        text = "\n".join(line.rstrip() for line in text.split("\n"))
    return text if text.isascii() else unicodedata.normalize("NFC", text)


class _ZstdFile(io.RawIOBase):
    """Reads .zst with an error at a truncated end, which zstandard's own reader passes over."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._started = False
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[override]
        while not self._ready:
            data = self._frame.unused_data or self._file.read(8192)
            if not data:
                if self._started and not self._frame.eof:
                    raise EOFError("the last frame ends too early")
                return 0
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._started = True
            self._ready = memoryview(self._frame.decompress(data))
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()
