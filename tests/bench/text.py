"""Raw text to ids on disk, in MB/s: ptk's store beside the `tokenizers` library alone and the path of run_mlm.py.

    make bench-text                                       # 10 MB of English and of Korean; about 10 minutes on 2 cores
    make bench-text BENCH='--kinds wordpiece --runs 1'    # a short pass

Every measurement is a process of its own, all of them in turn, medians of ``--runs``; imports are not counted, the
start of other processes is. What the peers do is the lines of the text to ids; ptk reads, cleans and cuts sentences
besides. The ids of every sentence of the store are compared with AutoTokenizer's.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path

import places

LANGUAGES = {
    "English": ("text_en_books",),
    "Korean": (
        "text_ko_cppdocs",
        "text_ko_hfcourse",
        "text_ko_pytorch",
        "text_ko_react",
        "text_ko_rustbook",
        "ko_nsmc",
    ),
}
SIZES = {"wordpiece": 30522, "bpe": 50257, "unigram": 32000}
LENGTH = 128  # of run_mlm's rows
FILES = 8


def write_corpus(folder: Path, names: tuple[str, ...], size: int) -> None:
    """``size`` bytes of the public texts as ``FILES`` files of whole lines."""
    paths = sorted(path for name in names for path in (places.DATA / name).rglob("*") if path.is_file())
    texts = (path.read_bytes() for path in paths if not path.name.startswith("_"))
    lines = b"\n\n".join(texts).decode("utf-8", "ignore").encode()[:size].decode("utf-8", "ignore").split("\n")
    folder.mkdir(parents=True)
    for number in range(FILES):
        part = lines[len(lines) * number // FILES : len(lines) * (number + 1) // FILES]
        (folder / f"{number}.txt").write_text("\n".join(part), encoding="utf-8", newline="\n")


def read_lines(folder: Path) -> list[str]:
    texts = [path.read_text(encoding="utf-8") for path in sorted((folder / "files").iterdir())]
    return [line for text in texts for line in text.split("\n") if line and not line.isspace()]


def train_tokenizer(folder: Path, kind: str) -> None:
    from ptk.data.tokenizer_training import train
    from ptk.recipe import TokenizerSpec

    train(TokenizerSpec(kind=kind, vocab_size=SIZES[kind]), read_lines(folder)).save(folder / kind)  # type: ignore[arg-type]


def ptk(folder: Path, kind: str) -> float:
    from ptk.data import corpus as corpora
    from ptk.data import store_building, tokenizer
    from ptk.recipe import CorpusSource

    made = tokenizer.load(str(folder / kind))
    with tempfile.TemporaryDirectory(dir=folder) as stores:
        began = time.perf_counter()
        corpus = corpora.open_corpus([CorpusSource(path=str(folder / "files"))])
        store_building.build(corpus, made, root=Path(stores))
        return time.perf_counter() - began


def library(folder: Path, kind: str) -> float:
    """encode_batch_fast with its own threads, on lines; the ids taken out."""
    import numpy as np
    import tokenizers

    lines, made = read_lines(folder), tokenizers.Tokenizer.from_file(str(folder / kind / "tokenizer.json"))
    began = time.perf_counter()
    for start in range(0, len(lines), 10_000):
        encodings = made.encode_batch_fast(lines[start : start + 10_000], add_special_tokens=False)
        np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.uint32)
    return time.perf_counter() - began


def run_mlm(folder: Path, kind: str, processes: int) -> float:
    """What transformers' example does without line_by_line: tokenize all lines, join them, cut at LENGTH."""
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    lines, made = read_lines(folder), AutoTokenizer.from_pretrained(folder / kind, model_max_length=1 << 30)

    def tokenize(rows: dict) -> dict:
        return made(rows["text"], return_special_tokens_mask=True)

    def group(rows: dict) -> dict:
        joined = {name: list(chain(*column)) for name, column in rows.items()}
        total = len(joined["input_ids"]) // LENGTH * LENGTH
        return {name: [ids[at : at + LENGTH] for at in range(0, total, LENGTH)] for name, ids in joined.items()}

    began = time.perf_counter()
    data = datasets.Dataset.from_dict({"text": lines})
    data = data.map(tokenize, batched=True, num_proc=processes, remove_columns=["text"])
    data.map(group, batched=True, num_proc=processes)
    return time.perf_counter() - began


