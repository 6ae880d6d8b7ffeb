"""``ptk eval --glue`` and the command line of ``ptk eval``, on a tiny model and GLUE folders of a few rows."""

import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from ptk.cli import app
from ptk.commands.options import print_results
from ptk.errors import DataError, DivergedError, Interrupted, RecipeError
from ptk.evaluation import finetuned, glue, glue_runs, glue_table
from ptk.recipe import TaskSpec
from tests import tiny_tasks
from tests.running import weights

SETTINGS = ["train.steps=4", "train.eval_every=2", "train.batch_size=8", "train.length=32"]
SETTINGS += ["train.lr=1e-3", "train.length_window=1"]
SIZES = {"train": 40, "dev": 16, "test": 10}
NLI = ("entailment", "neutral", "contradiction")


def sentences(rng: np.random.Generator, number: int) -> list[str]:
    words = (tiny_tasks.SUBJECTS, tiny_tasks.VERBS, tiny_tasks.OBJECTS)
    return [" ".join(str(rng.choice(kind)) for kind in words) for _ in range(number)]


def tells(text: str) -> int:
    """What the label follows from: who it is about."""
    return next(i for i, who in enumerate(tiny_tasks.SUBJECTS) if text.startswith(who))


def write_table(path: Path, header: str | None, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in (*([header] if header else []), *rows)), encoding="utf-8")


