"""Replaced token detection: its positions and samples by the rules ELE-1 to ELE-10, its losses by transformers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import sections_of
from running import QUIET, session, trajectory
from scipy.stats import chisquare
from test_mlm import Words
from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

from ptk import recipe_file
from ptk.corruption import masking
from ptk.data import batches
from ptk.errors import RecipeError
from ptk.models import electra, load
from ptk.objectives.objective import IGNORE, Row
from ptk.objectives.rtd import ReplacedTokenDetection
from ptk.pretraining import pretrain
from ptk.progress import Talk
from ptk.session import parameter_count

SMALL = {"vocab_size": 128, "embedding_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def row(length: int, seed: int = 0) -> Row:
    ids = np.random.default_rng(seed).integers(5, 128, size=length)
    return Row([ids[: length // 3], ids[length // 3 :]], {}, [0, 1])


def objective(length: int = 128, **settings) -> ReplacedTokenDetection:
    return ReplacedTokenDetection(**{"fidelity": "fixed", **settings}).at(length, 0.0)


def networks() -> electra.Electra:
    torch.manual_seed(0)
    generator = ElectraForMaskedLM(ElectraConfig(**SMALL, hidden_size=16, intermediate_size=64))
    discriminator = ElectraForPreTraining(ElectraConfig(**SMALL, hidden_size=32, intermediate_size=64))
    for parameter in (*generator.parameters(), *discriminator.parameters()):
        torch.nn.init.normal_(parameter, std=0.3)  # so that neither is near 0.5 everywhere
    return electra.Electra(generator, discriminator)


def batch_of(made: ReplacedTokenDetection, lengths: list[int]) -> dict[str, torch.Tensor]:
    examples = [made.encode(row(length, n), Words(), np.random.default_rng(n)) for n, length in enumerate(lengths)]
    return batches.stack(examples, {"input_ids": 0, **made.padding})


@pytest.mark.parametrize(
    ("length", "rate", "most", "drawn"), [(128, 0.15, 19, 19), (512, 0.15, 79, 77), (512, 0.25, 130, 128)]
)
@pytest.mark.parametrize("fidelity", ["fixed", "paper"])
def test_positions_of_the_golden_lengths(length, rate, most, drawn, fidelity):
    """19, 79 and 130 at most; in ``paper`` 13.8, 14.0 and 22.1 % of a row are distinct ones (ELE-2, ELE-3)."""
    made = objective(length, mask_rate=rate, fidelity=fidelity)
    assert made.max_predictions == masking.most_positions(length, rate) == most
    found = [made.encode(row(length - 3, s), Words(), np.random.default_rng(s))["masked_positions"] for s in range(300)]
    assert {len(positions) for positions in found} == {drawn}
    distinct = np.mean([len(set(positions.tolist())) for positions in found]) / length
    expected = {19: 0.138, 79: 0.140, 130: 0.221}[most] if fidelity == "paper" else drawn / length
    assert distinct == pytest.approx(expected, abs=0.001)


def test_a_short_row_is_capped_by_the_length_of_all():
    assert len(objective(64).encode(row(61), Words(), np.random.default_rng(0))["masked_positions"]) == 9  # not 10
    assert len(objective(128).encode(row(2), Words(), np.random.default_rng(0))["masked_positions"]) == 1


def test_85_percent_are_masked_and_the_rest_stays():
    made = objective(512, mask_rate=0.25)
    masked = total = 0
    for seed in range(100):
        given = row(509, seed)
        ids = np.array([2, *given.segments[0], 3, *given.segments[1], 3])
        example = made.encode(given, Words(), np.random.default_rng(seed))
        positions, input_ids = example["masked_positions"], example["input_ids"]
        assert example["masked_labels"].tolist() == ids[positions].tolist()
        assert not set(ids[positions].tolist()) & {2, 3}
        changed = input_ids != ids
        assert set(input_ids[changed].tolist()) == {4}  # never a random one (ELE-4)
        assert set(np.flatnonzero(changed).tolist()) <= set(positions.tolist())
        masked, total = masked + int(changed.sum()), total + len(positions)
    assert abs(masked / total - 0.85) < 3 * (0.85 * 0.15 / total) ** 0.5


def test_a_mask_of_the_text_is_no_candidate():
    given = Row([np.array([4, 9, 4, 4, 10, 4])], {}, [0])
    made = objective(8, mask_rate=1.0)
    assert made.encode(given, Words(), np.random.default_rng(0))["masked_positions"].tolist() == [2, 5]


def test_spans_of_a_segment_are_one_segment():
    given = Row([np.array([7, 8]), np.array([9]), np.array([10, 11])], {}, [0, 0, 1])
    example = objective(8, mask_rate=0.0, masked=0.0).encode(given, Words(), np.random.default_rng(0))
    assert example["input_ids"].tolist() == [2, 7, 8, 9, 3, 10, 11, 3]
    assert example["token_type_ids"].tolist() == [0, 0, 0, 0, 0, 1, 1, 1]


def test_samples_follow_the_softmax():
    logits = torch.tensor([2.0, 0.0, -1.0, 1.0, -torch.inf, 0.5, -3.0])
    uniform = torch.from_numpy(np.random.default_rng(0).random((4, 25_000), np.float32))
    found = electra.sampled(logits.expand(4, 25_000, -1), uniform)
    counts = torch.bincount(found.flatten(), minlength=7).double().numpy()
    shares = logits.softmax(-1).double().numpy()
    assert counts[4] == 0
    assert chisquare(np.delete(counts, 4), 100_000 * np.delete(shares, 4) / shares.sum()).pvalue > 0.01
    cold = electra.sampled(logits.expand(4, 25_000, -1), uniform, temperature=0.5)
    shares = (logits / 0.5).softmax(-1).double().numpy()
    counts = torch.bincount(cold.flatten(), minlength=7).double().numpy()
    assert (
        chisquare(
            np.delete(counts, [4, 6]),
            np.delete(shares, [4, 6]) / np.delete(shares, [4, 6]).sum() * np.delete(counts, [4, 6]).sum(),
        ).pvalue
        > 0.01
    )


def test_a_sample_is_the_inverse_of_the_distribution_over_a_large_vocabulary():
    logits = torch.randn(64, 30_522, generator=torch.Generator().manual_seed(0)) * 3
    uniform = torch.rand(64, generator=torch.Generator().manual_seed(1))
    uniform[:2] = torch.tensor([0.0, 1 - 2**-24])
    exact = logits.double().softmax(-1).cumsum(-1)
    found = electra.sampled(logits[None], uniform[None])[0]
    below = torch.where(found > 0, exact.gather(1, (found - 1).clamp(min=0)[:, None])[:, 0], 0.0)
    assert (below <= uniform + 1e-5).all()
    assert (uniform <= exact.gather(1, found[:, None])[:, 0] + 1e-5).all()


def test_values_are_written_where_they_are_valid_and_averaged_where_drawn_twice():
    ids = torch.tensor([[2, 10, 11, 12, 3], [2, 20, 21, 3, 0]])
    positions = torch.tensor([[1, 3, 3], [2, 0, 0]])
    values = torch.tensor([[50, 60, 63], [70, -100, -100]])
    valid = torch.tensor([[True, True, True], [True, False, False]])
    assert electra.written(ids, positions, values, valid).tolist() == [[2, 50, 11, 61, 3], [2, 20, 70, 3, 0]]


@pytest.mark.parametrize("fidelity", ["fixed", "paper"])
def test_losses_and_gradients_equal_those_of_transformers(fidelity):
    """Of each network by its own class; 50 x the discriminator's; nothing flows through the samples."""
    made, model = objective(64, fidelity=fidelity, mask_rate=0.3), networks()
    batch = batch_of(made, [61, 40, 17, 61])
    parts, corrupted, _, replaced = made.both(model, batch)
    counts = made.counts(batch)
    assert counts == {"generator": int(parts["generator"].count), "rtd": int(parts["rtd"].count)}
    assert counts["rtd"] == int(batch["attention_mask"].sum())  # [CLS] and [SEP] too (ELE-7)
    ours = sum(made.weights[name] * parts[name].total / counts[name] for name in counts)
    assert made.weights == {"generator": 1.0, "rtd": 50.0}
    ours.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()

    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    logits = model.generator(**inputs).logits
    picked = logits[torch.arange(4)[:, None], batch["masked_positions"]]
    theirs = torch.nn.functional.cross_entropy(
        picked.flatten(0, 1), batch["masked_labels"].flatten(), ignore_index=IGNORE
    )
    torch.testing.assert_close(parts["generator"].total / counts["generator"], theirs)
    output = model.discriminator(**{**inputs, "input_ids": corrupted}, labels=replaced.long())
    torch.testing.assert_close(parts["rtd"].total / counts["rtd"], output.loss)
    (theirs + 50 * output.loss).backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-4, atol=1e-5)


