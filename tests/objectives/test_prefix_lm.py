"""Prefix language modelling: what is given is never predicted, wherever it is cut (LM-2)."""

from collections import Counter

import numpy as np
import pytest
import torch
from conftest import sections_of
from running import session

from ptk.data import batches
from ptk.objectives.generation import BEGINS, ENDS
from ptk.objectives.objective import Row
from ptk.objectives.prefix_lm import PrefixLanguageModelling


class Words:
    """As much of a tokenizer as encode needs."""

    vocab_size, pad_id, bos_id, end = 128, 0, None, ("</s>", 1)
    special_ids = frozenset({0, 1, 2, 3})

    def id_of(self, token: str) -> int | None:
        return {"[S]": 3}.get(token)


def many(objective: PrefixLanguageModelling, ids: list[int], mark: int, number: int = 3000):
    row = Row([np.array(ids)], {}, [mark])
    return [objective.encode(row, Words(), np.random.default_rng(seed)) for seed in range(number)]


@pytest.mark.parametrize("mode", [None, "[S]"])
def test_an_encoder_reads_the_prefix_and_a_decoder_writes_the_rest(mode):
    found = many(PrefixLanguageModelling(mode_token=mode), [10, 11, 12, 13, 14], 0)
    before = [3] * (mode is not None)
    for example in found:
        split = len(example["input_ids"]) - 1 - len(before)
        ids = [10, 11, 12, 13, 14]
        assert example["input_ids"].tolist() == [*before, *ids[:split], 1]
        assert example["labels"].tolist() == [*ids[split:], 1]
    lengths = Counter(len(example["labels"]) - 1 for example in found)
    assert sorted(lengths) == [1, 2, 3, 4]
    assert [lengths[n] for n in range(1, 5)] == pytest.approx([750] * 4, abs=3 * np.sqrt(3000 * 0.25 * 0.75))


@pytest.mark.parametrize("mode", [None, "[S]"])
def test_a_decoder_goes_on_from_a_prefix_that_it_is_never_asked_for(mode):
    found = many(PrefixLanguageModelling(prefix_in="decoder", mode_token=mode), [10, 11, 12, 13], BEGINS | ENDS)
    whole = [*[3] * (mode is not None), 1, 10, 11, 12, 13, 1]
    splits = Counter()
    for example in found:
        split = int(example["prefix"])
        assert example["input_ids"].tolist() == whole[:-1]
        assert example["labels"].tolist() == whole[split + 1 :]
        splits[split - (mode is not None)] += 1
    assert sorted(splits) == [1, 2, 3, 4]  # of the five tokens 10, 11, 12, 13 and the end, one to four are given
    assert min(splits.values()) > 650


def test_what_is_scored_is_the_rest_alone(tiny):
    """The decoder's loss is the cross entropy of positions from the prefix on, under the prefix's own mask."""
    made = session(tiny(**sections_of("prefix_lm-decoder", 0.0)))
    model, batch = made.fresh_model().eval(), made.batches()[0][0]
    from ptk.models.next_token import additive, visible

    mask = additive(visible(batch), torch.float32)
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=mask).logits
        found = made.objective.loss(model, batch)["prefix"]
    total = 0.0
    for row, (split, labels) in enumerate(zip(batch["prefix"].tolist(), batch["labels"], strict=True)):
        right = labels[labels != -100]
        mine = logits[row, split : split + len(right)]
        assert torch.equal(right[:-1], batch["input_ids"][row, split + 1 : split + len(right)])
        total += float(torch.nn.functional.cross_entropy(mine, right, reduction="sum"))
    assert float(found.total) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("name", ["prefix_lm", "prefix_lm-decoder"])
def test_rows_are_of_one_document_and_lose_nothing(tiny, name):
    made = session(tiny(**sections_of(name, 0.0)))
    table = made.plan.rows(0, 0, 0)
    documents = table.source.documents
    written = read = 0
    for number in range(len(table)):
        (start, stop, mark), *others = table.table.spans[table.table.offsets[number] : table.table.offsets[number + 1]]
        assert not others
        inside = [p for p in range(len(documents)) if documents.boundaries(p)[0] <= start < documents.boundaries(p)[-1]]
        assert len(inside) == 1
        assert stop <= documents.boundaries(inside[0])[-1] or mark & ENDS
        example = batches.encode(table, number, made.data.tokenizer, 0)
        assert len(example["labels"]) >= 1
        assert len(example["input_ids"]) <= 32
        if name == "prefix_lm":  # both have an end behind them
            written, read = written + len(example["labels"]) - 1, read + len(example["input_ids"]) - 1
        else:  # all but the first position's separator, or first token, is given or predicted
            written, read = written + len(example["labels"]), read + int(example["prefix"])
    # The decoder also predicts the end of each document; a piece of one token has no prefix and is left out.
    tokens = documents.lengths().sum() + (0 if name == "prefix_lm" else len(documents))
    assert written + read + table.table.left_out == tokens


def test_cards_say_that_a_plain_decoder_is_causal():
    assert "loaded plainly it is causal" in PrefixLanguageModelling(prefix_in="decoder").remarks()[0]
    assert PrefixLanguageModelling(prefix_in="decoder").marks(Words()) == {"prefix_lm": True, "document_start_id": 1}
    assert PrefixLanguageModelling().marks(Words()) == {"continues": True}
