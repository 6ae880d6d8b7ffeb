"""What must hold for every objective and head: any division of a batch, any stop, the same steps; and it learns."""

import signal

import pytest
import torch
from conftest import EVERY_OBJECTIVE, sections_of
from running import QUIET, carried_out, equal, logged, same_checkpoint, session, trajectory
from tiny_tasks import EVERY_HEAD, write_recipe

from ptk import device, inspection, recipe_file
from ptk.checkpoint import State
from ptk.data.plan import Plan
from ptk.errors import Interrupted
from ptk.evaluation import pretrained
from ptk.prediction import lines
from ptk.pretraining import pretrain
from ptk.step import Training

STOPPED_HEADS = (
    "classification",
    "tagging-characters",
    "multiple_choice-decoder",
    "answering",
    "answering-joint",
)  # the others' rows are the same
every = pytest.mark.parametrize("name", [*EVERY_OBJECTIVE, *EVERY_HEAD])


@pytest.fixture
def recipe_of(tiny, tmp_path):
    """A recipe file for one of EVERY_OBJECTIVE or EVERY_HEAD."""

    def write(name: str, dropout: float):
        return write_recipe(name, tmp_path, dropout) if name in EVERY_HEAD else tiny(**sections_of(name, dropout))

    return write


@pytest.mark.usefixtures("every_piece")
@every
def test_micro_batches_change_nothing(recipe_of, name):
    path = recipe_of(name, dropout=0.0)
    slow = "train.lr=3e-4"  # the updates must not blow rounding up
    whole, gradients = trajectory(session(path, slow), steps=4)
    for division in ("micro_batch_size=5", "micro_batch_size=1", "micro_batch_tokens=70"):
        divided, others = trajectory(session(path, slow, f"train.{division}"), steps=4)
        for one, other in zip(whole, divided, strict=True):
            assert other == pytest.approx(one, rel=1e-5, abs=1e-6)
        assert gradients.keys() == others.keys()
        for parameter, gradient in gradients.items():
            torch.testing.assert_close(others[parameter], gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("every_piece")
@pytest.mark.parametrize("name", [*EVERY_OBJECTIVE, *STOPPED_HEADS])
def test_a_run_stopped_after_every_step_is_the_same_run(recipe_of, tmp_path, name, monkeypatch):
    """SIGTERM in each of 10 steps over two and a half epochs, dropout on, three micro-batches a step (R4)."""
    path = recipe_of(name, dropout=0.1)
    batch = sum(session(path).plan.stages[0].quota) // 4
    words = [f"train.batch_size={batch}", f"train.micro_batch_size={-(-batch // 3)}", "train.steps=10"]
    recipe = recipe_file.load(str(path), [*words, "train.eval_every=5", "train.save_every=100"]).recipe
    carried_out(recipe, tmp_path / "whole")
    step, stops = Training.step, []

    def stopping(self, batches, state, flags):
        signal.raise_signal(signal.SIGTERM)
        stops.append(state.step + 1)
        return step(self, batches, state, flags)

    monkeypatch.setattr(Training, "step", stopping)
    monkeypatch.setattr(Plan, "prepare_next", lambda *_: None)  # which would start a process each time
    for _ in range(9):
        with pytest.raises(Interrupted):
            carried_out(recipe, tmp_path / "parts", resume=True)
    carried_out(recipe, tmp_path / "parts", resume=True)
    assert stops == list(range(1, 11))
    assert same_checkpoint(tmp_path / "whole", tmp_path / "parts", 10)
    assert equal(tmp_path / "whole", tmp_path / "parts")
    assert logged(tmp_path / "whole") == logged(tmp_path / "parts")


@every
def test_eight_rows_can_be_overfitted(recipe_of, name):
    path = recipe_of(name, dropout=0.0)
    steps = 400 if name.startswith("rtd") else 200  # what is to be detected changes as the generator learns
    made = session(path, f"train.steps={steps}", "train.lr=1e-2", "train.batch_size=8")
    model = made.fresh_model()
    training, state = made.training(model), State()
    batch = made.batches()[0]
    parts = made.objective.weights.keys() - {"z"}
    for _ in range(steps):
        losses, _, _ = training.step(batch, state, (0, 0))
        values = {part: float(losses[part].total / losses[part].count) for part in parts}
        if max(values.values()) < 0.1:
            return
    raise AssertionError(values)


@pytest.mark.parametrize("name", EVERY_OBJECTIVE)
def test_it_is_shown_checked_scored_and_answers(tiny, tiny_text, tmp_path, name, capsys, monkeypatch):
    """What a user does around a run, with the same numbers wherever they are told."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: False)  # one precision a process
    recipe = recipe_file.load(str(tiny(**sections_of(name, dropout=0.1))), ["train.steps=2"]).recipe
    inspection.show(recipe, 3)
    shown = capsys.readouterr().out
    assert shown.count("\nrow ") == 3
    found = inspection.check(recipe)
    assert 0 < found["rows"]["filled"] <= 1
    results = pretrain(recipe, tmp_path / "run", talk=QUIET)
    again = pretrained.evaluate(str(tmp_path / "run"), None, tmp_path / "again", shown=2)
    assert again["metrics"] == pytest.approx(results["metrics"], rel=1e-5)
    assert again["baselines"] == pytest.approx(results["baselines"])
    bare = pretrained.evaluate(str(tmp_path / "run" / "model"), str(tiny_text), tmp_path / "bare")
    known = {"mixture": "prefix_lm", "mixture-decoder": "prefix_lm"}  # by what its configuration keeps
    task = known.get(name, name.partition("-")[0])
    assert bare["task"] == task
    if name in (
        "mlm",
        "mlm-roberta",
        "rtd",
        "causal_lm",
        "prefix_lm",
        "prefix_lm-decoder",
    ):  # of the others settings are not kept
        again = pretrained.evaluate(str(tmp_path / "run"), str(tiny_text), tmp_path / "third")
        assert bare["metrics"]["loss"] == pytest.approx(again["metrics"]["loss"], rel=0.1)
    line = "the cat sees [MASK] red house." if name.startswith(("mlm", "rtd")) else "the cat sees a red"
    (answer,) = lines.answers(str(tmp_path / "run"), [line])
    assert answer.startswith("the cat sees") or name.startswith("span")
