"""Questions and windows of their contexts: rows by hand, losses of transformers, decoding by a plain triple loop."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from labelled import encoded, ids, settings, stacked, store, tokenizer
from torch import nn
from torch.nn import functional as F

from ptk.corruption.windows import windows
from ptk.data.rows import RowSource
from ptk.errors import DataError, RecipeError
from ptk.models.answering import Answering
from ptk.objectives.objective import IGNORE
from ptk.objectives.question_answering import QuestionAnswering
from ptk.recipe import EvaluateSpec

QUESTION = np.array([30, 31, 32])
JOINT = {"end": "joint", "no_answer": "cls_head", "candidates": "context"}
SILENT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def objective_of(**more):
    return QuestionAnswering(**{"fidelity": "fixed", "stride": 4, **more})


def made_of(folder, contexts, labels, question=QUESTION):
    return store(folder, [[question, context] for context in contexts], np.array(labels, np.int64))


def of_text(folder, objective, rows=5, length=24):
    """A batch of windows of random contexts: answers, none, and one of which nothing is known."""
    rng = np.random.default_rng(5)
    contexts = [rng.integers(20, 90, rng.integers(6, 40)) for _ in range(rows)]
    labels = [[2, 4], [-1, -1], [5, 5], [IGNORE, IGNORE], [0, 1]][:rows]
    made = made_of(folder, contexts, labels)
    examples = encoded(objective, made, "wordpiece", length)
    return examples, stacked(objective, examples, "wordpiece")


# Rows ------------------------------------------------------------------------------------------------------


def test_rows_by_hand(tmp_path):
    """Nine tokens in windows of six, a step of four: 0 to 6 and 4 to 9."""
    contexts = [np.arange(40, 49), np.arange(50, 54), np.arange(60, 63), np.arange(70, 72)]
    made = made_of(tmp_path / "s", contexts, [[5, 7], [3, 3], [-1, -1], [IGNORE, IGNORE]])
    first, second, short, none, unknown = encoded(objective_of(fidelity="paper"), made, "wordpiece", 12)
    cls, sep = tokenizer().cls_id, tokenizer().sep_id
    assert first["input_ids"].tolist() == [cls, 30, 31, 32, sep, 40, 41, 42, 43, 44, 45, sep]
    assert first["token_type_ids"].tolist() == [0] * 5 + [1] * 7
    assert second["input_ids"].tolist() == [cls, 30, 31, 32, sep, 44, 45, 46, 47, 48, sep]
    assert [example["labels"].tolist() for example in (first, second)] == [[0, 0], [6, 8]]  # SQ-4
    assert [example["context"].tolist() for example in (first, second)] == [[5, 11], [5, 10]]
    # Token 4 has one on its right in the first window and none on its left in the second; 5 has none and one.
    assert [example["scored"].tolist() for example in (first, second)] == [[5, 10], [6, 10]]
    assert [int(example["first"]) for example in (first, second)] == [0, 4]
    assert short["labels"].tolist() == [8, 8]
    assert none["labels"].tolist() == [0, 0]
    assert unknown["labels"].tolist() == [IGNORE, IGNORE]
    every = (first, second, short, none, unknown)
    assert [int(example["example"]) for example in every] == [0, 0, 1, 2, 3]
    assert [int(example["impossible"]) for example in every] == [0, 0, 0, 1, IGNORE]  # of the question
    assert objective_of().counts(stacked(objective_of(), every, "wordpiece")) == {"answer": 4}
    halves = encoded(objective_of(), made, "wordpiece", 12)[:2]  # the step is half of so short a window at most
    assert [int(example["first"]) for example in halves] == [0, 3]
    assert halves[1]["labels"].tolist() == [7, 9]


def test_a_long_question_is_cut(tmp_path):
    made = made_of(tmp_path / "s", [np.arange(40, 60)], [[19, 19]], np.arange(20, 100))
    for length, kept in ((200, 64), (80, 38)):  # of short rows the question takes half at most
        (example,) = encoded(objective_of(max_question=64), made, "wordpiece", length)
        assert len(example["input_ids"]) == kept + 20 + 3
        assert example["input_ids"][1 : kept + 1].tolist() == list(range(20, 20 + kept))
        assert example["labels"].tolist() == [kept + 2 + 19, kept + 2 + 19]
    documents = RowSource(made, objective_of(), EvaluateSpec(), 80, 0, "all").documents
    assert objective_of(max_question=30).cut(documents, tokenizer(), 200) == 1
    assert objective_of(max_question=80).cut(documents, tokenizer(), 200) == 0


def test_windows_need_room(tmp_path):
    made = made_of(tmp_path / "s", [np.arange(40, 60)], [[0, 0]])
    documents = RowSource(made, objective_of(), EvaluateSpec(), 5, 0, "all").documents
    objective_of().check(documents, tokenizer(), 5, held_out=False)
    assert len(encoded(objective_of(), made, "wordpiece", 5)) == 20  # one token each
    for refused in (
        lambda: objective_of().check(documents, tokenizer(), 4, held_out=False),
        lambda: objective_of().rows(documents, range(1), 4, np.random.default_rng(0)),
    ):
        with pytest.raises(RecipeError, match=r"^train.length: 4 leaves no room for a question .*; give 5 or more"):
            refused()
    with pytest.raises(DataError, match=r"puts 3 tokens around .*objective.framing says 4"):
        objective_of(framing=4).check(documents, tokenizer(), 20, held_out=False)


def test_every_token_of_a_context_is_scored_once(tmp_path):
    rng = np.random.default_rng(2)
    contexts = [rng.integers(20, 90, rng.integers(1, 60)) for _ in range(30)]
    made = made_of(tmp_path / "s", contexts, [[0, len(context) - 1] for context in contexts])
    scored = [[] for _ in contexts]
    for example in encoded(objective_of(stride=5), made, "wordpiece", 20):
        assert len(example["input_ids"]) <= 20
        (begin, stop), first, number = example["context"], int(example["first"]), int(example["example"])
        held = example["input_ids"][begin:stop]
        assert (held == contexts[number][first : first + len(held)]).all()
        scored[number] += (np.arange(*example["scored"]) - begin + first).tolist()
        whole = len(held) == len(contexts[number])
        assert example["labels"].tolist() == ([begin, stop - 1] if whole else [0, 0])
    assert scored == [list(range(len(context))) for context in contexts]


# Losses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["albert", "bert", "electra", "gpt2", "roberta"])
def test_the_loss_is_that_of_transformers(family, tmp_path):
    """Rows of one length: transformers has padding in its softmax."""
    kind = {"gpt2": "bpe"}.get(family, "wordpiece")
    objective = objective_of(framing=tokenizer(kind).pair.size)
    model = objective.model(settings(family), tokenizer(kind), 32).eval()
    texts = ids(kind, "my friend sees the old river and the cat", "the dog likes it and her sister forgets a red house")
    question = ids(kind, "the cat sees")[0]
    size = min(map(len, texts))
    made = made_of(tmp_path / "s", [text[:size] for text in texts], [[1, 3], [-1, -1]], question)
    batch = stacked(objective, encoded(objective, made, kind, 60), kind)
    assert "attention_mask" not in batch
    inputs = {name: batch[name] for name in ("input_ids", "token_type_ids") if name in batch and family != "gpt2"}
    starts, ends = batch["labels"].unbind(1)
    theirs = model(**{"input_ids": batch["input_ids"], **inputs}, start_positions=starts, end_positions=ends).loss
    found = objective.loss(model, batch)["answer"]
    assert int(found.count) == 2
    torch.testing.assert_close(found.total, theirs * 2)


@pytest.mark.parametrize("more", [{}, {"candidates": "context"}, JOINT], ids=["all", "context", "joint"])
def test_padding_and_micro_batches_change_nothing(more, tmp_path):
    objective = objective_of(**more)
    examples, batch = of_text(tmp_path / "s", objective)
    assert "attention_mask" in batch
    model = objective.model(settings("bert", **SILENT), tokenizer(), 32)

    def gradients(batches):
        model.zero_grad()
        losses = [objective.loss(model, part) for part in batches]
        total = sum(weight * part[name].total for part in losses for name, weight in objective.weights.items())
        total.backward()
        return float(total.detach()), [parameter.grad.clone() for parameter in model.parameters()]

    whole, of_whole = gradients([batch])
    parts, of_parts = gradients([stacked(objective, [example], "wordpiece") for example in examples])
    assert parts == pytest.approx(whole, rel=1e-5)
    for one, other in zip(of_whole, of_parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_softmax_is_over_what_the_setting_says(tmp_path):
    """Logits of what is outside change the loss of ``all`` alone; those of padding no loss."""
    _, batch = of_text(tmp_path / "s", objective_of())
    rows, size = batch["input_ids"].shape
    place = torch.arange(size)
    inside = (place >= batch["context"][:, :1]) & (place < batch["context"][:, 1:]) | (place == 0)
    padding = batch["attention_mask"] == 0
    torch.manual_seed(0)
    plain = torch.randn(rows, size, 2)
    for more, outside, changes in [
        ({}, padding, False),
        ({}, ~inside & ~padding, True),
        ({"candidates": "context"}, ~inside, False),
        ({"candidates": "context"}, inside & (place > 0), True),
    ]:
        before, after = (
            float(objective_of(**more).loss(Given(plain + 3 * shift * outside[..., None]), batch)["answer"].total)
            for shift in (0, 1)
        )
        assert (before != pytest.approx(after)) == changes
    logits = plain.masked_fill(~inside[..., None], -1000.0)  # ELECTRA's way of saying it
    theirs = F.cross_entropy(logits, batch["labels"], reduction="sum") / 2
    found = objective_of(candidates="context").loss(Given(plain), batch)["answer"]
    torch.testing.assert_close(found.total, theirs)
    assert int(found.count) == int((batch["labels"][:, 0] != IGNORE).sum()) < rows


def test_a_batch_without_labels(tmp_path):
    made = made_of(tmp_path / "s", [np.arange(40, 60)], [[IGNORE, IGNORE]])
    objective = objective_of(**JOINT)
    batch = stacked(objective, encoded(objective, made, "wordpiece", 20), "wordpiece")
    model = objective.model(settings("bert"), tokenizer(), 32)
    losses = objective.loss(model, batch)
    assert {name: (losses[name].total.item(), int(losses[name].count)) for name in objective.weights} == {
        "answer": (0.0, 0),
        "impossible": (0.0, 0),
    }
    losses["answer"].total.backward()


# Decoding --------------------------------------------------------------------------------------------------


class Given(nn.Module):
    """A model that says the logits [B, T, 2] that it was given."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits
        self.config = SimpleNamespace(pad_token_id=0)

    def forward(self, input_ids, attention_mask=None):
        return SimpleNamespace(start_logits=self.logits[..., 0], end_logits=self.logits[..., 1])