def differences(folder: Path, kind: str) -> str:
    """How many sentences of the store have other ids than AutoTokenizer gives them, to which special tokens that a
    text spells are text, too, as they are to ptk (ENG-5): but Unigram's model finds them as pieces all the same."""
    import numpy as np
    from transformers import AutoTokenizer

    from ptk.data import corpus as corpora
    from ptk.data import store_building, tokenizer
    from ptk.recipe import CorpusSource

    corpus = corpora.open_corpus([CorpusSource(path=str(folder / "files"))])
    documents = chain.from_iterable(corpora.read(corpus, shard, corpora.Counts()) for shard in corpus.shards)
    sentences = [sentence for document in documents for sentence in document.sentences]
    theirs = AutoTokenizer.from_pretrained(folder / kind)
    ids = theirs(sentences, add_special_tokens=False, return_attention_mask=False, split_special_tokens=True).input_ids
    expected = [(text, each) for text, each in zip(sentences, ids, strict=True) if each]
    with tempfile.TemporaryDirectory(dir=folder) as stores:
        store = store_building.build(corpus, tokenizer.load(str(folder / kind)), root=Path(stores))
        ours = np.split(store.tokens, store.sentences[1:-1])
    wrong = [text for (text, each), row in zip(expected, ours, strict=True) if row.tolist() != each]
    spelled = [text for text in wrong if any(token in text for token in theirs.all_special_tokens)]
    others = [text for text in wrong if text not in spelled]
    first = f"; the first one: {others[0][:200]!r}" if others else ""
    apart = f"; {len(spelled)} that spell a special token have it as text here and as the token there" * bool(spelled)
    total = f"{len(expected):,} sentences, {sum(map(len, ids)):,} ids"
    return f"{len(others)} of {total}, differ from AutoTokenizer's{first}{apart}"


STEPS = {"ptk": ptk, "library": library}
STEPS |= {"run_mlm, 1 process": lambda folder, kind: run_mlm(folder, kind, 1)}
STEPS |= {"run_mlm, 2 processes": lambda folder, kind: run_mlm(folder, kind, 2)}


def measured(step: str, folder: Path, kind: str) -> str:
    """The last line that this script prints for one step, in a process of its own."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "datasets")}
    command = [sys.executable, __file__, "--step", step, str(folder), kind]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{step}, {kind}: {done.stderr}")
    return done.stdout.splitlines()[-1]


def bench(folder: Path, language: str, kinds: list[str], size: float, runs: int) -> bool:
    """The lines of a language. Are all ids equal?"""
    equal = True
    write_corpus(folder / "files", LANGUAGES[language], int(size * 1e6))
    megabytes = sum(path.stat().st_size for path in (folder / "files").iterdir()) / 1e6
    for kind in kinds:
        train_tokenizer(folder, kind)
        seconds: dict[str, list[float]] = {step: [] for step in STEPS}
        for _ in range(runs):
            for step, times in seconds.items():
                times.append(float(measured(step, folder, kind)))
        rates = {step: megabytes / statistics.median(times) for step, times in seconds.items()}
        cells = [f"{rate:5.1f} ({rates['ptk'] / rate:.1f}x)" for rate in rates.values()]
        print(f"{language:8} {kind:10}" + "".join(f"{cell:>22}" for cell in cells), flush=True)
        said = measured("differences", folder, kind)
        print(f"    {megabytes:.1f} MB; {said}", flush=True)
        equal = equal and said.startswith("0 of")
    return equal


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=float, default=10, help="MB of text")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES), choices=list(LANGUAGES))
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.step:
        step, folder, kind = chosen.step
        print({**STEPS, "differences": differences}[step](Path(folder), kind))
        return 0
    print(f"MB/s, in brackets how many times as fast ptk is; {os.cpu_count()} cores")
    print(f"{'':19}" + "".join(f"{step:>22}" for step in STEPS), flush=True)
    equal = True
    for language in chosen.languages:
        with tempfile.TemporaryDirectory(prefix="ptk-bench-") as folder:
            equal = bench(Path(folder), language, chosen.kinds, chosen.size, chosen.runs) and equal
    return 0 if equal else 1  # a single different id is a failure


if __name__ == "__main__":
    sys.exit(main())