def test_what_the_discriminator_reads():
    """The original with a sample at each position; a sample that is right counts as original (ELE-5, ELE-6)."""
    made, model = objective(64, mask_rate=0.3), networks()
    batch = batch_of(made, [61, 33])
    parts, corrupted, answers, replaced = made.both(model, batch)
    kept = {
        number: dict(zip(p.tolist(), right.tolist(), strict=True))
        for number, (p, right) in enumerate(zip(batch["masked_positions"], batch["masked_labels"], strict=True))
    }
    for number, length in enumerate([64, 36]):
        original = batch["input_ids"][number].clone()
        for position, label in kept[number].items():
            if label != IGNORE:
                original[position] = label
        changed = (corrupted[number] != original).nonzero().flatten().tolist()
        assert set(changed) <= {p for p, label in kept[number].items() if label != IGNORE}
        assert replaced[number].nonzero().flatten().tolist() == changed
        assert not replaced[number, length:].any()
    real = batch["attention_mask"].bool()
    said = answers > 0
    assert int(parts["rtd_accuracy"].total) == int((said == replaced)[real].sum())
    assert (int(parts["rtd_recall"].total), int(parts["rtd_recall"].count)) == (
        int((said & replaced)[real].sum()),
        int(replaced.sum()),
    )
    assert int(parts["rtd_precision"].count) == int(said[real].sum())
    assert (
        0 < int(parts["rtd_replaced"].total) == int(replaced.sum()) < int((batch["masked_labels"] != IGNORE).sum()) + 1
    )


