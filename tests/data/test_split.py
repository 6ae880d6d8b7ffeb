"""What is held out, on stores written by hand."""

from pathlib import Path

import numpy as np
import pytest

from ptk import files
from ptk.data.split import documents_of, split
from ptk.data.store import Store
from ptk.errors import DataError
from ptk.objectives.mlm import RandomDocument
from ptk.recipe import EvaluateSpec


def store(folder: Path, documents: list[list[int]], vocab: int = 100) -> Store:
    """A store of documents given by the lengths of their sentences; tokens count up."""
    folder.mkdir(exist_ok=True)
    lengths = [length for document in documents for length in document]
    arrays = {
        "tokens": np.arange(sum(lengths)) % vocab,
        "sentences": np.cumsum([0, *lengths]),
        "sentence_bytes": np.array(lengths) * 4,
        "documents": np.cumsum([0, *map(len, documents)]),
        "hashes": np.random.default_rng(0).integers(0, 2**64, size=len(documents), dtype=np.uint64),
        "sources": np.arange(len(documents)) % 2,
    }
    types = {"tokens": np.uint16, "sentence_bytes": np.int32, "hashes": np.uint64, "sources": np.uint16}
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values.astype(types.get(name, np.int64)))
    manifest = {"tokens": sum(lengths), "vocab_size": vocab, "sources": ["x"], "fingerprint": "x"}
    files.write_json(folder / "manifest.json", manifest)
    return Store(folder)


def tokens_of(documents) -> set[int]:
    found: set[int] = set()
    for piece in range(len(documents)):
        bounds = documents.boundaries(piece)
        found |= set(range(bounds[0], bounds[-1]))
    return found


CASES = {
    "many documents": ([[10, 10]] * 2000, EvaluateSpec(share=0.05)),
    "one long text": ([[20] * 5000], EvaluateSpec(share=0.05)),
    "a few long texts": ([[20] * 900] * 7, EvaluateSpec(share=0.05)),
    "the tail": ([[20] * 50, [10] * 100], EvaluateSpec(tail=0.25)),
}


@pytest.mark.parametrize("name", CASES)
def test_both_sides_together_are_the_text_and_share_nothing(tmp_path, name):
    documents, evaluate = CASES[name]
    made = store(tmp_path / "s", documents)
    train, held = split(made, evaluate)
    assert not tokens_of(train) & tokens_of(held)
    assert len(tokens_of(train) | tokens_of(held)) == made.manifest["tokens"]
    share = evaluate.tail or evaluate.share
    assert share / 2 < held.lengths().sum() / made.manifest["tokens"] < share * 2


def test_documents_are_held_out_whole_and_stay_on_their_side(tmp_path):
    made = store(tmp_path / "s", [[10, 10]] * 2000)
    held = split(made, EvaluateSpec(share=0.05))[1]
    assert (held.stop - held.first == 2).all()
    more = split(made, EvaluateSpec(share=0.1))[1]
    assert set(held.parent.tolist()) < set(more.parent.tolist())


def test_of_few_blocks_as_many_are_held_out_as_the_share_asks_for(tmp_path):
    for sentences in (100, 200, 400, 800):
        made = store(tmp_path / f"{sentences}", [[20] * sentences])
        held = split(made, EvaluateSpec(share=0.1))[1]
        assert held.lengths().sum() / made.manifest["tokens"] == pytest.approx(0.1, abs=0.05)


def test_the_tail_is_the_end(tmp_path):
    made = store(tmp_path / "s", [[20] * 50, [10] * 100])
    train, held = split(made, EvaluateSpec(tail=0.25))
    assert held.boundaries(0)[0] == 1500
    assert train.boundaries(len(train) - 1)[-1] == 1500
    assert held.parent.tolist() == [1]


def test_counts_of_tokens_and_bytes(tmp_path):
    made = store(tmp_path / "s", [[3, 2], [5]], vocab=7)
    documents = documents_of(made, EvaluateSpec(), "all")
    assert documents.token_counts().tolist() == [2, 2, 2, 1, 1, 1, 1]
    assert documents.byte_count() == 40
    assert documents.lengths().tolist() == [5, 5]


def test_sources_can_be_told_apart(tmp_path):
    documents = documents_of(store(tmp_path / "s", [[3], [4], [5]]), EvaluateSpec(), "all")
    assert documents.of_source(0).lengths().tolist() == [3, 5]


def test_a_random_segment_comes_from_every_source(tmp_path):
    documents = documents_of(store(tmp_path / "s", [[3], [4], [5]]), EvaluateSpec(), "all")
    draw, rng = RandomDocument(documents.of_source(0), None), np.random.default_rng(0)
    assert {int(draw(1, rng)[0]) for _ in range(50)} == {0, 3}  # documents 0 and 1; its own is 2


def test_too_little_text_is_an_error(tmp_path):
    with pytest.raises(DataError, match="too few to hold out"):
        split(store(tmp_path / "s", [[5]]), EvaluateSpec(share=0.02))