def write_glue(root: Path) -> Path:
    """CoLA, MRPC and MNLI with its diagnostic set whole, QNLI without a training file."""
    rng = np.random.default_rng(5)
    for split, size in SIZES.items():
        one, two = sentences(rng, size), sentences(rng, size)
        test = split == "test"
        cola = [f"{i}\t{a}" if test else f"x\t{tells(a) % 2}\t\t{a}" for i, a in enumerate(one)]
        write_table(root / "CoLA" / f"{split}.tsv", "index\tsentence" if test else None, cola)
        both = list(zip(one, two, strict=True))
        mrpc = [f"{i if test else tells(a) % 2}\t1\t2\t{a}\t{b}" for i, (a, b) in enumerate(both)]
        first = "index" if test else "Quality"
        write_table(root / "MRPC" / f"{split}.tsv", f"{first}\t#1 ID\t#2 ID\t#1 String\t#2 String", mrpc)
        pairs = [f"{i}\t{a}\t{b}" for i, (a, b) in enumerate(both)]
        labelled = [f"{row}\t{NLI[tells(a) % 3]}" for row, a in zip(pairs, one, strict=True)]
        for half in ("",) if split == "train" else ("_matched", "_mismatched"):
            header = "index\tsentence1\tsentence2"
            rows = pairs if test else labelled[:-3] if half == "_mismatched" else labelled
            write_table(root / "MNLI" / f"{split}{half}.tsv", header if test else f"{header}\tgold_label", rows)
    write_table(root / "diagnostic" / "diagnostic.tsv", "index\tsentence1\tsentence2", pairs[:7])
    write_table(root / "QNLI" / "dev.tsv", "index\tquestion\tsentence\tlabel", ["0\ta\tb\tentailment"])
    return root


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(glue_runs, "MEASURED_SECONDS", 0.0)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def trainings(monkeypatch) -> list[str]:
    """The names of the tasks that are trained, as they are."""
    found: list[str] = []
    real = glue_runs.finetune

    def counted(recipe, *others, **more):
        found.append(recipe.name)
        return real(recipe, *others, **more)

    monkeypatch.setattr(glue_runs, "finetune", counted)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory, _session_cache) -> dict[str, Any]:
    """The model, the data, and what one call left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTK_CACHE", str(_session_cache))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(glue_runs, "MEASURED_SECONDS", 0.0)
        folder = tmp_path_factory.mktemp("glue")
        model = tiny_tasks.write_model("bert", folder / "bert", 0.0)
        data, out = write_glue(folder / "glue_data"), folder / "out"
        results, error = glue.evaluate(str(model), str(data), "mnli,cola,mrpc,qnli,ax", out, SETTINGS)
    return {"model": str(model), "data": str(data), "out": out, "results": results, "error": error, "folder": folder}


@pytest.fixture
def copy(made, tmp_path) -> Path:
    """The two smaller runs of it, to be damaged."""
    for task in ("cola", "mrpc"):
        shutil.copytree(made["out"] / task, tmp_path / "out" / task)
    return tmp_path / "out"


def again(made, out: Path, tasks: str, *settings: str, **more: Any) -> dict[str, Any]:
    """A call of the same model; each later setting in place of an earlier one of its key."""
    chosen = {setting.partition("=")[0]: setting for setting in (*SETTINGS, *settings)}
    results, error = glue.evaluate(made["model"], more.get("data", made["data"]), tasks, out, list(chosen.values()))
    assert error is None
    return results


def ptk(*words: str) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_every_task_that_is_found_is_scored_and_predicted(made):
    results, out = made["results"], made["out"]
    assert made["error"] is None
    tasks = {task["task"]: task for task in results["tasks"]}
    assert list(tasks) == ["cola", "mrpc", "mnli", "qnli", "ax"]  # the paper's order, whatever was typed
    assert tasks["qnli"] == {"task": "qnli", "score": None, "absent": f"no train.tsv in {made['data']}/QNLI"}
    assert set(tasks["mrpc"]["metrics"]) == {"accuracy", "f1"}
    assert tasks["mrpc"]["score"] == pytest.approx(np.mean(list(tasks["mrpc"]["metrics"].values())))
    assert tasks["mnli"]["examples"] == 16 + 13
    assert set(tasks["mnli"]["metrics"]) == {"accuracy", "accuracy_mismatched"}
    assert tasks["ax"]["examples"] == 7
    assert tasks["ax"]["score"] is None
    own = json.loads((out / "mnli" / "results.json").read_text())
    by_split = {each["split"]: each["score"] for each in (own, *own["others"]) if "score" in each}
    assert tasks["mnli"]["score"] == pytest.approx((by_split["validation"] + by_split["validation_mismatched"]) / 2)
    assert (results["average"], results["average_without_wnli"]) == (None, None)
    assert results == json.loads((out / "results.json").read_text())


def test_the_zip_has_the_sites_names_and_its_lack_is_said(made):
    sizes = {"CoLA": 10, "MRPC": 10, "MNLI-m": 10, "MNLI-mm": 10, "AX": 7}
    with zipfile.ZipFile(made["out"] / "glue.zip") as file:
        assert sorted(file.namelist()) == sorted(f"{name}.tsv" for name in sizes)
        lines = {name: file.read(f"{name}.tsv").decode().splitlines() for name in sizes}
    assert {name: len(found) - 1 for name, found in lines.items()} == sizes
    assert {line.split("\t")[1] for line in lines["AX"][1:]} <= set(NLI)
    lacking = ["SST-2.tsv", "STS-B.tsv", "QNLI.tsv", "QQP.tsv", "RTE.tsv", "WNLI.tsv"]
    assert made["results"]["missing_in_zip"] == lacking


def test_a_second_call_trains_nothing_and_prints_the_table(made, trainings):
    options = ["--model", made["model"], "--data", made["data"], "--tasks", "cola,mrpc,qnli", "--out", made["out"]]
    said = ptk("eval", "--glue", "train.micro_batch_size=4", *options, *SETTINGS)
    assert said.exit_code == 0, said.exception
    assert trainings == []
    assert "reused" in said.stderr
    assert "all runs are finished already" in said.stderr
    header, cola, mrpc, qnli, average, site = said.stdout.splitlines()
    assert header.split() == list(glue_table.HEADER)
    score = {task["task"]: task["score"] for task in made["results"]["tasks"]}
    assert cola.split()[:4] == ["cola", "matthews", f"{score['cola']:.4f}", f"{score['cola']:.4f}"]
    assert mrpc.split()[5:7] == [f"{score['mrpc']:.4f}", "16"]
    assert qnli.split() == ["qnli", "-", "-", "-", "-", "-"]
    assert average.startswith("no mean over 9 tasks (MNLI")
    assert average.endswith("sst2, stsb, qqp, mnli, qnli, rte, wnli missing")
    assert site.startswith(f"{made['out']}/glue.zip: the site takes all eleven files only, missing: SST-2.tsv")
    with zipfile.ZipFile(made["out"] / "glue.zip") as file:  # that of this call's tasks
        assert sorted(file.namelist()) == ["CoLA.tsv", "MRPC.tsv"]


def test_an_unfinished_run_goes_on_and_ends_the_same(made, copy, trainings, capsys):
    run = copy / "mrpc"
    for left in ("status.json", "results.json"):
        (run / left).unlink()
    for left in ("model", "predictions", "checkpoints/step-00000004"):
        shutil.rmtree(run / left)
    results = again(made, copy, "cola,mrpc")
    assert trainings == ["mrpc"]
    said = capsys.readouterr().err
    assert "resuming from" in said
    assert "for 1 runs, measured: mrpc " in said
    assert results["tasks"][1]["score"] == {t["task"]: t["score"] for t in made["results"]["tasks"]}["mrpc"]
    one, other = weights(run), weights(made["out"] / "mrpc")
    assert all(bool((one[name] == other[name]).all()) for name in other)


def test_one_bad_task_leaves_the_others_their_results(made, copy, trainings):
    data = shutil.copytree(made["data"], copy.parent / "data")
    shutil.rmtree(copy / "mrpc")
    table = data / "CoLA" / "train.tsv"
    table.write_text("x\t7\t\tthe cat sees\n" + table.read_text())
    options = ["--model", made["model"], "--data", data, "--tasks", "cola,mrpc", "--out", copy]
    said = ptk("eval", "--glue", *options, *SETTINGS)
    assert isinstance(said.exception, DataError)
    assert f"{table}:1: label `7`" in str(said.exception)
    assert trainings == ["mrpc"]
    cola, mrpc = json.loads((copy / "results.json").read_text())["tasks"]
    assert (cola["score"], cola["exit_code"]) == (None, 3)
    assert mrpc["score"] is not None
    assert said.stdout.splitlines()[1].split() == ["cola", "failed", "-", "-", "-", "-"]
    assert said.stdout.splitlines()[2].startswith("mrpc")


def test_a_run_that_fails_lets_the_next_begin(made, copy, monkeypatch):
    def diverges(recipe, *_, **__):
        if recipe.name == "cola":
            raise DivergedError("step 1: the loss is not a number")
        return {"task": "mrpc", "score": 0.5}

    monkeypatch.setattr(glue_runs, "finetune", diverges)
    shutil.rmtree(copy)
    results, error = glue.evaluate(made["model"], made["data"], "cola,mrpc", copy, SETTINGS)
    assert [task["score"] for task in results["tasks"]] == [None, 0.5]
    assert isinstance(error, DivergedError)


def test_a_signal_ends_all_and_says_how_to_go_on(made, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise Interrupted("stopped by SIGTERM at step 2; go on with --resume", 15)

    monkeypatch.setattr(glue_runs, "finetune", stopped)
    with pytest.raises(Interrupted, match="cola: stopped by SIGTERM at step 2; the same command goes on") as caught:
        again(made, tmp_path / "new", "cola,mrpc")
    assert caught.value.exit_code == 143


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("train.steps=6", "train.steps 4, not 6"),
        ("train.lr=5e-4", "train.lr 0.001, not 0.0005"),
        ("seed=1", "seed 42, not 1"),
    ],
)
def test_a_run_of_another_recipe_is_kept(made, copy, trainings, setting, reason):
    with pytest.raises(RecipeError, match=f"cola: holds another run: {reason}; choose a new folder with --out"):
        again(made, copy, "cola", setting)
    assert trainings == []


def test_epochs_are_compared_as_steps(made, copy, trainings):
    epochs = ["train.epochs=0.8", *SETTINGS[1:]]  # 4 steps of 8 of 40 rows
    results, _ = glue.evaluate(made["model"], made["data"], "cola", copy, epochs)
    assert (results["tasks"][0]["steps"], trainings) == (4, [])
    with pytest.raises(RecipeError, match=r"train.steps 4, not 10"):
        glue.evaluate(made["model"], made["data"], "cola", copy, ["train.epochs=2", *SETTINGS[1:]])


def test_other_examples_or_weights_are_another_run(made, copy, tmp_path, trainings):
    data = shutil.copytree(made["data"], tmp_path / "glue")
    shutil.copytree(made["data"], tmp_path / "elsewhere" / "glue")
    dev = data / "CoLA" / "dev.tsv"
    dev.write_text(dev.read_text().replace("x\t1\t", "x\t0\t", 1))
    recipe = copy / "cola" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(made["data"], str(data)))
    with pytest.raises(RecipeError, match="the task's files or the tokenizer have changed since"):
        again(made, copy, "cola", data=str(data))
    os.utime(copy / "mrpc" / "recipe.yaml", (1, 1))
    with pytest.raises(RecipeError, match="bert is newer than it"):
        again(made, copy, "mrpc")
    assert trainings == []


def test_the_folder_of_one_task_is_that_task_alone(made, capsys):
    absent: dict[str, str] = {}
    places = glue.seek(glue.TASKS, f"{made['data']}/MRPC", ("train", "validation"), absent, glue.Talk())
    assert places == {"mrpc": f"{made['data']}/MRPC"}
    assert len(absent) == 9
    assert "cola: left out: no CoLA/ in" in capsys.readouterr().err
    with pytest.raises(DataError, match="none of cola is found"):
        glue.seek(glue.TASKS[:1], f"{made['data']}/MRPC", ("train",), {}, glue.Talk())


def test_ax_is_nothing_without_mnli(made, copy, tmp_path, trainings):
    with pytest.raises(DataError, match="the model of mnli answers it, and there is none; add mnli to --tasks"):
        again(made, tmp_path / "new", "ax")
    results = again(made, copy, "cola,ax")
    assert results["tasks"][1] == {"task": "ax", "score": None, "absent": glue.NO_MNLI}
    assert trainings == []


def test_usual_places_then_the_hub(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    mrpc, cola = glue.wanted("mrpc,cola")[::-1]
    with pytest.raises(DataError, match="no CoLA/ in the usual places"):
        glue.place(cola, None, ("train", "validation"))
    shutil.copytree(made["data"], "glue_data")
    assert glue.place(mrpc, None, ("train", "validation")) == "glue_data/MRPC"
    (tmp_path / "cache" / "nyu-mll___glue").mkdir(parents=True)
    shutil.rmtree("glue_data")
    assert glue.place(cola, None, ("train", "validation")) == glue.HUB


def test_a_fine_tuned_model_is_scored_on_its_own_task(made, tmp_path, trainings):
    run = made["out"] / "mrpc"
    results, error = glue.evaluate(str(run), None, None, tmp_path / "own")  # the data are where the run had them
    assert (error, trainings) == (None, [])
    scored = {task["task"]: task for task in results["tasks"]}
    own = json.loads((run / "results.json").read_text())
    assert scored["mrpc"]["metrics"] == pytest.approx(own["metrics"])
    assert [task for task, about in scored.items() if about["score"] is not None] == ["mrpc"]
    assert scored["cola"]["absent"] == f"{run} is not fine-tuned on it"
    prediction = tmp_path / "own" / "predictions" / "MRPC.tsv"
    assert prediction.read_text() == (run / "predictions" / "MRPC.tsv").read_text()
    with pytest.raises(RecipeError, match="fine-tuned on cola, which is none of these"):
        glue.own_tasks(glue.wanted(None)[1:], str(made["out"] / "cola"), None)
    alone = called(made, "mrpc", ("not_equivalent", "equivalent"), tmp_path / "alone")
    with pytest.raises(RecipeError, match="name it with --tasks"):
        glue.evaluate(alone, made["data"], None, tmp_path / "own")
    bare, _ = glue.evaluate(alone, made["data"], "mrpc", tmp_path / "bare")
    assert bare["tasks"][0]["metrics"] == pytest.approx(own["metrics"])
    with pytest.raises(RecipeError, match=r"train.lr=1e-3: --model .* is fine-tuned already"):
        glue.evaluate(str(run), made["data"], None, tmp_path / "own", ["train.lr=1e-3"])


def test_eval_of_a_fine_tuning_run_scores_its_task(made, tmp_path):
    run = made["out"] / "mnli"
    own = json.loads((run / "results.json").read_text())
    first = ptk("eval", run, "--json", "--out", tmp_path / "1")
    assert first.exit_code == 0, first.exception
    assert json.loads(first.stdout)["metrics"] == pytest.approx(own["metrics"])
    other = ptk("eval", "--model", run / "model", "--split", "validation_mismatched", "--json", "--out", tmp_path / "2")
    expected = next(each for each in own["others"] if each["split"] == "validation_mismatched")
    assert json.loads(other.stdout)["metrics"] == pytest.approx(expected["metrics"])
    named = ptk("eval", "--task", "mnli", "--model", run, "--data", made["data"], "--json", "--out", tmp_path / "3")
    assert json.loads(named.stdout)["metrics"] == pytest.approx(own["metrics"])


def called(made, task: str, labels: tuple[str, ...], folder: Path) -> str:
    """A copy of a run's model, without its run, with other names of its labels."""
    shutil.copytree(made["out"] / task / "model", folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def test_f1_is_of_the_same_label_whatever_its_id(made, tmp_path):
    spec = TaskSpec(name="mrpc", data=made["data"])
    model = called(made, "mrpc", ("equivalent", "not_equivalent"), tmp_path / "model")
    results = finetuned.evaluate(spec, model, "validation", tmp_path)
    official = finetuned.score(spec, Path(results["predictions"]), "validation", tmp_path / "official")
    assert results["metrics"] == pytest.approx(official["metrics"])
    own = json.loads((made["out"] / "mrpc" / "results.json").read_text())
    assert results["baselines"] == {"accuracy": 0.5, "f1": pytest.approx(2 / 3)}  # of a tie the answer is id 0
    assert results["metrics"]["accuracy"] == pytest.approx(1 - own["metrics"]["accuracy"])
    assert (results["seed"], official["seed"]) == (None, None)


@pytest.mark.parametrize("labels", [("LABEL_0", "LABEL_1", "LABEL_2"), ("ENTAILMENT", "Neutral", "contradiction")])
def test_labels_of_other_names_are_the_task_s(made, tmp_path, labels, capsys):
    model = called(made, "mnli", labels, tmp_path / "model")
    spec = TaskSpec(name="mnli", data=made["data"])
    own = json.loads((made["out"] / "mnli" / "results.json").read_text())
    subject = finetuned.subject(spec, model, tmp_path)
    assert subject.on("validation")["metrics"] == pytest.approx(own["metrics"])
    assert ("its labels have no names, taken for entailment, neutral" in capsys.readouterr().err) == ("_" in labels[0])
    file = Path(subject.on("test")["predictions"])
    assert file.read_text() == (made["out"] / "mnli" / "predictions" / "MNLI-m.tsv").read_text()


def test_a_model_of_another_task_is_refused_before_data_are_read(made):
    nowhere = {"data": "nowhere"}
    with pytest.raises(RecipeError, match=r"answers with one of its labels, and stsb wants a score; name a model"):
        finetuned.subject(TaskSpec(name="stsb", **nowhere), str(made["out"] / "mrpc"))
    with pytest.raises(
        RecipeError, match=r"labels are entailment, neutral, contradiction, those of rte are entailment"
    ):
        finetuned.subject(TaskSpec(name="rte", **nowhere), str(made["out"] / "mnli"))


def test_a_regression_is_no_model_of_labels():
    scores: Any = type("Head", (), {"problem": "regression"})()
    with pytest.raises(RecipeError, match="answers with a score, and mrpc wants one of its labels"):
        finetuned.check_problem("model", scores, glue.wanted("mrpc")[0])


def test_no_model_named_is_the_newest_run_of_the_task(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, task in enumerate(("mrpc", "cola")):
        shutil.copytree(made["out"] / task, f"runs/{task}")
        os.utime(f"runs/{task}/status.json", (number, number))
    shutil.copytree("runs/mrpc", "runs/stopped")
    Path("runs/stopped/status.json").write_text('{"status": "stopped"}')
    said = ptk("eval", "--task", "mrpc", "--data", made["data"], "--json")
    assert said.exit_code == 0, said.exception
    assert "model: runs/mrpc, the newest finished run of mrpc (--model)" in said.stderr
    assert json.loads(said.stdout)["seed"] == 42
    assert finetuned.newest("ax") is None


def test_the_model_is_loaded_once(made, tmp_path, monkeypatch):
    loaded: list[str] = []
    real = finetuned.load.load
    monkeypatch.setattr(finetuned.load, "load", lambda name, trust: loaded.append(name) or real(name, trust))
    results, _ = glue.evaluate(str(made["out"] / "mnli"), made["data"], "mnli", tmp_path)
    assert len(loaded) == 1
    assert results["tasks"][0]["score"] == pytest.approx(made["results"]["tasks"][2]["score"])


def test_every_scored_split_is_printed(made, capsys):
    print_results(json.loads((made["out"] / "mnli" / "results.json").read_text()), as_json=False)
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [words[1] for words in said if words[0] == "split"] == ["validation", "validation_mismatched"]
    assert [words[1] for words in said if words[0] == "examples"] == ["16", "13"]


def test_eval_of_a_prediction_file(made, tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text("index\tprediction\n" + "".join(f"{i}\t1\n" for i in range(16)))
    options = ["--task", "mrpc", "--data", made["data"], "--predictions", path, "--out", tmp_path]
    said = ptk("eval", *options)
    assert said.exit_code == 0, said.exception
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["metrics"] == {"accuracy": 0.5, "f1": pytest.approx(2 / 3)}
    assert "accuracy                 0.5000" in said.stdout
    missing = ptk("eval", "--task", "mrpc", "--data", "nowhere", "--predictions", tmp_path / "mine.tvs")
    assert isinstance(missing.exception, DataError)
    assert f"--predictions: no file or folder {tmp_path}/mine.tvs; did you mean {path}" in str(missing.exception)


NINE = {"cola": 0.6, "sst2": 0.9, "stsb": 0.8, "qqp": 0.7, "qnli": 0.9, "rte": 0.71, "wnli": 0.5}


def nine() -> list[dict[str, Any]]:
    """Two-metric tasks and MNLI averaged first: the mean is (0.6+0.9+0.85+0.8+0.7+0.8+0.9+0.71+0.5) / 9."""
    mnli = {"task": "mnli", "split": "validation", "examples": 9, "metrics": {"accuracy": 0.84}, "score": 0.84}
    mismatched = {"split": "validation_mismatched", "examples": 8, "metrics": {"accuracy": 0.76}, "score": 0.76}
    mrpc = {
        "task": "mrpc",
        "split": "validation",
        "examples": 4,
        "metrics": {"accuracy": 0.8, "f1": 0.9},
        "score": 0.85,
    }
    others = [{"task": name, "score": score, "metrics": {"accuracy": score}} for name, score in NINE.items()]
    return [glue_table.as_object({**mnli, "others": [{"split": "test"}, mismatched]}), mrpc, *others]


def test_averages_by_hand():
    found = glue_table.averages(nine())
    assert found["average"] == pytest.approx(6.76 / 9)
    assert found["average_without_wnli"] == pytest.approx(6.26 / 8)
    assert found["missing"] == []
    results = {"tasks": nine(), **found, "zip": "glue.zip", "missing_in_zip": []}
    assert list(glue_table.remarks(results)) == [
        "mean over 9 tasks (MNLI = mean of m and mm, two-metric tasks averaged first): 0.7511",
        "mean over 8, without WNLI (BERT paper): 0.7825",
        "glue.zip: all eleven files",
    ]


def test_no_average_without_all_of_them():
    tasks = nine()
    found = glue_table.averages([task for task in tasks if task["task"] != "wnli"])
    assert (found["average"], found["missing"]) == (None, ["wnli"])
    assert found["average_without_wnli"] == pytest.approx(6.26 / 8)
    said = list(glue_table.remarks({**found, "zip": "z", "missing_in_zip": []}))
    assert said[0].startswith("no mean over 9")
    assert said[1].endswith("0.7825")
    half = {**tasks[0], "metrics": {"accuracy": 0.84}, "score": 0.84}  # mismatched is missing
    found = glue_table.averages([half, *tasks[1:]])
    assert (found["average"], found["average_without_wnli"], found["missing"]) == (None, None, ["mnli"])


def test_the_table_on_a_terminal(made):
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    glue_table.show({**made["results"], "zip": "runs/[/x]/glue.zip"}, console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "┃" in said
    assert "predicted, no labels" in said
    assert "runs/[/x]/glue.zip" in said


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ({"score": 0.6, "baselines": {"accuracy": 0.56}}, None),
        ({"score": 0.56, "baselines": {"accuracy": 0.56}}, "0.5600 is not above its majority's 0.5600"),
        ({"score": 0.56, "baselines": {"accuracy": 0.1}, "collapsed": "all 0"}, "collapsed: all 0"),
        ({"split": "test"}, None),
    ],
)
def test_why_wnli_is_no_result(results, reason, tmp_path, capsys):
    assert glue.no_better(results) == reason
    outcome = glue.Outcome(scored={"wnli": {"task": "wnli", **results}})
    write_table(tmp_path / "wnli" / "predictions" / "WNLI.tsv", None, ["the model's"])
    found = glue.summary(glue.wanted("wnli"), outcome, "model", tmp_path, glue.Talk())
    with zipfile.ZipFile(tmp_path / "glue.zip") as file:
        assert (file.read("WNLI.tsv") == b"the model's\n") == (reason is None)
    told = "WNLI.tsv in it has the most frequent label throughout"
    assert any(told in line for line in glue_table.remarks(found)) == (reason is not None)
    said = capsys.readouterr().err
    assert (f"what the model said is in {tmp_path}/wnli/predictions" in said) == (reason is not None)
    assert (reason or "") in said


def test_times_are_told_before_the_first():
    def plan(seconds: float, state: Any = "new") -> glue_runs.Planned:
        return glue_runs.Planned(None, Path(), state, seconds)  # type: ignore[arg-type]

    plans = {"cola": plan(100), "mnli": plan(7300, "begun"), "rte": plan(float("nan")), "mrpc": plan(9, "finished")}
    assert glue_runs.about(plans) == "about 2h03m for 3 runs, measured: cola 1m40s, mnli 2h01m, rte not known"


def test_validations_and_tests_count_a_third(made, tmp_path, monkeypatch):
    monkeypatch.setattr(glue_runs, "seconds_a_token", lambda session: 1.0)
    recipe = glue.recipe_task.recipe_for(None, SETTINGS, "cola", made["model"], made["data"])
    data = glue_runs.Finetuning.prepared(recipe, glue.Talk(quiet=True))[2]
    tokens = {name: len(store.tokens) for name, store in data.stores.items()}
    expected = tokens["train"] * 0.8 + (3 * tokens["validation"] + tokens["test"]) / 3
    assert glue_runs.planned(recipe, tmp_path / "new").seconds == pytest.approx(expected)
    (tmp_path / "half" / "checkpoints" / "step-00000002").mkdir(parents=True)
    half = tokens["train"] * 0.4 + (2 * tokens["validation"] + tokens["test"]) / 3
    assert glue_runs.planned(recipe, tmp_path / "half").seconds == pytest.approx(half)


def test_the_default_folder_is_named_after_the_model():
    assert str(glue.default_out("runs/bert-mlm-nsp")) == "runs/glue-bert-mlm-nsp"
    assert str(glue.default_out("google-bert/bert-base-uncased")) == "runs/glue-google-bert-bert-base-uncased"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("RUN --model M", "--model M: RUN is named already"),
        ("RUN train.lr=1", "train.lr=1: settings are of a recipe"),
        ("train.lr=1 --model M", "train.lr=1: settings are of a recipe"),
        ("RUN --tasks cola", "--tasks says nothing beside a model alone; leave it out, or add --glue"),
        ("--predictions FILE", "--predictions: of which task"),
        ("--task mrpc --predictions FILE --model M", "the model says nothing beside --predictions"),
        ("--task mrpc RUN --samples 2", "--samples says nothing beside --task"),
        ("--task mrpc --tasks cola", "--tasks says nothing beside --task"),
        ("--glue --task mrpc", "--task says nothing beside --glue"),
        ("--glue --split test", "--split says nothing beside --glue"),
        ("--glue --predictions FILE", "--predictions says nothing beside --glue"),
        ("--glue --model M --tasks colla", "--tasks colla: no task of GLUE (did you mean cola?); they are cola, sst2"),
        ("--glue --model M --tasks ,", "--tasks ',': names no task"),
        ("--glue --model M init=other", "init=other: with --glue that is said by --model"),
        ("--glue --model M task.data=other", "task.data=other: with --glue that is said by --data"),
        ("PRETRAINED --split test", "--split says nothing of a pretrained model"),
        ("TUNED --samples 2", "--samples says nothing of a fine-tuned model"),
        ("ALONE", "its folder does not say on what; name it with --task"),
    ],
)
def test_wrong_combinations_are_one_error(words, message, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = words.replace("PRETRAINED", made["model"]).replace("TUNED", str(made["out"] / "mrpc"))
    if "ALONE" in said:
        said = called(made, "mrpc", ("not_equivalent", "equivalent"), tmp_path / "alone")
    result = ptk("eval", *said.split())
    assert isinstance(result.exception, RecipeError), result.exception
    assert message in str(result.exception)


def test_no_model_and_no_folder(tmp_path, monkeypatch, made):
    monkeypatch.chdir(tmp_path)
    assert "no finished run of mrpc under runs/" in str(ptk("eval", "--task", "mrpc").exception)
    missing = ptk("eval", "--glue", "--model", made["model"], "--data", "nowhere")
    assert isinstance(missing.exception, DataError)
    assert "--data nowhere: no such folder" in str(missing.exception)


def test_several_processes_are_refused(made, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="--glue: started as 2 processes"):
        again(made, made["out"], "cola")


def test_score_reads_the_split_that_is_named(made, tmp_path):
    spec = TaskSpec(name="mnli", data=made["data"])
    results = finetuned.evaluate(spec, str(made["out"] / "mnli"), "test_mismatched", tmp_path)
    assert (results["examples"], "score" in results) == (10, False)
    assert (tmp_path / "predictions" / "MNLI-mm.tsv").exists()