def by_loops(objective, example, of_start, of_end):
    """The best spans of a row, (sum, start, end, its logits) in tokens of the context: of every span that may be an
    answer, its start among the best starts, its end (given the start) among the best ends."""
    (begin, stop), (scored, until) = example["context"].tolist(), example["scored"].tolist()
    starts = sorted(range(scored, until), key=lambda place: -of_start[place])[: objective.n_best]
    found = []
    for start in starts:
        joint = objective.end == "joint"
        there = range(start, min(stop, start + objective.max_answer)) if joint else range(begin, stop)
        for end in sorted(there, key=lambda place: -of_end(start)[place])[: objective.n_best]:
            if end >= start and end - start < objective.max_answer:
                logits = float(of_start[start]), float(of_end(start)[end])
                found.append((sum(logits), start, end, *logits))
    shift = int(example["first"]) - begin
    best = sorted(found, reverse=True)[: objective.n_best]
    return [(start + shift, end + shift, a, b) for _, start, end, a, b in best]


def same_candidates(answers, row, wanted, size):
    there = len(wanted)
    assert answers["start_logit"].shape[1] == size
    for number, name in enumerate(("start", "end", "start_logit", "end_logit")):
        np.testing.assert_allclose(answers[name][row, :there], [each[number] for each in wanted], rtol=1e-4, atol=1e-5)
        rest = answers[name][row, there:].tolist()
        assert rest == [-math.inf if "logit" in name else -1] * (size - there)


