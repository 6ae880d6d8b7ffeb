"""Time and memory of the two steps that see the whole corpus: the store, and one epoch's next-sentence rows.

    make bench-store                         # 2 GB of text, 10 million sentences of rows; about 10 minutes on 2 cores
    make bench-store BENCH='--size 50'       # a short pass, in MB

The text is real text, repeated, a number appended to each paragraph so that no two documents are the same. Memory is
the proportional set size summed over all processes (pages shared by two count half in each), where the system tells
it, else the resident set size; it includes the pages of files that are mapped.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import places
import psutil

BOOKS = places.DATA / "text_en_books"
FILES = 64
SAMPLE = 2 << 20  # bytes that the tokenizer is trained on
VOCABULARY = 8192
LENGTH = 128
LIMIT = 1.5e9  # bytes, of all processes together
EVERY = 0.1  # seconds between two looks at the memory


def real_text() -> list[str]:
    """Paragraphs of the books beside the checkout, or of the documentation of Python."""
    if BOOKS.is_dir():
        texts = [path.read_text(encoding="utf-8-sig") for path in sorted(BOOKS.rglob("*")) if path.is_file()]
    else:
        from ptk.data import corpus as corpora
        from ptk.recipe import CorpusSource

        opened = corpora.open_corpus([CorpusSource(path="python-docs")])
        texts = [d.text for shard in opened.shards for d in corpora.read(opened, shard, corpora.Counts())]
    return [piece for text in texts for piece in re.split(r"\n\s*\n", text) if piece.strip()]


def numbered(paragraphs: list[str]) -> Iterator[str]:
    """The paragraphs again and again, each with a number that no other has."""
    numbers = count()
    while True:
        yield from (f"{paragraph.strip()} {next(numbers)}\n\n" for paragraph in paragraphs)


def write_corpus(folder: Path, size: int, number: int) -> None:
    """``number`` files of ``size`` bytes together."""
    folder.mkdir()
    pieces = numbered(real_text())
    for index in range(number):
        left = size // number
        with open(folder / f"{index:03d}.txt", "w", encoding="utf-8", newline="") as file:
            while left > 0:
                piece = next(pieces)
                left -= len(piece.encode())
                file.write(piece)


def memory(process: psutil.Process) -> int:
    """Bytes of a process and all its descendants: PSS where there is one, else RSS."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            full = one.memory_full_info()
            total += getattr(full, "pss", full.rss)
        except psutil.Error:  # ended in between
            continue
    return total


def measured(*step: object) -> tuple[float, int]:
    """Seconds and peak bytes of this script, run for one step in a process of its own."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, __file__, *map(str, step)])
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            peak = max(peak, memory(watched))
        except psutil.NoSuchProcess:
            break
        time.sleep(EVERY)
    if process.wait():
        raise SystemExit(f"step {step[1]} failed with exit code {process.returncode}")
    return time.monotonic() - began, peak


def train_tokenizer(folder: Path) -> None:
    from ptk.data.tokenizer_training import train
    from ptk.recipe import TokenizerSpec

    text = (folder / "files" / "000.txt").read_bytes()[:SAMPLE].decode(errors="ignore")
    train(TokenizerSpec(vocab_size=VOCABULARY), [text]).save(folder / "tokenizer")


def build_store(folder: Path, name: str) -> None:
    from ptk.data import corpus as corpora
    from ptk.data import store_building, tokenizer
    from ptk.recipe import CorpusSource

    split = "file" if name == "books" else "blank_line"
    corpus = corpora.open_corpus([CorpusSource(path=str(folder / "files"), split_documents=split)])
    store_building.build(corpus, tokenizer.load(str(folder / "tokenizer")), root=folder / f"stores-{name}")


def synthetic_store(folder: Path, sentences: int, document: int) -> None:
    """A store of ``sentences`` sentences, ``document`` a document, whose lengths are those of the real ones."""
    from ptk import files
    from ptk.data.store import FORMAT, PARTS, Store

    real = Store(next((folder / "stores-documents").iterdir()))
    rng = np.random.default_rng(0)
    target = folder / f"synthetic-{document}"
    target.mkdir()
    lengths = rng.choice(np.diff(real.sentences), sentences)
    documents = np.append(np.arange(0, sentences, document), sentences)
    arrays = {
        "sentences": np.concatenate([[0], np.cumsum(lengths)]),
        "sentence_bytes": lengths * 4,
        "documents": documents,
        "hashes": rng.integers(0, 2**64, len(documents) - 1, np.uint64),
        "sources": np.zeros(len(documents) - 1),
    }
    for name, values in arrays.items():
        np.save(target / f"{name}.npy", values.astype(PARTS[name]))
    tokens = np.lib.format.open_memmap(target / "tokens.npy", "w+", real.tokens.dtype, (int(lengths.sum()),))
    tokens.flush()
    about = {"format": FORMAT, "fingerprint": "synthetic", "tokens": len(tokens), "vocab_size": VOCABULARY}
    files.write_json(target / "manifest.json", {**about, "sources": ["synthetic"]})


def build_rows(folder: Path, document: int) -> None:
    """One epoch's next-sentence rows of the synthetic store."""
    from ptk.data import rows
    from ptk.data.store import Store
    from ptk.objectives.mlm import OBJECTIVE
    from ptk.recipe import EvaluateSpec

    store = Store(folder / f"synthetic-{document}")
    rows.build(rows.RowSource(store, OBJECTIVE(fidelity="fixed"), EvaluateSpec(), LENGTH, 1), 0)


