"""A fine-tuning run: what it reads, what it says, what it leaves."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from running import QUIET, carried_out, logged, session
from tiny_tasks import EVERY_HEAD, SIZES, write_examples, write_model, write_recipe
from transformers import AutoTokenizer, PretrainedConfig
from typer.testing import CliRunner

from ptk import device, finetuning, inspection, recipe_file, recipe_task
from ptk.cli import app
from ptk.commands.options import print_results
from ptk.errors import DataError, RecipeError
from ptk.finetuning import finetune
from ptk.models import load
from ptk.prediction import lines
from ptk.recipe import Recipe, TrainSpec

LONG = ("train.steps=300", "train.warmup=0.2", "train.eval_every=300")  # enough to learn the tiny task


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def recipe(name: str, folder: Path, *words: str, dropout: float = 0.0) -> Recipe:
    return recipe_file.load(str(write_recipe(name, folder, dropout)), words).recipe


@pytest.mark.parametrize("name", [name for name in EVERY_HEAD if not name.startswith("answering")])
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


@pytest.mark.parametrize(
    ("width", "length", "tokens"), [(32, 64, 65536), (128, 96, 4096), (384, 64, 512), (768, 384, 1536), (None, 64, 512)]
)
def test_a_small_model_takes_a_batch_in_few_parts(monkeypatch, width, length, tokens):
    train, config = TrainSpec(steps=1, length=length), PretrainedConfig(**({"hidden_size": width} if width else {}))
    monkeypatch.setattr(device, "kind", lambda: "cpu")
    assert finetuning.divided(train, config).micro_batch_tokens == tokens
    assert finetuning.divided(replace(train, micro_batch_size=8), config).micro_batch_tokens is None
    monkeypatch.setattr(device, "kind", lambda: "cuda")
    assert finetuning.divided(train, config).micro_batch_tokens is None


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


def test_labels_in_an_order_of_ones_own(tmp_path):
    """The ids follow it, in training, in the model and in what is predicted."""
    own = ["late", "early", "middle"]
    settings = recipe(
        "classification", tmp_path, f"objective.labels={json.dumps(own)}", "train.steps=150", "train.lr=5e-3"
    )
    results = finetune(settings, tmp_path / "run", talk=QUIET)
    assert load.config(str(tmp_path / "run")).id2label == dict(enumerate(own))
    assert results["score"] > max(results["baselines"].values()) + 0.1
    said = [
        json.loads(line)["label"] for line in (tmp_path / "run/predictions/validation.jsonl").read_text().splitlines()
    ]
    gold = [json.loads(line)["label"] for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert np.mean(np.array(said) == np.array(gold)) == pytest.approx(results["score"])
    with pytest.raises(DataError, match="label `early`"):
        finetune(recipe("classification", tmp_path, 'objective.labels=["late", "other"]'), tmp_path / "no", talk=QUIET)


def test_fewer_examples_than_a_batch_are_a_smaller_batch(tmp_path, capsys):
    settings = recipe("classification", tmp_path, "task.examples=9", "train.steps=2")
    finetune(settings, tmp_path / "run")
    assert "plan: 2 steps of 9 rows" in capsys.readouterr().err
    finetune(settings, tmp_path / "run", resume=True, talk=QUIET)


def test_a_model_alone_knows_the_scale_of_its_scores(tmp_path):
    words = ["objective.scale=unit", "objective.score_range=[0.0, 6.0]", "train.steps=60"]
    finetune(recipe("regression", tmp_path, *words), tmp_path / "run", talk=QUIET)
    model = (tmp_path / "run" / "model").rename(tmp_path / "alone")
    (line,) = lines.answers(str(model), ["the old king draws an apple."])
    shutil.move(model, tmp_path / "run" / "model")
    (same,) = lines.answers(str(tmp_path / "run"), ["the old king draws an apple."])
    assert float(line) == pytest.approx(float(same))
    assert float(line) > 1


def test_baselines_are_no_metrics(capsys):
    print_results({"metrics": {"f1": 0.5}, "baselines": {"f1": 0.25}}, as_json=False)
    names = [line.rsplit(maxsplit=1)[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["f1", "baseline f1"]


def own_files(folder: Path, *words: str, data: str = "train.jsonl") -> Recipe:
    """Of nothing but a file and a model, as the command line gives it."""
    model = folder / "bert"
    if not model.exists():
        write_examples("classification", folder)
        write_model("bert", model, 0.0)
    settings = ["task.pair=other", "train.steps=2", "train.precision=fp32", "train.workers=0", *words]
    return recipe_task.recipe_for(None, settings, None, str(model), str(folder / data))


def test_settings_of_a_head_that_the_files_tell(tmp_path):
    settings = own_files(tmp_path, "objective.label_smoothing=0.1")
    assert settings.objective == {"label_smoothing": 0.1}
    carried_out(settings, tmp_path / "run")
    written = recipe_file.load(str(tmp_path / "run" / "recipe.yaml")).recipe.objective
    assert (written["name"], written["label_smoothing"]) == ("sequence_classification", 0.1)
    with pytest.raises(
        RecipeError, match=r"objective.label_smothing=0.1: unknown key; did you mean objective.label_sm"
    ):
        own_files(tmp_path, "objective.label_smothing=0.1")


def test_a_resumed_run_reads_the_same_examples_from_anywhere(tmp_path):
    results = carried_out(own_files(tmp_path), tmp_path / "run")
    (tmp_path / "moved.jsonl").write_text((tmp_path / "train.jsonl").read_text())
    again = carried_out(own_files(tmp_path, data="moved.jsonl"), tmp_path / "run", resume=True)
    assert again == {**results, "task": "moved"}  # it is called as its file is
    with pytest.raises(RecipeError, match=r"objective.label_smoothing: the run has 0.0, the recipe 0.1"):
        carried_out(own_files(tmp_path, "objective.label_smoothing=0.1"), tmp_path / "run", resume=True)
    (tmp_path / "moved.jsonl").write_text((tmp_path / "train.jsonl").read_text().replace("king", "queen"))
    with pytest.raises(RecipeError, match=r"the text or tokenizer has changed"):
        carried_out(own_files(tmp_path, data="moved.jsonl"), tmp_path / "run", resume=True)


def test_a_model_of_the_hub_has_the_settings_of_its_size(tmp_path, monkeypatch):
    from transformers import BertConfig

    small = BertConfig(hidden_size=128, num_attention_heads=2, max_position_embeddings=64)
    monkeypatch.setattr(load, "config", lambda name: small)
    assert recipe_task.small_model("google/bert_tiny", [], 128) == ["train.lr=3e-4", "train.length=64"]

    def unreachable(name):
        raise DataError("the hub cannot be reached")

    monkeypatch.setattr(load, "config", unreachable)
    assert recipe_task.small_model("google/bert_tiny", [], 128) == []


@pytest.mark.parametrize("name", ["runs/min", "./mine", "a/b/c", "/nowhere/at/all"])
def test_a_path_where_nothing_is_is_no_hub_id(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    with pytest.raises(RecipeError, match=f"^no file or folder {name}.*; name a run, a model folder or a hub id"):
        load.folder_of(name)
    assert load.folder_of("google-bert/bert-base-uncased") == "google-bert/bert-base-uncased"


def test_a_name_that_is_neither_here_nor_at_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    with (
        pytest.raises(
            DataError, match=r"^--model mime: no file or folder mime; did you mean mine\?, and as a hub id: no"
        ),
        load.readable("mime"),
    ):
        raise OSError("no such model")


def test_a_text_in_another_language_is_told(tmp_path, capsys):
    settings = own_files(tmp_path, "train.steps=1")
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    lines_of = [json.dumps({**row, "text": f"{row['text']} 한국어 문장"}) for row in rows]
    (tmp_path / "train.jsonl").write_text("\n".join(lines_of) + "\n")
    finetune(settings, tmp_path / "run")
    said = capsys.readouterr().err
    assert "of the pieces are unknown: is" in said
