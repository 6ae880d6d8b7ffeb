"""Tables of rows: the same whoever builds them and however many do, whole or not there, and not kept for ever."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from ptk import files
from ptk.data import rows
from ptk.data.rows import Ahead, Rows, RowSource
from ptk.data.store import Store
from ptk.errors import ProcessLostError
from ptk.objectives.mlm import MaskedLanguageModelling
from ptk.objectives.objective import Table
from ptk.recipe import EvaluateSpec


def write_store(folder: Path, documents: int = 400, source: int | None = None) -> Store:
    """A store of documents of 1 to 12 sentences of 3 to 20 tokens; its tokens count up."""
    rng = np.random.default_rng(3)
    sentences = rng.integers(1, 13, documents)
    lengths = rng.integers(3, 21, sentences.sum())
    arrays = {
        "tokens": (np.arange(lengths.sum()) % 60_000).astype(np.uint16),
        "sentences": np.cumsum([0, *lengths]),
        "sentence_bytes": (lengths * 4).astype(np.int32),
        "documents": np.cumsum([0, *sentences]),
        "hashes": rng.integers(0, 2**64, documents, np.uint64),
        "sources": (np.arange(documents) % 2).astype(np.uint16),
    }
    folder.mkdir()
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    about = {"tokens": int(lengths.sum()), "vocab_size": 60_000, "sources": ["x"], "fingerprint": "x"}
    files.write_json(folder / "manifest.json", about)
    return Store(folder)


def row_source(folder: Path, **settings) -> RowSource:
    objective = MaskedLanguageModelling(**{"fidelity": "fixed", **settings})
    return RowSource(write_store(folder), objective, EvaluateSpec(share=0.1), 64, seed=5)


@pytest.fixture
def source(tmp_path, monkeypatch) -> RowSource:
    """Rows of a store in some thirty blocks."""
    monkeypatch.setattr(rows, "BLOCK_TOKENS", 1000)
    return row_source(tmp_path / "store")


def content(source: RowSource, epoch: int) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(source.folder(epoch).iterdir())}


def epochs(source: RowSource) -> list[int]:
    return sorted(int(path.name[-6:]) for path in source.folder(0).parent.glob("epoch-*"))


def test_blocks_are_all_documents_once_and_of_about_one_size(source):
    found = rows.blocks(source.documents)
    assert 20 < len(found) < 50
    assert [piece for block in found for piece in block] == list(range(len(source.documents)))
    lengths = source.documents.lengths()
    assert max(lengths[block].sum() for block in map(list, found)) < 1000 + 2 * lengths.max()


@pytest.mark.parametrize("second_segment", ["next", "order", "none"])
def test_many_processes_build_the_same_bytes_as_one(tmp_path, monkeypatch, second_segment):
    monkeypatch.setattr(rows, "BLOCK_TOKENS", 1000)
    used = []
    in_order = rows.pool.in_order
    monkeypatch.setattr(rows.pool, "in_order", lambda *jobs: used.append(jobs[3]) or in_order(*jobs))
    made = {}
    for cores in (1, 2, 3):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        source = row_source(tmp_path / f"{cores}", second_segment=second_segment)
        rows.build(source, 1)
        made[cores] = content(source, 1)
    assert used == [2, 3]
    assert len(made[1]) == (4 if second_segment != "none" else 3)
    assert made[1] == made[2] == made[3]


def test_few_blocks_and_daemons_need_no_pool(source, monkeypatch):
    monkeypatch.setattr(rows.pool, "in_order", None)
    monkeypatch.setattr(rows, "PARALLEL_BLOCKS", 1000)
    rows.build(source, 0)
    monkeypatch.setattr(rows, "PARALLEL_BLOCKS", 1)
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {"daemon": True})
    rows.build(source, 1)
    assert epochs(source) == [0, 1]


def test_rows_are_the_blocks_of_the_table_end_to_end(source):
    parts = rows.blocks(source.documents)
    tables = [rows.build_block(source, 2, number, block) for number, block in enumerate(parts)]
    found = rows.rows(source, 2)
    assert len(found) == sum(map(len, tables))
    index = 0
    for table in tables:
        for row in range(len(table)):
            spans = table.spans[table.offsets[row] : table.offsets[row + 1]]
            segments, columns, marks = found[index]
            assert not marks  # masked rows have none
            assert [s.tolist() for s in segments] == [list(range(start, stop)) for start, stop in spans.tolist()]
            assert columns == {"label": int(table.columns["label"][row])}
            assert found.lengths()[index] == sum(map(len, segments)) <= 61
            index += 1


def test_what_is_left_out_is_counted(source):
    parts = rows.blocks(source.documents)
    left_out = [rows.build_block(source, 0, number, block).left_out for number, block in enumerate(parts)]
    assert rows.rows(source, 0).table.left_out == sum(left_out) > 0


def test_what_a_table_depends_on_is_in_its_name(source):
    others = [
        replace(source, length=32),
        replace(source, seed=6),
        replace(source, part="validation"),
        replace(source, source=1),
        replace(source, evaluate=EvaluateSpec(share=0.2)),
        replace(source, objective=replace(source.objective, short_rows=0.5)),
        replace(source, objective=replace(source.objective, second_segment="order")),
    ]
    assert len({source.key, *(other.key for other in others)}) == 8
    assert replace(source, objective=replace(source.objective, mask_rate=0.4)).key == source.key  # masks are later


def test_rows_of_one_source_are_of_that_source(source):
    one = replace(source, source=1)
    document = np.repeat(np.arange(400), np.diff(source.store.sentences[source.store.documents]))
    table = rows.rows(one, 0).table
    first, second = (document[table.spans[:, 0]] % 2).reshape(-1, 2).T
    assert set(first.tolist()) == {1}
    assert set(second[table.columns["label"] == 0].tolist()) == {1}
    assert set(second[table.columns["label"] == 1].tolist()) == {0, 1}  # random ones come from the whole split


def test_a_source_of_rows_is_sent_without_its_documents(source):
    assert len(source.documents) > 300
    sent = pickle.dumps(source)
    assert len(sent) < 2000
    again = pickle.loads(sent)
    assert again.key == source.key
    assert len(again.documents) == len(source.documents)


@dataclass(frozen=True, kw_only=True)
class NoRows(MaskedLanguageModelling):
    """An objective that finds nothing in any text, and says how much it left out."""

    def rows(self, documents, block, length, rng):
        return Table(np.zeros(1, np.int64), np.zeros((0, 2), np.int64), {"label": np.zeros(0, np.int8)}, len(block))


def test_a_table_without_rows(source):
    empty = rows.rows(replace(source, objective=NoRows(fidelity="fixed")), 0)
    assert len(empty) == len(empty.lengths()) == 0
    assert empty.table.left_out == len(source.documents)
    assert empty.table.spans.shape == (0, 2)


def test_a_table_without_documents(source):
    nothing = rows.rows(replace(source, source=7), 0)
    assert len(nothing) == len(nothing.lengths()) == nothing.table.left_out == 0


BUILDER = """
import sys, time
from ptk.data import rows
from tests_rows_shared import make