def size_of(pattern: Path) -> int:
    return sum(path.stat().st_size for path in pattern.parent.glob(pattern.name))


def say(what: str, amount: str, rate: str, seconds: float, peak: int) -> None:
    verdict = "" if peak < LIMIT else f"   over {LIMIT / 1e9:g} GB"
    print(f"{what:44} {amount:>16} {seconds:8.1f} s {rate:>16} {peak / 1e6:8,.0f} MB{verdict}", flush=True)


def bench(folder: Path, size: int, sentences: int, forms: list[str]) -> None:
    from ptk import files

    print(f"{os.cpu_count()} cores; peak memory is of all processes together", flush=True)
    names = {"documents": "store, 64 files, a paragraph a document", "books": "store, 64 files, a file a document"}
    names["one"] = "store, one file of one document"
    for form in forms:
        shutil.rmtree(folder / "files", ignore_errors=True)
        write_corpus(folder / "files", size, 1 if form == "one" else FILES)
        if not (folder / "tokenizer").exists():
            train_tokenizer(folder)
        seconds, peak = measured("--step", "store", folder, "books" if form == "one" else form)
        shutil.rmtree(folder / "files")
        made = next((folder / f"stores-{'books' if form == 'one' else form}").iterdir())
        tokens = files.read_json(made / "manifest.json")["tokens"]
        say(names[form], f"{size / 1e6:,.0f} MB", f"{size / 1e6 / seconds:,.1f} MB/s", seconds, peak)
        print(f"    {tokens:,} tokens, {size_of(made / '*.npy') / 1e6:,.0f} MB on disk", flush=True)
        if form != "documents":
            shutil.rmtree(made.parent)
    for document in (20, 20_000):
        synthetic_store(folder, sentences, document)
        seconds, peak = measured("--step", "rows", folder, document)
        made = next((folder / f"synthetic-{document}" / "rows").glob("*/epoch-000000"))
        rows = files.read_json(made / "manifest.json")["rows"]
        what = f"rows, documents of {document:,} sentences"
        say(what, f"{sentences / 1e6:g} M sentences", f"{rows / seconds:,.0f} rows/s", seconds, peak)
        print(f"    {rows:,} rows, {size_of(made / '*.npy') / 1e6:,.0f} MB on disk", flush=True)
        shutil.rmtree(folder / f"synthetic-{document}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=float, default=2000, help="MB of text")
    parser.add_argument("--sentences", type=float, help="millions of the rows' store; 10 for 2000 MB of text")
    parser.add_argument("--forms", nargs="+", default=["documents"], choices=["documents", "books", "one"])
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.step:
        step, folder, what = chosen.step
        return build_store(Path(folder), what) if step == "store" else build_rows(Path(folder), int(what))
    sentences = int((chosen.sentences or chosen.size / 200) * 1e6)
    with tempfile.TemporaryDirectory(prefix="ptk-bench-") as folder:
        bench(Path(folder), int(chosen.size * 1e6), sentences, chosen.forms)
    return None


if __name__ == "__main__":
    main()