def test_a_certain_generator_replaces_nothing_unless_it_must():
    made = objective(64, mask_rate=0.3)
    batch = batch_of(made, [61])
    right = torch.nn.functional.one_hot(batch["masked_labels"], 128) * 100.0
    assert made.samples(right, batch["masked_labels"], batch["uniform"]).equal(batch["masked_labels"])
    never = replace(made, disallow_correct=True).samples(right, batch["masked_labels"], batch["uniform"])
    assert never.ne(batch["masked_labels"]).all()


def test_entries_that_round_the_vocabulary_up_are_never_sampled():
    made, model = objective(64, mask_rate=0.9), networks()
    model.generator.config.entries = 7
    with torch.no_grad():
        model.generator.generator_lm_head.bias[7:] += 100
    batch = batch_of(made, [61])
    corrupted = made.both(model, batch)[1]
    assert corrupted[0, batch["masked_positions"][0]].max() < 7


def test_embeddings_are_one_tensor_and_counted_once():
    model = networks()
    one, other = model.generator.electra.embeddings, model.discriminator.electra.embeddings
    for name, parameter in one.named_parameters():
        assert parameter is dict(other.named_parameters())[name]
    assert model.generator.generator_lm_head.weight is one.word_embeddings.weight
    both = parameter_count(model.generator) + parameter_count(model.discriminator)
    assert parameter_count(model) == both - parameter_count(one)


@pytest.mark.parametrize(
    ("width", "share", "expected"),
    [
        (768, 1 / 3, (256, 4, 1024)),
        (768, 0.33333, (256, 4, 1024)),
        (256, 0.25, (64, 1, 256)),
        (1024, 0.25, (256, 4, 1024)),
    ],
)
def test_sizes_of_the_generator(width, share, expected):
    config = ElectraConfig(hidden_size=width, embedding_size=128, num_hidden_layers=12)
    own = objective(generator_size=share).generator_settings({"type": "electra", "hidden_act": "relu"}, config)
    assert (own["hidden_size"], own["num_attention_heads"], own["intermediate_size"]) == expected
    assert (own["num_hidden_layers"], own["embedding_size"], own["hidden_act"]) == (12, 128, "relu")
    half = objective(generator_layers=0.5).generator_settings({"type": "electra"}, config)
    assert half["num_hidden_layers"] == 6


def test_other_families_are_refused(tiny):
    sections = {
        **sections_of("rtd", 0.0),
        "model": "{type: bert, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2}",
    }
    with pytest.raises(RecipeError, match=r"model.type: rtd trains electra, not bert"):
        session(tiny(**sections)).fresh_model()