@pytest.mark.parametrize("max_answer", [1, 4, 30])
@pytest.mark.parametrize("n_best", [1, 3, 20, 60])
def test_decoding_is_that_of_a_plain_loop(n_best, max_answer, tmp_path):
    objective = objective_of(n_best=n_best, max_answer=max_answer)
    examples, batch = of_text(tmp_path / "s", objective)
    torch.manual_seed(n_best)
    model = Given(torch.randn(*batch["input_ids"].shape, 2))
    _, answers = objective.evaluate(model, batch)
    assert set(answers) == {"example", "null", "start", "end", "start_logit", "end_logit"}
    assert answers["start"].dtype == torch.int64
    assert answers["example"].tolist() == [int(example["example"]) for example in examples]
    torch.testing.assert_close(answers["null"], model.logits[:, 0].sum(-1))
    for row, (example, logits) in enumerate(zip(examples, model.logits.tolist(), strict=True)):
        of_start, of_end = zip(*logits, strict=True)
        wanted = by_loops(objective, example, of_start, lambda _, of_end=of_end: of_end)
        same_candidates(answers, row, wanted, n_best)
    assert objective.score({name: part.numpy() for name, part in answers.items()}) == {}


def test_logits_are_float32_under_autocast(tmp_path):
    for more in ({}, JOINT):
        objective = objective_of(**more)
        _, batch = of_text(tmp_path / "s", objective)
        model = objective.model(settings("bert"), tokenizer(), 32)
        with torch.autocast("cpu", torch.bfloat16):
            losses, answers = objective.evaluate(model, batch)
        parts = [losses["answer"].total, answers["null"], answers["start_logit"], answers["end_logit"]]
        assert {part.dtype for part in parts} == {torch.float32}
        logits = answers["start_logit"][:, 0]
        assert (logits != logits.bfloat16().float()).all()
        assert torch.isfinite(answers["start_logit"][:, 0]).all()


