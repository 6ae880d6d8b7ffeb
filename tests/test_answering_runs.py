"""Questions about contexts, whole runs: what fine-tuning leaves, ``ptk eval`` and ``ptk predict`` give again."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from running import carried_out, logged, session
from tiny_tasks import SIZES, write_recipe

from ptk import device, finetuning, recipe_file
from ptk.errors import DataError, RecipeError
from ptk.evaluation import finetuned
from ptk.models import load
from ptk.prediction import lines
from ptk.recipe import Recipe, TaskSpec

HEADS = ("answering", "answering-decoder", "answering-joint")


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def asked(file: Path) -> list[dict]:
    """Every question of a file, with its context."""
    articles = (paragraph for article in read(file)["data"] for paragraph in article["paragraphs"])
    return [{**qa, "context": paragraph["context"]} for paragraph in articles for qa in paragraph["qas"]]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """name -> a folder with a tiny task and its finished run, made once."""
    folders: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            recipe = recipe_file.load(str(write_recipe(name, folders[name], 0.0)), ["train.steps=20"]).recipe
            carried_out(recipe, folders[name] / "run")
        return folders[name]

    return run


@pytest.mark.parametrize("name", HEADS)
def test_a_run_answers_every_question_of_every_split(made, name):
    folder = made(name)
    run, results = folder / "run", read(folder / "run" / "results.json")
    assert results["score"] == results["metrics"]["f1"] == pytest.approx(logged(run)[-1]["score"], rel=1e-6)
    assert results["metrics"]["HasAns_total"] + results["metrics"]["NoAns_total"] == SIZES["validation"]
    assert results["metrics"]["f1"] >= results["baselines"]["f1"] > 0  # the threshold could always say nothing
    assert load.load(str(run)).config.ptk_threshold == results["threshold"]
    for split, where in (("validation", "predictions"), ("test", "predictions/test")):
        ids = [question["id"] for question in asked(folder / f"{split}-v2.0.json")]
        for file in ("predictions.json", "null_odds.json", "nbest.json"):
            assert list(read(run / where / file)) == ids
    (test,) = results["others"]
    assert test["split"] == "test"
    assert test["examples"] == SIZES["test"]
    assert "metrics" not in test
    silent = {id_: odds > results["threshold"] for id_, odds in read(run / "predictions/test/null_odds.json").items()}
    assert {id_: not text for id_, text in read(run / "predictions/test/predictions.json").items()} == silent


@pytest.mark.parametrize("name", HEADS)
def test_eval_gives_the_same_again_also_without_the_run(made, name, tmp_path, monkeypatch):
    monkeypatch.setattr(device, "precision", lambda wanted, kind: "fp32")  # the run's
    folder = made(name)
    results = read(folder / "run" / "results.json")
    spec = TaskSpec(name="squad2", data=str(folder / "validation-v2.0.json"))
    shutil.copytree(folder / "run" / "model", tmp_path / "alone")
    for model in (folder / "run", tmp_path / "alone"):
        found = finetuned.evaluate(spec, str(model), "validation", tmp_path / "out")
        assert found["metrics"] == pytest.approx(results["metrics"])
        assert found["threshold"] == results["threshold"]
        said, again = folder / "run" / "predictions", tmp_path / "out" / "predictions"
        assert read(said / "predictions.json") == read(again / "predictions.json")
        assert read(said / "null_odds.json") == pytest.approx(read(again / "null_odds.json"), abs=1e-5)
    official = finetuned.score(spec, folder / "run" / "predictions" / "predictions.json", "validation", tmp_path)
    for metric, value in results["metrics"].items():
        if not metric.startswith("best"):  # those are of other answers: "" is what is said already
            assert official["metrics"][metric] == pytest.approx(value), metric


@pytest.mark.parametrize("name", HEADS)
def test_predict_answers_as_the_run_did(made, name):
    folder = made(name)
    questions = asked(folder / "validation-v2.0.json")
    said = read(folder / "run" / "predictions" / "predictions.json")
    odds = read(folder / "run" / "predictions" / "null_odds.json")
    given = [json.dumps({"question": each["question"], "context": each["context"]}) + "\n" for each in questions]
    answers = [json.loads(line) for line in lines.answers(str(folder / "run"), given)]
    assert [answer["answer"] for answer in answers] == list(said.values())
    for answer, question in zip(answers, questions, strict=True):
        assert answer["null_odds"] == pytest.approx(odds[question["id"]], abs=1e-4)
        if answer["answer"]:
            assert question["context"][answer["start"] : answer["end"]] == answer["answer"]
        else:
            assert (answer["start"], answer["end"]) == (-1, -1)
        assert sum(other["probability"] for other in answer["n_best"]) == pytest.approx(1, abs=1e-4)
    plain = [f"{each['question']}\t{each['context']}\n" for each in questions[:5]]
    assert list(lines.answers(str(folder / "run"), plain)) == list(said.values())[:5]


def test_the_threshold_decides_what_is_left_unanswered(made, tmp_path):
    folder = made("answering")
    shutil.copytree(folder / "run" / "model", tmp_path / "model")
    given = [f"{each['question']}\t{each['context']}\n" for each in asked(folder / "validation-v2.0.json")]
    for threshold, empty in ((1e9, 0), (-1e9, len(given))):
        config = read(tmp_path / "model" / "config.json") | {"ptk_threshold": threshold}
        (tmp_path / "model" / "config.json").write_text(json.dumps(config))
        assert list(lines.answers(str(tmp_path / "model"), given)).count("") == empty


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("what is it?", r'stdin:1: no "context"'),
        ("what is it?\t ", r'stdin:1: "context" is empty'),
        ('{"context": "a dog"}', r'stdin:1: no "question"'),
        ('{"question": "who", "context": 3}', r'stdin:1: "context" is 3, no text'),
    ],
)
def test_a_question_without_what_it_needs_is_told_by_line(made, line, fault):
    with pytest.raises(DataError, match=fault):
        list(lines.answers(str(made("answering") / "run"), [line + "\n"]))


def test_a_decoded_test_file_has_no_score_and_a_wrong_head_is_refused(made, tmp_path):
    folder = made("answering")
    spec = TaskSpec(name="squad2", test=str(folder / "test-v2.0.json"))
    found = finetuned.evaluate(spec, str(folder / "run"), "test", tmp_path)
    assert "metrics" not in found
    assert found["examples"] == SIZES["test"]
    assert len(read(Path(found["predictions"]))) == SIZES["test"]
    with pytest.raises(RecipeError, match=r"its head is for question_answering, and cola wants"):
        finetuned.evaluate(TaskSpec(name="cola"), str(folder / "run"), "validation", tmp_path)


def test_it_learns_what_an_answer_looks_like(tmp_path):
    found = []
    for steps in (1, 250):
        words = [f"train.steps={steps}", "train.lr=3e-3", "train.eval_every=250", "task.no_answer=never"]
        recipe = recipe_file.load(str(write_recipe("answering", tmp_path, 0.0)), words).recipe
        results = carried_out(recipe, tmp_path / f"run-{steps}")
        found.append(results["metrics"]["HasAns_f1"])
        assert results["metrics"]["NoAns_exact"] == 0  # it was told always to answer
        assert "threshold" not in results
    # Which of three is asked for so small a model does not learn: a third of them it has right by chance.
    assert found[1] > 40 > 1.5 * found[0]


def test_an_epoch_of_the_paper_counts_questions(tmp_path):
    steps = {}
    for fidelity in ("fixed", "paper"):
        path = write_recipe("answering", tmp_path, 0.0)
        path.write_text(path.read_text().replace("steps: 8", "epochs: 3"))
        made = session(path, f"fidelity={fidelity}")
        steps[fidelity] = made.plan.steps
        windows = made.plan.per_epoch(0)
    assert windows > 1.5 * SIZES["train"]
    assert steps == {"fixed": round(3 * windows / 16), "paper": round(3 * SIZES["train"] / 16)}


def own(folder: Path, *words: str, **task: str) -> Recipe:
    """A recipe of one's own files, beside the tiny task's model."""
    path = write_recipe("answering", folder, 0.0)
    text = path.read_text().replace("name: squad2", "kind: answering")
    path.write_text(text)
    return recipe_file.load(str(path), [*words, *(f"task.{key}={value}" for key, value in task.items())]).recipe


def test_own_files_are_scored_by_the_rules_that_they_were_learned_by(tmp_path, capsys):
    results = carried_out(own(tmp_path), tmp_path / "run")
    assert results["metrics"]["NoAns_total"] > 0
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "AutoModelForQuestionAnswering" in card
    assert f"above a threshold of {results['threshold']:g}" in card
    data = read(tmp_path / "validation-v2.0.json")
    data["data"] = [each for each in data["data"] if each["paragraphs"][0]["qas"][0]["answers"]]
    (tmp_path / "answered.json").write_text(json.dumps(data))
    spec = TaskSpec(data=str(tmp_path / "answered.json"), kind="answering")
    found = finetuned.evaluate(spec, str(tmp_path / "run"), "validation", tmp_path / "out")
    assert "HasAns_total" in found["metrics"]
    assert (tmp_path / "out" / "predictions" / "null_odds.json").exists()
    assert "scored by the rules of squad2, which the model was fine-tuned for" in capsys.readouterr().err


def test_a_run_goes_on_with_the_words_that_it_began_with(tmp_path):
    for name, words in (("run", ()), ("head", ("task.no_answer=cls_head",))):
        recipe = own(tmp_path, *words)
        before = carried_out(recipe, tmp_path / name)
        assert carried_out(recipe, tmp_path / name, resume=True)["metrics"] == before["metrics"]
    with pytest.raises(RecipeError, match=r"task.no_answer: the run has 'cls_head', the recipe"):
        carried_out(own(tmp_path), tmp_path / "head", resume=True)


def test_what_cannot_be_validated_is_told_before_training(tmp_path):
    files = write_recipe("answering", tmp_path, 0.0)
    without = recipe_file.load(str(files), [f"task.validation={tmp_path / 'test-v2.0.json'}"]).recipe
    with pytest.raises(DataError, match=r"test-v2.0.json: no answers to validate by"):
        carried_out(without, tmp_path / "run")
    for kind, said in (("squad", "every question of it has an answer"), ("sst2", "it asks no questions")):
        task = SimpleNamespace(rule="squad" if kind == "squad" else None, name=kind, kind="answering")
        recipe = recipe_file.load(str(files), ["task.no_answer=cls_head"]).recipe
        with pytest.raises(RecipeError, match=rf"task.no_answer: cls_head says nothing of {kind}, {said}"):
            finetuning.head(recipe, SimpleNamespace(task=task, names=()), None)


def test_nothing_of_the_task_before_is_inherited(made, tmp_path):
    words = [f"init={made('answering-joint') / 'run'}", "task.no_answer=never"]
    recipe = recipe_file.load(str(write_recipe("answering", tmp_path, 0.0)), words).recipe
    carried_out(recipe, tmp_path / "run")
    config = load.load(str(tmp_path / "run")).config
    assert config.ptk_questions["no_answer"] == "never"
    assert not hasattr(config, "ptk_threshold")
    assert not hasattr(config, "ptk_head")


def test_a_question_that_is_too_long_is_cut(made):
    (answer,) = lines.answers(str(made("answering") / "run"), [f"{'what ' * 90}\tthe cat sees a red house.\n"])
    assert answer in "the cat sees a red house."