def test_one_network_alone_is_no_start(tiny, tmp_path):
    path = str(tiny(**sections_of("rtd", 0.0)))
    pretrain(recipe_file.load(path, ["train.steps=1"]).recipe, tmp_path / "first", talk=QUIET)
    one = f"{tmp_path}/first/model/generator"
    recipe = recipe_file.load(path, [f"init={one}", f"tokenizer.path={one}"]).recipe
    with pytest.raises(RecipeError, match="has no generator, and rtd trains one beside the discriminator"):
        pretrain(recipe, tmp_path / "second", talk=QUIET)


def test_both_networks_are_exported_whole(tiny, tmp_path):
    """transformers' classes load them with the logits that they had together."""
    pretrain(recipe_file.load(str(tiny(**sections_of("rtd", 0.0)))).recipe, tmp_path / "run", talk=QUIET)
    folder = tmp_path / "run" / "model"
    both = load.load(str(folder))
    ids = torch.arange(5, 30)[None]
    with torch.no_grad():
        for own, kind, where in (
            (both.discriminator, ElectraForPreTraining, folder),
            (both.generator, ElectraForMaskedLM, folder / "generator"),
        ):
            torch.testing.assert_close(
                own(ids).logits, kind.from_pretrained(where).eval()(ids).logits, rtol=0, atol=1e-6
            )
    assert load.tokenizer(str(folder / "generator")).mask_token == "[MASK]"
    assert load.tokenizer(str(folder)).get_vocab() == load.tokenizer(str(folder / "generator")).get_vocab()


def test_a_position_drawn_twice_is_masked_if_either_draw_says_so():
    """As published: 1 - 0.15^n of the positions drawn n times (ELE-3, ELE-4)."""
    made = objective(128, fidelity="paper")
    masked = {1: [0, 0], 2: [0, 0]}
    for seed in range(3000):
        example = made.encode(row(125, seed), Words(), np.random.default_rng(seed))
        for position, times in zip(*np.unique(example["masked_positions"], return_counts=True), strict=True):
            if times in masked:
                masked[times][0] += int(example["input_ids"][position] == 4)
                masked[times][1] += 1
    for times, expected in ((1, 0.85), (2, 1 - 0.15**2)):
        hits, total = masked[times]
        assert abs(hits / total - expected) < 3 * (expected * (1 - expected) / total) ** 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"objective.generator_size": 0.51, "model.hidden_size": 256}, r"generator_size: 0.51 of 256 is 131, which 2"),
        ({"model.hidden_size": 30, "model.num_attention_heads": 4}, r"4 do not divide model.hidden_size 30; use 3"),
        ({"model.tie_word_embeddings": "false"}, r"networks share one table \(ELE-8\); leave it out"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(tiny, words, message):
    made = session(tiny(**sections_of("rtd", 0.0)), *(f"{key}={value}" for key, value in words.items()))
    with pytest.raises(RecipeError, match=message):
        made.fresh_model()


def test_weights_to_start_from_keep_their_generator_and_it_is_said(tiny, tmp_path, capsys):
    path = str(tiny(**sections_of("rtd", 0.0)))
    pretrain(recipe_file.load(path, ["train.steps=1"]).recipe, tmp_path / "first", talk=QUIET)
    words = [f"init={tmp_path}/first", f"tokenizer={{path: {tmp_path}/first/model, extend: 30}}", "train.steps=1"]
    recipe = recipe_file.load(path, [*words, "objective.generator_size=0.5"]).recipe
    pretrain(recipe, tmp_path / "second", talk=Talk())
    assert "brings its own generator, 32 wide (not 16)" in capsys.readouterr().err
    both = load.load(str(tmp_path / "second"))
    assert both.generator.electra.embeddings.word_embeddings.weight is both.discriminator.get_input_embeddings().weight
    assert both.entries == len(load.tokenizer(str(tmp_path / "second")))


def test_gradient_checkpointing_changes_nothing(tiny):
    path = tiny(**sections_of("rtd", 0.0))
    plain, gradients = trajectory(session(path), steps=2)
    again, others = trajectory(session(path, "train.gradient_checkpointing=true"), steps=2)
    assert again == [pytest.approx(line) for line in plain]
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient)