# ELECTRA's head --------------------------------------------------------------------------------------------


def electras(model: Answering, example, hidden, start=None):
    """By the rule, of one row's hidden states [T, D]: log probabilities of starts, those of ends given ``start``, and
    the logit of the answerability head."""
    head = model.head
    place = torch.arange(len(hidden))
    begin, stop = example["context"].tolist()
    outside = ((place < begin) | (place >= stop)) & (place > 0)
    start_logits = hidden @ head.start.weight[0] + head.start.bias - 1000.0 * outside
    read = torch.cat([hidden[0], start_logits.softmax(0) @ hidden])
    impossible = head.impossible[2](F.gelu(head.impossible[0](read)))
    matrix = torch.cat([head.of_start.weight, head.of_end.weight], 1)  # over a start's state and another's
    pairs = torch.cat([hidden[start].expand_as(hidden), hidden], 1)
    end_logits = F.gelu(pairs @ matrix.T + head.of_start.bias) @ head.end.weight[0] + head.end.bias - 1000.0 * outside
    return start_logits.log_softmax(0), end_logits.log_softmax(0), impossible[0]


def test_electras_head_by_the_rule(tmp_path):
    """SQ-9: in training the end given the right start, in evaluation given each start of the beam."""
    objective = objective_of(**JOINT, n_best=3, max_answer=4)
    assert dict(objective.weights) == {"answer": 1.0, "impossible": 0.5}
    examples, batch = of_text(tmp_path / "s", objective)
    model = objective.model(settings("electra"), tokenizer(), 32).eval()
    assert isinstance(model, Answering)
    assert model.head.end.in_features == model.head.impossible[0].out_features == 512
    for parameter in model.head.parameters():  # a fresh head says almost nothing
        nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        losses, answers = objective.evaluate(model, batch)
        wanted = {"answer": 0.0, "impossible": 0.0}
        for row, example in enumerate(examples):
            alone = stacked(objective, [example], "wordpiece")
            inputs = {name: alone[name] for name in ("input_ids", "token_type_ids")}
            hidden = model.backbone(**inputs).last_hidden_state[0]
            start, end = example["labels"].tolist()
            of_start, of_end, impossible = electras(model, example, hidden, max(start, 0))
            torch.testing.assert_close(answers["impossible"][row], impossible, rtol=1e-4, atol=1e-4)
            if start != IGNORE:
                wanted["answer"] -= float(of_start[start] + of_end[end]) / 2
                label = torch.tensor(float(example["impossible"]))
                wanted["impossible"] += float(F.binary_cross_entropy_with_logits(impossible, label))
            null = of_start[0] + electras(model, example, hidden, 0)[1][0]
            torch.testing.assert_close(answers["null"][row], null, rtol=1e-4, atol=1e-4)
            given = {place: electras(model, example, hidden, place)[1] for place in range(len(hidden))}
            same_candidates(answers, row, by_loops(objective, example, of_start, given.get), 3)
    for name, total in wanted.items():
        assert float(losses[name].total) == pytest.approx(total, rel=1e-4)
        assert int(losses[name].count) == objective.counts(batch)[name] == sum(e["labels"][0] >= 0 for e in examples)