if __name__ == "__main__":
    slow = float(sys.argv[3])
    one = rows.build_block
    def build_block(*block):
        print("block", block[2], flush=True)
        time.sleep(slow)
        return one(*block)
    rows.build_block = build_block
    rows.BLOCK_TOKENS = 1000
    rows.os.cpu_count = lambda: int(sys.argv[2])
    rows.build(make(sys.argv[1]), 1)
"""
SHARED = """
import time
from pathlib import Path
from ptk.data.rows import RowSource
from ptk.data.store import Store
from ptk.objectives.mlm import MaskedLanguageModelling
from ptk.recipe import EvaluateSpec

class Slow(MaskedLanguageModelling):
    def rows(self, *block):
        time.sleep(0.2)
        return super().rows(*block)

def make(folder):
    kind = Slow if "slow" in folder else MaskedLanguageModelling
    return RowSource(Store(Path(folder)), kind(fidelity="fixed"), EvaluateSpec(share=0.1), 64, seed=5)
"""


@pytest.fixture
def builder(tmp_path, environment):
    """Starts a process of its own that builds epoch 1 of the store in a folder."""
    (tmp_path / "builder.py").write_text(BUILDER)
    (tmp_path / "tests_rows_shared.py").write_text(SHARED)
    started = []

    def start(store: Path, cores: int = 1, seconds: float = 0.0) -> subprocess.Popen:
        command = [sys.executable, "builder.py", str(store), str(cores), str(seconds)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_killed_builder_leaves_nothing_half(source, tmp_path, builder):
    whole = row_source(tmp_path / "whole")
    rows.build(whole, 1)
    for blocks in (1, 5, 12):
        process = builder(source.store.folder, seconds=0.02)
        for _ in range(blocks):
            assert process.stdout.readline().startswith("block")
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert epochs(source) == []
        assert (source.folder(1).with_name(".epoch-000001") / "offsets.npy").exists()
    rows.build(source, 1)
    assert content(source, 1) == content(whole, 1)
    assert not source.folder(1).with_name(".epoch-000001").exists()


def test_two_at_once_build_one_table(source, builder):
    two = [builder(source.store.folder, seconds=0.01) for _ in range(2)]
    said = [process.communicate(timeout=60) for process in two]
    assert [process.returncode for process in two] == [0, 0], said
    assert sorted(out.count("block") for out, _ in said) == [0, len(rows.blocks(source.documents))]


def waits_for_processes(process: subprocess.Popen, number: int) -> list[psutil.Process]:
    """The children of a builder once each of them is at work."""
    deadline = time.monotonic() + 30
    while True:
        children = psutil.Process(process.pid).children(recursive=True)
        spawned = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        if len(spawned) == number and all(child.num_threads() > 1 for child in spawned):
            return children
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_processes_of_a_killed_builder_end_with_it(tmp_path, builder):
    write_store(tmp_path / "slow")
    process = builder(tmp_path / "slow", cores=2)
    children = waits_for_processes(process, 2)
    os.kill(process.pid, signal.SIGKILL)
    assert not psutil.wait_procs(children, timeout=5)[1]


def test_a_killed_process_of_the_builder_is_an_error_and_not_a_wait(tmp_path, builder):
    write_store(tmp_path / "slow")
    process = builder(tmp_path / "slow", cores=2)
    children = waits_for_processes(process, 2)
    next(child for child in children if "spawn_main" in " ".join(child.cmdline())).kill()
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert ProcessLostError.__name__ in said
    assert "epoch-000001: a process that was building it is gone" in said
    assert not list((tmp_path / "slow" / "rows").glob("*/epoch-*"))


def test_an_error_in_a_block_leaves_no_table_and_no_process(source, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    broken = replace(source, objective=replace(source.objective, second_segment="next"), source=7)
    assert len(rows.rows(broken, 0)) == 0
    before = set(multiprocessing.active_children())

    def full(arrays, name, part):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(rows.Arrays, "append", full)
        with pytest.raises(rows.files.DiskError, match="no space left"):
            rows.build(source, 0)
    assert set(multiprocessing.active_children()) == before
    assert epochs(source) == []
    assert len(rows.rows(source, 0))


def test_ahead_builds_the_next_epoch_in_its_own_process(source, monkeypatch):
    monkeypatch.undo()  # a process of its own has blocks of the full size
    small = replace(source, seed=9)
    rows.build(replace(small, seed=10), 3)
    with Ahead() as ahead:
        ahead.prepare(small, 3)
        assert ahead.process is not None
        assert ahead.process.pid != os.getpid()
        assert epochs(small) == []
        ahead.process.join(60)
        assert ahead.process.exitcode == 0
        assert epochs(small) == [3]
        before = ahead.process
        ahead.prepare(small, 3)  # it is there
        assert ahead.process is before
    (here := small.folder(3)).rename(here.with_name("kept"))
    rows.build(small, 3)
    kept = {path.name: path.read_bytes() for path in sorted(here.with_name("kept").iterdir())}
    assert content(small, 3) == kept


def test_ahead_drops_tables_gone_by_but_never_the_first_the_current_or_the_next(source, monkeypatch):
    monkeypatch.undo()
    for epoch in range(6):
        rows.build(source, epoch)
    open_one = rows.rows(source, 2)
    with Ahead() as ahead:
        ahead.prepare(source, 5)  # it is there: nothing to do
        assert epochs(source) == [0, 1, 2, 3, 4, 5]
        ahead.prepare(source, 6)
        assert epochs(source)[:2] == [0, 5]
        ahead.process.join(60)
        assert epochs(source) == [0, 5, 6]
        for epoch in (1, 2, 3):
            rows.build(source, epoch)
        ahead.prepare(source, 7, oldest=3)
        ahead.process.join(60)
        assert epochs(source) == [0, 3, 5, 6, 7]
    assert sum(len(segment) for segment in open_one[0].segments) == open_one.lengths()[0]  # still open, still read
    assert not list(source.folder(0).parent.glob(".gone-*"))


def test_ahead_stops_what_it_began_when_training_ends(source, tmp_path, monkeypatch):
    monkeypatch.undo()
    with Ahead() as ahead:
        ahead.prepare(source, 1)
        process = ahead.process
        assert process is not None
    assert not process.is_alive()
    rows.build(source, 1)
    assert epochs(source) == [1]


def test_a_table_that_another_run_dropped_in_between_is_built_again(source, monkeypatch):
    build, times = rows.build, []

    def build_and_lose(where, epoch):
        build(where, epoch)
        times.append(epoch)
        if len(times) == 1:
            rows.drop(where, epoch + 1)

    monkeypatch.setattr(rows, "build", build_and_lose)
    assert len(rows.rows(source, 4)) == len(Rows(source, 4))
    assert times == [4, 4]
