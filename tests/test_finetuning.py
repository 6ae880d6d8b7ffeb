"""A fine-tuning run: what it reads, what it says, what it leaves."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from running import QUIET, carried_out, logged, session
from tiny_tasks import EVERY_HEAD, SIZES, write_examples, write_model, write_recipe
from transformers import AutoTokenizer
from typer.testing import CliRunner

from ptk import inspection, recipe_file, recipe_task
from ptk.cli import app
from ptk.errors import DataError, RecipeError
from ptk.finetuning import finetune
from ptk.models import load
from ptk.recipe import Recipe


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def recipe(name: str, folder: Path, *words: str, dropout: float = 0.0) -> Recipe:
    return recipe_file.load(str(write_recipe(name, folder, dropout)), words).recipe


@pytest.mark.parametrize("name", EVERY_HEAD)
def test_a_run_leaves_scores_predictions_and_a_model(tmp_path, name):
    results = carried_out(recipe(name, tmp_path), tmp_path / "run")
    assert results == read(tmp_path / "run" / "results.json")
    assert results["examples"] == SIZES["validation"]
    assert results["score"] == pytest.approx(logged(tmp_path / "run")[-1]["score"], rel=1e-6)
    assert results["score"] == pytest.approx(
        np.mean(
            [value for key, value in results["metrics"].items() if key not in ("entity_precision", "entity_recall")]
        )
    )
    for split in ("validation", "test"):
        (file,) = (tmp_path / "run" / "predictions").glob(f"{split}.*")
        given = Path(tmp_path / f"{split}{file.suffix}")
        assert len(file.read_text().splitlines()) == len(given.read_text().splitlines())
    assert results["others"][-1]["split"] == "test"
    assert ("metrics" in results["others"][-1]) == name.startswith("tagging")
    written = recipe_file.load(str(tmp_path / "run" / "recipe.yaml")).recipe
    again = carried_out(written, tmp_path / "again")
    assert again["metrics"] == results["metrics"]
    found, tokenizer = load.load(str(tmp_path / "run")), AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert tokenizer("the cat sees").input_ids
    if results["metrics"].keys() & {"accuracy", "entity_f1"} and found.config.num_labels > 1:
        assert set(found.config.label2id) == set(written.objective["labels"])


def test_the_best_checkpoint_is_the_model_and_enough_is_enough(tmp_path):
    words = ["train.steps=40", "train.eval_every=2", "train.early_stopping=3", "train.lr=1e-4"]
    settings = recipe("classification", tmp_path, *words, dropout=0.1)
    results = carried_out(settings, tmp_path / "run")
    scores = {line["step"]: line["score"] for line in logged(tmp_path / "run") if line["split"] == "validation"}
    best = max(scores, key=lambda step: (scores[step], -step))
    assert results["steps"] == best + 6 < 40
    assert results["score"] == pytest.approx(scores[best])
    before = logged(tmp_path / "run")
    assert carried_out(settings, tmp_path / "run", resume=True)["steps"] == results["steps"]
    assert logged(tmp_path / "run") == before


def test_from_scratch_has_the_shape_and_none_of_the_weights(tmp_path):
    one = recipe("classification", tmp_path, "train.steps=1", "train.lr=1e-12")
    carried_out(one, tmp_path / "tuned")
    scratch = recipe("classification", tmp_path, "train.steps=1", "train.lr=1e-12", "from_scratch=true")
    carried_out(scratch, tmp_path / "scratch")
    word = "bert.embeddings.word_embeddings.weight"
    start, tuned, drawn = (
        load.load(str(path)).state_dict()[word if path.name != "bert-0.0" else word.removeprefix("bert.")]
        for path in (tmp_path / "bert-0.0", tmp_path / "tuned", tmp_path / "scratch")
    )
    torch.testing.assert_close(tuned, start, rtol=0, atol=1e-6)
    assert not torch.allclose(drawn, start, atol=1e-2)


def test_few_labels_are_part_of_more(tmp_path):
    few = recipe("classification", tmp_path, "task.examples=20", "train.steps=2")
    results = carried_out(few, tmp_path / "run")
    assert results["examples"] == SIZES["validation"]


def test_a_run_that_answers_one_thing_says_so(tmp_path, capsys):
    settings = recipe("classification", tmp_path, "train.steps=1", "train.lr=1e-12")
    results = finetune(settings, tmp_path / "run")
    assert "collapsed" in results
    assert f"collapsed: every one of {SIZES['validation']} predictions is" in capsys.readouterr().err


def test_rows_of_like_length_stand_together(tmp_path):
    path = write_recipe("classification", tmp_path, 0.0)
    made, alone = session(path), session(path, "train.length_window=1")
    steps = made.plan.steps_per_epoch(0)
    assert steps == SIZES["train"] // 16
    lengths = made.plan.rows(0, 0, 0).lengths()
    both = [[[place.row for place in one.plan.batch(step)] for step in range(steps)] for one in (made, alone)]
    grouped, plain = ([row for batch in each for row in batch] for each in both)
    assert sorted(grouped) == sorted(plain)
    assert grouped != plain
    spread = [np.mean([np.ptp(lengths[rows]) for rows in each]) for each in both]
    assert spread[0] < spread[1] * 0.6


def test_data_are_shown_and_checked(tmp_path, capsys):
    settings = recipe("classification", tmp_path)
    inspection.show(settings, 2)
    assert capsys.readouterr().out.count("\nrow ") == 2
    found = inspection.check(settings)
    assert found["train"]["examples"] == SIZES["train"]
    assert found["train"]["early"] + found["train"]["middle"] + found["train"]["late"] == SIZES["train"]


def test_the_command_line_fine_tunes_own_files(tmp_path, monkeypatch):
    """No recipe, no registration: a file, two columns, and the newest run of pretraining to start from."""
    monkeypatch.chdir(tmp_path)
    write_examples("classification", tmp_path)
    model = write_model("bert", tmp_path / "bert", 0.0)
    words = ["finetune", "--data", "train.jsonl", "--model", str(model), "task.pair=other", "train.steps=2", "--json"]
    done = CliRunner().invoke(app, [*words, "train.precision=fp32", "--run", "runs/own"])
    assert done.exit_code == 0, done.output
    results = json.loads(done.stdout)
    assert 5 < results["examples"] < 20  # a tenth of the training file
    assert "3 labels: early, late, middle" in done.stderr
    assert "train.lr=3e-4: usual for a model 32 wide" in done.stderr
    assert "train.length=64: the model has no more positions" in done.stderr


def test_tasks_are_listed():
    done = CliRunner().invoke(app, ["finetune", "--task", "list"])
    assert done.exit_code == 0
    assert any(line.startswith("mrpc ") for line in done.stdout.splitlines())


def test_what_is_wrong_is_said_before_training(tmp_path):
    files = write_examples("classification", tmp_path)
    model = write_model("bert", tmp_path / "bert", 0.0)
    bad = Path(files["validation"])
    bad.write_text(bad.read_text() + '{"text": "a", "other": "b", "label": "never"}\n')
    words = [f"task.train={files['train']}", f"task.validation={bad}", "task.labels=[early, middle, late]"]
    words += ["task.text=text", "task.pair=other", "task.label=label", "task.kind=classification"]
    settings = recipe_task.recipe_for(None, words, None, str(model), None)
    with pytest.raises(DataError, match=rf"{bad}:{SIZES['validation'] + 1}: .*never"):
        finetune(settings, tmp_path / "run", talk=QUIET)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    with pytest.raises(RecipeError, match="did you mean mrpc"):
        recipe_task.recipe_for(None, [], "mrcp", str(model), None)
