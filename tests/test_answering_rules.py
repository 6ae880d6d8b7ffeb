"""Questions by each rule and of each family, whole runs: ``ptk eval`` and ``ptk predict`` give what the run gave."""

import json
import shutil
from pathlib import Path

import pytest
from running import carried_out
from tiny_tasks import write_recipe

from ptk import device, recipe_file
from ptk.errors import DataError
from ptk.evaluation import finetuned
from ptk.prediction import lines
from ptk.recipe import TaskSpec

SHARED = Path(__file__).parents[2] / "shared" / "data"


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, articles: list, **more) -> Path:
    path.write_text(json.dumps({"data": articles, **more}), encoding="utf-8")
    return path


def recipe_of(folder: Path, name: str, head: str, *words: str):
    """A tiny recipe of a task; of those in which every question has an answer, without the others."""
    path = write_recipe(head, folder, 0.0)
    path.write_text(path.read_text().replace("name: squad2", f"name: {name}"))
    for split in ("train", "validation") if name != "squad2" else ():
        file = folder / f"{split}-v2.0.json"
        write(file, [each for each in read(file)["data"] if each["paragraphs"][0]["qas"][0]["answers"]])
    return recipe_file.load(str(path), ["train.steps=20", *words]).recipe


def asked(file: Path) -> list[dict]:
    articles = (paragraph for article in read(file)["data"] for paragraph in article["paragraphs"])
    return [{**qa, "context": paragraph["context"]} for paragraph in articles for qa in paragraph["qas"]]


@pytest.mark.parametrize(
    ("name", "head", "words"),
    [
        ("squad", "answering-albert", []),
        ("korquad", "answering-t5", []),
        ("korquad", "answering-joint", ["task.no_answer=never"]),
        ("squad2", "answering", ["task.no_answer=never"]),
    ],
)
def test_eval_and_predict_give_what_the_run_gave(name, head, words, tmp_path, monkeypatch):
    monkeypatch.setattr(device, "precision", lambda wanted, kind: "fp32")  # that of ptk predict
    results = carried_out(recipe_of(tmp_path, name, head, *words), tmp_path / "run")
    said = read(tmp_path / "run" / "predictions" / "predictions.json")
    assert not (tmp_path / "run" / "predictions" / "null_odds.json").exists()
    file = tmp_path / "validation-v2.0.json"
    spec = TaskSpec(name=name, data=str(file))
    found = finetuned.evaluate(spec, str(tmp_path / "run"), "validation", tmp_path / "out")
    assert found["metrics"] == pytest.approx(results["metrics"])
    assert read(tmp_path / "out" / "predictions" / "predictions.json") == said
    official = finetuned.score(spec, tmp_path / "run" / "predictions" / "predictions.json", "validation", tmp_path)
    assert official["metrics"] == pytest.approx(results["metrics"])
    given = [json.dumps({"question": each["question"], "context": each["context"]}) + "\n" for each in asked(file)]
    assert [json.loads(line)["answer"] for line in lines.answers(str(tmp_path / "run"), given)] == list(said.values())
    if name == "squad2":
        assert results["metrics"]["NoAns_exact"] == 0
    else:
        assert "NoAns_exact" not in results["metrics"]


def test_answers_to_a_file_that_the_run_divided_are_scored(tmp_path):
    folder = tmp_path
    recipe = recipe_of(folder, "squad2", "answering")
    (folder / "train-v2.0.json").rename(folder / "all.json")
    text = (folder / "tiny.yaml").read_text()
    kept = [line for line in text.splitlines() if not line.strip().startswith(("train: /", "validation: /", "test: /"))]
    (folder / "own.yaml").write_text("\n".join(kept))
    recipe = recipe_file.load(str(folder / "own.yaml"), [f"task.data={folder / 'all.json'}", "train.steps=20"]).recipe
    results = carried_out(recipe, folder / "run")
    spec = TaskSpec(name="squad2", data=str(folder / "all.json"))
    file = folder / "run" / "predictions" / "predictions.json"
    shutil.rmtree(folder / "run" / "model")  # it takes the recipe alone
    official = finetuned.score(spec, file, "validation", folder)
    assert official["examples"] == results["examples"] < 120
    assert official["score"] == pytest.approx(results["score"])
    with pytest.raises(DataError, match=r"leave the file in that run's predictions/"):
        finetuned.score(spec, file.rename(folder / "predictions.json"), "validation", folder)


def test_of_equal_null_odds_the_order_is_that_of_their_file(tmp_path):
    """As in the official script: what comes first is answered first. Of one's own predictions none is taken back."""
    answers = {"a": [{"text": "red", "answer_start": 0}], "b": []}
    qas = [{"id": id_, "question": "?", "answers": of, "is_impossible": not of} for id_, of in answers.items()]
    data = write(tmp_path / "dev.json", [{"title": "t", "paragraphs": [{"context": "red", "qas": qas}]}])
    (tmp_path / "p.json").write_text('{"a": "red", "b": "red"}')
    for odds, best in (('{"a": 0, "b": 0}', 100), ('{"b": 0, "a": 0}', 50), ('{"b": 9, "a": 2}', 100)):
        (tmp_path / "null_odds.json").write_text(odds)
        spec = TaskSpec(name="squad2", data=str(data))
        metrics = finetuned.score(spec, tmp_path / "p.json", "validation", tmp_path)["metrics"]
        assert (metrics["exact_match"], metrics["best_exact"]) == (50, best)


def test_half_of_a_surrogate_pair_is_written_as_json_has_it(tmp_path, capfd):
    recipe = recipe_of(tmp_path, "squad2", "answering")
    half = "\ud83d the cat sees a red house."
    for split in ("train", "validation", "test"):
        file = tmp_path / f"{split}-v2.0.json"
        question = {"id": f"{split} \ud83d", "question": "the cat what"}
        if split != "test":
            question |= {"answers": [{"text": half[2:], "answer_start": 2}], "is_impossible": False}
        write(file, [*read(file)["data"], {"title": "half", "paragraphs": [{"context": half, "qas": [question]}]}])
    carried_out(recipe, tmp_path / "run")
    for split, where in (("validation", "predictions"), ("test", "predictions/test")):
        for name in ("predictions.json", "nbest.json", "null_odds.json"):
            assert f"{split} \ud83d" in read(tmp_path / "run" / where / name)
    capfd.readouterr()


@pytest.mark.real_data
@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_the_official_test_file_has_answers_and_no_score(tmp_path):
    """A part of squad2_test_nolabels, by an untrained model."""
    carried_out(recipe_of(tmp_path, "squad2", "answering", "train.steps=1"), tmp_path / "run")
    (path,) = (SHARED / "squad2_test_nolabels").glob("*.json*")
    whole = read(path)
    part = write(tmp_path / "part.json", whole["data"][:1])
    spec = TaskSpec(name="squad2", test=str(part))
    found = finetuned.evaluate(spec, str(tmp_path / "run"), "test", tmp_path / "out")
    assert {"metrics", "score"}.isdisjoint(found)
    assert list(read(Path(found["predictions"]))) == [question["id"] for question in asked(part)]
