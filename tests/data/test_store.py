"""The store: what is in it, that nothing about its building shows in it, and that no stop leaves half of one."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ptk import files
from ptk.data import corpus as corpora
from ptk.data import store_building as building
from ptk.data.corpus import Corpus, Counts
from ptk.data.store import PARTS, Store, token_type
from ptk.data.tokenizer import Tokenizer
from ptk.data.tokenizer_training import train
from ptk.errors import DataError, DiskError, ProcessLostError
from ptk.recipe import CorpusSource, TokenizerSpec

WORDS = ["the", "a", "old", "small", "house", "river", "road", "sees", "finds", "likes", "to", "along", "under", "and"]


def text(seed: int, documents: int = 30) -> str:
    rng = random.Random(seed)
    lines = [[" ".join(rng.choices(WORDS, k=8)) + "." for _ in range(rng.randint(2, 9))] for _ in range(documents)]
    return "\n\n".join("\n".join(document) for document in lines) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six files of 30 documents."""
    made = tmp_path / "corpus"
    made.mkdir()
    for number in range(6):
        (made / f"{number}.txt").write_text(text(number), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train(TokenizerSpec(kind="wordpiece", vocab_size=90), [text(99)])


def opened(folder: Path, shard_bytes: int = 1500) -> Corpus:
    return corpora.open_corpus([CorpusSource(path=str(folder), split_documents="blank_line")], shard_bytes)


def content(store: Store) -> dict[str, bytes]:
    return {name: (store.folder / f"{name}.npy").read_bytes() for name in PARTS}


def left(store: Store) -> set[str]:
    return {path.name for path in store.folder.iterdir()}


WHOLE = {*(f"{name}.npy" for name in PARTS), "manifest.json", ".lock"}


def test_ids_sentences_and_documents_are_those_of_the_text(folder, tokenizer, tmp_path):
    corpus = opened(folder)
    store = building.build(corpus, tokenizer, 1, tmp_path / "stores")
    documents = [d for shard in corpus.shards for d in corpora.read(corpus, shard, Counts())]
    assert len(documents) == len(store.documents) - 1 == len(store.hashes) == len(store.sources) == 180
    at = 0
    for number, document in enumerate(documents):
        first, stop = store.documents[number : number + 2]
        assert stop - first == len(document.sentences) > 1
        for sentence, ids in zip(range(first, stop), tokenizer.encode_batch(document.sentences), strict=True):
            assert store.sentences[sentence] == at
            assert store.tokens[at : at + len(ids)].tolist() == ids.tolist()
            assert store.sentence_bytes[sentence] == len(document.sentences[sentence - first].encode())
            at += len(ids)
    assert at == store.sentences[-1] == len(store.tokens) == store.manifest["tokens"]
    assert store.manifest["sentences"] == len(store.sentence_bytes) == store.documents[-1]
    assert len(set(store.hashes.tolist())) == 180


def test_ids_take_two_bytes_where_the_vocabulary_allows(folder, tokenizer, tmp_path):
    assert token_type(1 << 16) is np.uint16
    assert token_type((1 << 16) + 1) is np.uint32
    assert building.build(opened(folder), tokenizer, 1, tmp_path / "stores").tokens.dtype == np.uint16
    many = "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(1 << 16)), "the", "road"])
    (tmp_path / "vocab.txt").write_text(many, encoding="utf-8")
    from ptk.data import tokenizer as tokenizers

    large = tokenizers.load(str(tmp_path / "vocab.txt"))
    store = building.build(opened(folder), large, 1, tmp_path / "stores")
    assert store.tokens.dtype == np.uint32
    assert store.tokens.max() == (1 << 16) + 6


def test_neither_processes_nor_shards_change_a_byte(folder, tokenizer, tmp_path):
    assert len(opened(folder).shards) > 6 > 1 == len(opened(folder, 1 << 20).shards)
    one = building.build(opened(folder), tokenizer, 1, tmp_path / "one")
    for name, processes, shard_bytes in (("two", 2, 1500), ("large", 1, 1 << 20), ("small", 2, 900)):
        other = building.build(opened(folder, shard_bytes), tokenizer, processes, tmp_path / name)
        assert content(other) == content(one), name
        assert other.manifest == one.manifest, name
        assert left(other) == WHOLE


def test_batches_of_sentences_do_not_show(folder, tokenizer, tmp_path, monkeypatch):
    one = building.build(opened(folder), tokenizer, 1, tmp_path / "one")
    monkeypatch.setattr(building, "BATCH", 7)
    assert content(building.build(opened(folder), tokenizer, 1, tmp_path / "two")) == content(one)


def test_a_stopped_build_goes_on_without_redoing_shards(folder, tokenizer, tmp_path, monkeypatch):
    corpus = opened(folder)
    whole = building.build(corpus, tokenizer, 1, tmp_path / "whole")
    write, written = building.write_shard, []

    def stops_at(number):
        def write_shard(work, shard):
            if shard.index == number:
                raise KeyboardInterrupt
            written.append(shard.index)
            write(work, shard)

        return write_shard

    for number in (2, 5):
        monkeypatch.setattr(building, "write_shard", stops_at(number))
        with pytest.raises(KeyboardInterrupt):
            building.build(corpus, tokenizer, 1, tmp_path / "again")
        assert building.find(corpus, tokenizer, tmp_path / "again") is None
    monkeypatch.setattr(building, "write_shard", stops_at(None))
    said = []
    again = building.build(corpus, tokenizer, 1, tmp_path / "again", lambda done, total: said.append((done, total)))
    assert written == list(range(len(corpus.shards)))
    assert said[0] == (6, len(corpus.shards))
    assert said[-1] == (len(corpus.shards), len(corpus.shards))
    assert content(again) == content(whole)
    assert left(again) == WHOLE


@pytest.mark.parametrize("damage", ["half", "truncated", "no record", "cut otherwise"])
def test_a_shard_that_is_not_whole_is_redone(folder, tokenizer, tmp_path, monkeypatch, damage):
    corpus = opened(folder)
    whole = building.build(corpus, tokenizer, 1, tmp_path / "whole")
    key = building.fingerprint(corpus, tokenizer)
    place = tmp_path / "again" / key
    place.mkdir(parents=True)
    cut = opened(folder, 1 << 20) if damage == "cut otherwise" else corpus
    building.write_shard(building.Work(cut, tokenizer, place), cut.shards[0])
    shard = building.shard_folder(place, cut.shards[0])
    if damage == "half":
        (shard / "shard.json").unlink()
        shard.rename(shard.with_name(f".{shard.name}"))
    elif damage == "truncated":
        os.truncate(shard / "tokens.raw", 0)
    elif damage == "no record":
        (shard / "shard.json").unlink()
    again = building.build(corpus, tokenizer, 1, tmp_path / "again")
    assert content(again) == content(whole)
    assert left(again) == WHOLE


BUILDER = """
import sys, time
from pathlib import Path
from ptk.data import corpus as corpora, store_building as building, tokenizer as tokenizers
from ptk.recipe import CorpusSource

def loud(work, shard, write=building.write_shard):
    print("writing", shard.index, flush=True)
    write(work, shard)

def slow(writer, *document, add=building.ShardWriter.add):
    time.sleep(float(sys.argv[5]))
    add(writer, *document)

if __name__ == "__main__":
    corpus = corpora.open_corpus([CorpusSource(path=sys.argv[1], split_documents="blank_line")], 1500)
    if sys.argv[4] == "1":
        building.write_shard, building.ShardWriter.add = loud, slow
    store = building.build(corpus, tokenizers.load(sys.argv[2]), int(sys.argv[4]), Path(sys.argv[3]))
    print("built", store.folder, flush=True)
"""


@pytest.fixture
def builder(folder, tokenizer, tmp_path, environment):
    """Starts a process of its own that builds the store of ``folder`` in ``tmp_path/stores``."""
    tokenizer.save(tmp_path / "tokenizer")
    (tmp_path / "builder.py").write_text(BUILDER)
    started = []

    def start(processes: int = 1, seconds: float = 0.0) -> subprocess.Popen:
        command = [sys.executable, "builder.py", str(folder), "tokenizer", "stores", str(processes), str(seconds)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_killed_builder_leaves_nothing_half(folder, tokenizer, tmp_path, builder):
    corpus = opened(folder)
    whole = building.build(corpus, tokenizer, 1, tmp_path / "whole")
    place = tmp_path / "stores" / building.fingerprint(corpus, tokenizer)
    rng, finished = random.Random(5), set()
    for killed in range(1, 5):
        process = builder(seconds=0.003)
        for _ in range(2):  # one is finished
            assert process.stdout.readline().startswith("writing")
        time.sleep(rng.uniform(0, 0.06))
        os.kill(process.pid, signal.SIGKILL)
        said = process.communicate()[0]
        begun = {int(line.split()[1]) for line in said.splitlines()}
        assert not begun & finished  # what an earlier one finished was not begun again
        finished = {int(path.name.split("-")[1]) for path in place.glob("shard-*")}
        assert len(finished) >= killed
        assert not (place / "manifest.json").exists()
    again = building.build(corpus, tokenizer, 1, tmp_path / "stores")
    assert content(again) == content(whole)
    assert left(again) == WHOLE


def test_processes_of_a_killed_builder_end_with_it(folder, tokenizer, tmp_path, builder):
    import psutil

    (folder / "long.txt").write_text(text(7, documents=800), encoding="utf-8")
    process = builder(processes=2)
    place = tmp_path / "stores"
    deadline = time.monotonic() + 30
    while not list(place.glob("*/shard-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    os.kill(process.pid, signal.SIGKILL)
    gone, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    assert len(gone) == len(children)


def test_a_killed_process_of_the_builder_is_an_error_and_not_a_wait(folder, tokenizer, tmp_path, builder):
    import psutil

    (folder / "long.txt").write_text(text(7, documents=800), encoding="utf-8")
    process = builder(processes=2)
    deadline = time.monotonic() + 30
    while not list((tmp_path / "stores").glob("*/shard-*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    victim = next(child for child in children if "spawn_main" in " ".join(child.cmdline()))
    victim.kill()
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert f"{ProcessLostError.__name__}: stores" in said
    assert "run the same again" in said
    assert not psutil.wait_procs(children, timeout=5)[1]
    kept = list((tmp_path / "stores").glob("*/shard-*"))
    assert kept
    corpus = opened(folder)
    again = building.build(corpus, tokenizer, 1, tmp_path / "stores")
    assert content(again) == content(building.build(corpus, tokenizer, 1, tmp_path / "whole"))


def test_two_at_once_make_one_build(folder, builder, tmp_path):
    first, second = builder(seconds=0.002), builder(seconds=0.002)
    said = [process.communicate(timeout=60) for process in (first, second)]
    assert first.returncode == second.returncode == 0, said
    written = [line for out, _ in said for line in out.splitlines() if line.startswith("writing")]
    assert len(written) == len(set(written)) == len(opened(folder).shards)
    assert {out.splitlines()[-1] for out, _ in said} == {said[0][0].splitlines()[-1]}
    assert min(out.count("writing") for out, _ in said) == 0  # the other one waited


def test_an_error_in_a_process_is_the_one_of_the_file(folder, tokenizer, tmp_path):
    (folder / "9.jsonl").write_text('{"text": "one."}\n{"text": 3}\n')
    corpus = opened(folder)
    before = set(multiprocessing.active_children())
    with pytest.raises(DataError, match=r"9\.jsonl:2: `text` is 3"):
        building.build(corpus, tokenizer, 2, tmp_path / "stores")
    assert set(multiprocessing.active_children()) == before


def test_a_full_disk_is_said_and_keeps_what_is_finished(folder, tokenizer, tmp_path, monkeypatch):
    corpus = opened(folder)
    put = building.ShardWriter.put

    def full(writer, name, values):
        if (tmp_path / "stores" / building.fingerprint(corpus, tokenizer) / "shard-000003").exists():
            raise OSError(28, "No space left on device")
        put(writer, name, values)

    with monkeypatch.context() as patch:
        patch.setattr(building.ShardWriter, "put", full)
        with pytest.raises(DiskError, match="no space left"):
            building.build(corpus, tokenizer, 1, tmp_path / "stores")
    assert left(building.build(corpus, tokenizer, 1, tmp_path / "stores")) == WHOLE


def test_a_finished_store_is_reused_without_reading_the_text(folder, tokenizer, tmp_path, monkeypatch):
    corpus = opened(folder)
    first = building.build(corpus, tokenizer, 1, tmp_path / "stores")
    (first.folder / "shard-000001").mkdir()  # of a builder that was stopped between its manifest and its end
    monkeypatch.setattr(building, "write_shard", None)
    again = building.build(corpus, tokenizer, 2, tmp_path / "stores")
    assert again.folder == first.folder == building.find(corpus, tokenizer, tmp_path / "stores").folder
    assert left(again) == WHOLE


def spoiled(**changes):
    def spoil(folder: Path) -> None:
        files.write_json(folder / "manifest.json", files.read_json(folder / "manifest.json") | changes)

    return spoil


SPOILED = {
    "of another text": (spoiled(fingerprint="0" * 16), r"manifest\.json: store 0000000000000000 of format 1, not"),
    "of another format": (spoiled(format=0), r"manifest\.json: store \w+ of format 0, not \w+ of format 1"),
    "not JSON": (lambda folder: (folder / "manifest.json").write_text('{"format"'), r"manifest\.json: damaged"),
    "not a manifest": (lambda folder: (folder / "manifest.json").write_text("[1]"), r"manifest\.json: damaged"),
    "without sizes": (spoiled(files={}), r"manifest\.json: damaged"),
    "a file cut short": (
        lambda folder: os.truncate(folder / "sentences.npy", 130),
        r"sentences\.npy: 130 bytes long, not [\d,]+",
    ),
    "a file gone": (lambda folder: (folder / "hashes.npy").unlink(), r"hashes\.npy: missing"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_store_that_does_not_match_is_refused_with_the_remedy(folder, tokenizer, tmp_path, case):
    corpus = opened(folder)
    store = building.build(corpus, tokenizer, 1, tmp_path / "stores")
    spoil, message = SPOILED[case]
    spoil(store.folder)
    for refuses in (building.find, lambda *where: building.build(*where[:2], 1, where[2])):
        with pytest.raises(DataError, match=message) as caught:
            refuses(corpus, tokenizer, tmp_path / "stores")
        assert str(caught.value).startswith(str(store.folder))
        assert str(caught.value).endswith(f"delete {store.folder} to build it again")
        assert "\n" not in str(caught.value)


def test_another_text_or_tokenizer_is_another_store(folder, tokenizer, tmp_path):
    keys = [building.fingerprint(opened(folder), tokenizer)]
    assert building.fingerprint(opened(folder, 900), tokenizer) == keys[0]
    (folder / "3.txt").write_text((folder / "3.txt").read_text().replace("river", "rover", 1))
    keys.append(building.fingerprint(opened(folder), tokenizer))
    (folder / "6.txt").write_text("more text here.\n")
    keys.append(building.fingerprint(opened(folder), tokenizer))
    other = train(TokenizerSpec(kind="wordpiece", vocab_size=50), [text(99)])
    keys.append(building.fingerprint(opened(folder), other))
    assert len(set(keys)) == 4


def test_what_gives_no_token_is_left_out_and_counted(tmp_path, tokenizer):
    # U+200B and its like are text to a reader, and nothing to BERT's normalisation (NSP-1).
    (tmp_path / "a.txt").write_text("the road.\n\u200b\u200b\nthe old house.\n\n\u200b\u200d\n\na river.\n", "utf-8")
    corpus = corpora.open_corpus([CorpusSource(path=str(tmp_path / "a.txt"), split_documents="blank_line")])
    found = [d.sentences for shard in corpus.shards for d in corpora.read(corpus, shard, Counts())]
    empty = sum(not len(ids) for sentences in found for ids in tokenizer.encode_batch(sentences))
    assert empty >= 1
    store = building.build(corpus, tokenizer, 1, tmp_path / "stores")
    assert store.manifest["counts"]["dropped"]["sentences without a token"] == empty
    assert store.manifest["counts"]["dropped"]["documents without a token"] == 1
    assert store.manifest["documents"] == len(store.documents) - 1 == 2
    assert (np.diff(store.sentences) > 0).all()
    assert (np.diff(store.documents) > 0).all()
    assert tokenizer.decode(store.tokens.tolist()) == "the road. the old house. a river."


def test_text_without_any_token_is_an_error(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("\u200b\u200b\n", encoding="utf-8")
    corpus = corpora.open_corpus([CorpusSource(path=str(tmp_path / "a.txt"))])
    with pytest.raises(DataError, match=r"a\.txt: no text"):
        building.build(corpus, tokenizer, 1, tmp_path / "stores")


def test_sources_keep_their_numbers(folder, tokenizer, tmp_path):
    paths = [folder / "0.txt", folder / "1.txt", folder / "2.txt"]
    sources = [CorpusSource(path=str(path), split_documents="blank_line") for path in paths]
    store = building.build(corpora.open_corpus(sources, 900), tokenizer, 2, tmp_path / "stores")
    assert np.bincount(store.sources).tolist() == [30, 30, 30]
    assert (np.diff(store.sources.astype(int)) >= 0).all()


KOREAN = [
    "오늘은 날씨가 맑고 바람이 분다.",
    "나는 학교에 가서 책을 읽었다.",
    "그녀는 “같이 가자”라고 말했다.",
    "강가의 작은 집에는 노인이 산다.",
]


def test_korean_text(tmp_path):
    rng = random.Random(0)
    documents = [rng.choices(KOREAN, k=5) for _ in range(40)]
    path = tmp_path / "ko.txt"
    path.write_text("\n\n".join("\n".join(lines) for lines in documents) + "\n", encoding="utf-8")
    corpus = corpora.open_corpus([CorpusSource(path=str(path), split_documents="blank_line")], 2000)
    tokenizer = train(TokenizerSpec(kind="wordpiece", vocab_size=150), ["\n".join(KOREAN)] * 3)
    store = building.build(corpus, tokenizer, 2, tmp_path / "stores")
    assert store.manifest["documents"] == 40
    assert np.diff(store.documents).tolist() == [5] * 40
    assert tokenizer.unk_id not in store.tokens
    said = tokenizer.decode(store.tokens[: store.sentences[5]].tolist())
    assert "".join(said.replace("##", "").split()) == "".join("".join(documents[0]).split())
    size = path.stat().st_size - 40 * 2 + 1  # all but the blank line after each document
    assert store.sentence_bytes.sum() == size


def test_real_korean_text_is_whole(real_data, tmp_path):
    corpus = corpora.open_corpus([CorpusSource(path=str(real_data / "text_ko_rustbook"))], 1 << 17)
    texts = [d.text for shard in corpus.shards[:2] for d in corpora.read(corpus, shard, Counts())]
    tokenizer = train(TokenizerSpec(kind="char", vocab_size=3000), texts)
    store = building.build(corpus, tokenizer, 2, tmp_path / "stores")
    for shard in corpus.shards[:1]:
        for number, document in enumerate(corpora.read(corpus, shard, Counts())):
            first, stop = store.sentences[store.documents[number : number + 2]]
            assert tokenizer.decode(store.tokens[first:stop].tolist()) == document.text


def test_only_the_folder_is_sent_to_other_processes(folder, tokenizer, tmp_path):
    import pickle

    store = building.build(opened(folder), tokenizer, 1, tmp_path / "stores")
    assert len(store.tokens)
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    assert pickle.loads(sent).tokens.tolist() == store.tokens.tolist()