@pytest.mark.parametrize("fidelity", ["fixed", "paper"])
@pytest.mark.parametrize("length", [64, 128, 160, 384])
def test_the_longest_answer_that_is_always_found_is_told(fidelity, length):
    """By the windows themselves, of a long context: how far it is from where a token has most context to the end."""
    objective = QuestionAnswering(fidelity=fidelity)
    width = length - objective.framing - objective.most(length)
    step = min(objective.stride, width if fidelity == "paper" else (width + 1) // 2)
    made = windows(np.array([width + 9 * step]), np.array([width]), step)
    longest = int((made.stop - made.until + 1)[:-1].min())
    told = objective.cautions(length)
    assert bool(told) == (longest < objective.max_answer)
    assert all(f"an answer of more than {longest} may begin" in one for one in told)


# For people ------------------------------------------------------------------------------------------------


def test_what_people_see(tmp_path):
    context, question = ids("wordpiece", "the dog likes the old river", "my friend sees")
    found = ids("wordpiece", "the dog likes")[0]
    made = made_of(tmp_path / "s", [context, context, context], [[0, 0], [-1, -1], [IGNORE, IGNORE]], question)
    objective = objective_of(no_answer="null_span")
    examples = encoded(objective, made, "wordpiece", 60)
    shown = [objective.show(example, tokenizer()) for example in examples]
    size = len(context)
    assert [headline.partition(", ")[2] for headline, _ in shown] == [
        f"0 to {size} of the context: the answer is in it",
        f"0 to {size} of the context: the question has no answer",
        f"0 to {size} of the context: no label",
    ]
    begin = int(examples[0]["context"][0])
    assert [place for place, (_, role) in enumerate(shown[0][1]) if role == "kept"] == [begin]
    assert {role for _, role in shown[1][1]} == {"first", "second", "special"}
    batch = stacked(objective, examples[:1], "wordpiece")
    logits = torch.zeros(1, batch["input_ids"].shape[1], 2)
    logits[0, begin, 0] = logits[0, begin + len(found) - 1, 1] = 5.0
    said = objective.answer(Given(logits), batch, tokenizer())
    assert said == "[CLS] my friend sees [SEP] the dog likes the old river [SEP] [the dog likes, not the]"
    logits[0, begin + len(found) - 1, 1] = 0.0
    logits[0, begin, 1] = 5.0
    assert objective.answer(Given(logits), batch, tokenizer()).endswith("[the]")
    logits[0, 0] = 6.0
    assert objective.answer(Given(logits), batch, tokenizer()).endswith("[no answer, not the]")
    assert objective_of().answer(Given(logits), batch, tokenizer()).endswith("[the]")
