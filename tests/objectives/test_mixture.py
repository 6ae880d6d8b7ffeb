"""Mixtures: each member's share of the rows, its own loss, one forward pass."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import T5, UNIGRAM, sections_of
from running import QUIET, session

from ptk import recipe_file
from ptk.errors import DataError, RecipeError
from ptk.pretraining import pretrain
from ptk.run import Run


def mixed(members: str) -> dict[str, str]:
    model = T5.replace("DROP", "0.0")
    return {"objective": f"{{name: mixture, members: {members}}}", "model": model, "tokenizer": UNIGRAM}


def test_each_member_gives_its_share_of_the_rows(tiny):
    made = session(tiny(**sections_of("mixture", 0.0)))
    places = [place for step in range(made.plan.steps_per_epoch(0)) for place in made.plan.batch(step)]
    counts = Counter(place.member for place in places)
    assert [counts[m] / len(places) for m in range(3)] == pytest.approx([0.5, 0.25, 0.25], abs=0.02)
    sizes = made.plan.stages[0].rows
    assert sum(made.plan.stages[0].quota) == pytest.approx(0.5 * sizes[0] + 0.25 * sizes[1] + 0.25 * sizes[2], abs=2)
    assert len(set(places)) == len(places)


@torch.no_grad()
def test_a_members_loss_is_that_of_its_rows_alone(tiny):
    made = session(tiny(**sections_of("mixture", 0.0)))
    model, (batch,) = made.fresh_model().eval(), made.batches()[0]
    assert set(batch["member"].tolist()) == {0, 1, 2}
    losses = made.objective.loss(model, batch)
    for number, (name, member) in enumerate(made.objective.parts.items()):
        rows = batch["member"] == number
        alone = member.loss(model, {key: tensor[rows] for key, tensor in batch.items()})
        assert int(losses[name].count) == int(alone[member.part].count)
        assert float(losses[name].total) == pytest.approx(float(alone[member.part].total), rel=1e-5)
        assert int(losses[f"{name}_accuracy"].total) == int(alone[f"{member.part}_accuracy"].total)
    assert float(losses["mixture"].total) == pytest.approx(sum(float(losses[n].total) for n in "rxs"), rel=1e-6)
    assert made.objective.counts(batch) == {"mixture": int(losses["mixture"].count)}


def test_a_run_reports_every_member_beside_its_own_baseline(tiny, tmp_path: Path):
    sections = sections_of("mixture", 0.0)
    sections["tokenizer"] = "{kind: unigram, vocab_size: 260, special_tokens: ['[R]', '[S]']}"
    recipe = recipe_file.load(
        str(tiny(**sections)), ["objective.members.r.mode_token='[R]'", "objective.members.s.mode_token='[S]'"]
    ).recipe
    results = pretrain(recipe, tmp_path / "run", talk=QUIET)
    assert {"mixture", "r", "x", "s", "r_accuracy", "loss"} <= results["metrics"].keys()
    assert results["metrics"]["loss"] == results["metrics"]["mixture"]
    assert {"unigram_entropy", "unigram_entropy_r", "unigram_entropy_s"} <= results["baselines"].keys()
    written = recipe_file.load(str(tmp_path / "run" / "recipe.yaml")).recipe
    assert written.objective["members"]["r"]["mean_span_length"] == 3.0  # complete, as every recipe of a run
    assert written.objective["members"]["r"]["weight"] == 2
    assert recipe_file.build_objective(written).parts == recipe_file.build_objective(recipe).parts
    tokens = Run(tmp_path / "run").folder / "model" / "tokenizer.json"
    assert '"[R]"' in tokens.read_text()


def test_held_out_rows_are_shared_as_in_training(tiny):
    made = session(
        tiny(**mixed("{r: {name: span_corruption, weight: 4}, s: {name: prefix_lm}}")), "evaluate.examples=20"
    )
    counts = Counter(int(m) for batch in made.held_out_batches() for m in batch["member"])
    assert counts == {0: 16, 1: 4}


def test_a_member_that_would_give_no_row_is_refused(tiny):
    with pytest.raises(DataError, match="member 2 of the mixture has no row"):
        session(tiny(**mixed("{r: {name: span_corruption, weight: 2000}, s: {name: prefix_lm}}")))


def test_weighted_sources_and_members_share_an_epoch(tiny, tiny_text, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(tiny_text.read_text()[:4000])
    corpus = f'[{{path: "{tiny_text}", weight: 1, split_documents: blank_line}}, {{path: "{other}", weight: 3, '
    corpus += "split_documents: blank_line}]"
    made = session(tiny(**sections_of("mixture", 0.0), corpus=corpus))
    (stage,) = made.plan.stages
    assert [(m.member, m.source) for m in stage.members] == [(m, s) for m in range(3) for s in range(2)]
    for member, share in enumerate((0.5, 0.25, 0.25)):
        mine = stage.quota[2 * member : 2 * member + 2]
        assert sum(mine) / sum(stage.quota) == pytest.approx(share, abs=0.02)
        sizes = stage.rows[2 * member : 2 * member + 2]
        assert mine[1] / mine[0] == pytest.approx(3 * sizes[1] / sizes[0], rel=0.1)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ("{r: {name: span_corruption}}", "two or more"),
        ("{r: {name: span_corruption}, c: {name: causal_lm}}", "r encoder_decoder, c decoder"),
        ("{r: {name: span_corruption}, m: {name: mlm}}", "m not for one"),
        (
            "{r: {name: span_corruption}, n: {name: mixture, members: {a: {name: prefix_lm}, b: {name: prefix_lm}}}}",
            "n not",
        ),
        ("{r: {name: span_corruption}, q: {name: span_corruption, z_loss: 1e-4}}", "q not for one"),
        ("{r: {name: span_corruption}, step: {name: prefix_lm}}", "members.step: a name that results have"),
        ("{r: {name: span_corruption}, z: {name: prefix_lm}}", "members.z: a name that results have"),
        (
            "{r: {name: span_corruption, weight: 0}, s: {name: prefix_lm}}",
            "members.r.weight: 0 is not a number above 0",
        ),
        (
            "{r: {name: span_corruption, noise_densty: 1}, s: {name: prefix_lm}}",
            "did you mean objective.members.r.noise",
        ),
        (
            "{r: {name: span_corruption, noise_density: 2}, s: {name: prefix_lm}}",
            "objective.members.r.noise_density: 2 is",
        ),
        (
            "{r: {name: span_coruption}, s: {name: prefix_lm}}",
            "objective.members.r.name: 'span_coruption' is not an obj",
        ),
    ],
)
def test_what_cannot_be_mixed_is_refused_at_its_place(tiny, members, message):
    with pytest.raises(RecipeError) as raised:
        recipe_file.load(str(tiny(**mixed(members))))
    assert message in str(raised.value)
    assert "tiny.yaml:5: objective" in str(raised.value)
