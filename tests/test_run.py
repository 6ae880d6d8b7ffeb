"""The run directory, checkpoints and export: nothing mixed, nothing lost, usable with ptk uninstalled."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ptk import recipe_file
from ptk import run as runs
from ptk.errors import DiskError, OutOfMemoryError, RecipeError
from ptk.models import load
from ptk.pretraining import pretrain
from ptk.progress import Talk

QUIET = Talk(quiet=True)


@pytest.fixture
def finished(tiny, tmp_path) -> Path:
    pretrain(recipe_file.load(str(tiny())).recipe, tmp_path / "run", talk=QUIET)
    return tmp_path / "run"


def test_a_finished_run_holds_what_the_contract_says(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "recipe.yaml", "environment.json", "status.json", "metrics.jsonl", "checkpoints", "model", "results.json",
        ".lock",
    }  # fmt: skip
    lines = runs.Run(finished).metrics()
    train = [line for line in lines if line["split"] == "train"]
    assert {"step", "split", "loss", "mlm", "nsp", "lr", "tokens", "tokens_per_second", "seconds"} <= train[0].keys()
    assert lines[-1]["split"] == "validation"
    results = json.loads((finished / "results.json").read_text())
    assert {"task", "split", "examples", "metrics", "model", "seed"} <= results.keys()
    assert {"mlm", "mlm_accuracy", "nsp", "nsp_accuracy", "pseudo_perplexity"} <= results["metrics"].keys()
    assert json.loads((finished / "status.json").read_text())["status"] == "finished"


def test_the_written_recipe_repeats_the_run(finished, tmp_path):
    pretrain(recipe_file.load(str(finished / "recipe.yaml")).recipe, tmp_path / "again", talk=QUIET)
    one, two = (load_file(folder / "model" / "model.safetensors") for folder in (finished, tmp_path / "again"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_used_folder_needs_resume_or_overwrite(finished, tiny):
    recipe = recipe_file.load(str(tiny())).recipe
    with pytest.raises(RecipeError, match=r"--resume to go on or --overwrite"):
        pretrain(recipe, finished, talk=QUIET)
    pretrain(recipe, finished, overwrite=True, talk=QUIET)


def test_a_second_run_in_the_same_folder_is_refused_and_a_dead_ones_lock_is_not(tmp_path):
    run = runs.open_run(tmp_path / "run", False, False)
    with pytest.raises(RecipeError, match=f"process {os.getpid()}"):
        runs.open_run(tmp_path / "run", False, False)
    runs.unlock(run)
    (tmp_path / "run" / runs.LOCK).write_text("")  # what a killed process leaves
    runs.unlock(runs.open_run(tmp_path / "run", False, False))


def test_overwrite_deletes_a_run_and_nothing_else(finished, tiny, tmp_path):
    (finished / "notes.txt").write_text("mine")
    pretrain(recipe_file.load(str(tiny())).recipe, finished, overwrite=True, talk=QUIET)
    assert (finished / "notes.txt").read_text() == "mine"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("mine")
    with pytest.raises(RecipeError, match="holds files but no run"):
        runs.open_run(tmp_path / "thesis", False, overwrite=True)
    assert (tmp_path / "thesis" / "thesis.txt").exists()


def test_a_changed_text_is_refused_on_resume(finished, tiny, tiny_text, tmp_path):
    own = tmp_path / "own.txt"
    own.write_text(tiny_text.read_text())
    path = tiny(corpus=f'{{path: "{own}", split_documents: blank_line}}')
    pretrain(recipe_file.load(str(path)).recipe, tmp_path / "own", talk=QUIET)
    own.write_text(own.read_text().replace("the cat", "the cow", 1))
    with pytest.raises(RecipeError, match="the text or tokenizer has changed"):
        pretrain(recipe_file.load(str(path)).recipe, tmp_path / "own", resume=True, talk=QUIET)


def test_resuming_keeps_the_precision_and_takes_the_new_settings(finished, tiny):
    recipe = recipe_file.load(str(tiny()), ["train.precision=auto", "train.weight_decay=0.5", "train.steps=9"]).recipe
    pretrain(recipe, finished, resume=True, talk=QUIET)
    assert recipe_file.load(str(finished / "recipe.yaml")).recipe.train.precision == "fp32"
    groups = torch.load(finished / "checkpoints" / "step-00000009" / "optimizer.pt", weights_only=True)["param_groups"]
    assert groups[0]["weight_decay"] == 0.5


def test_a_damaged_checkpoint_neither_hides_nor_crowds_out_a_good_one(tiny, tmp_path):
    recipe = recipe_file.load(str(tiny()), ["train.save_every=4", "train.keep=1"]).recipe
    pretrain(recipe, tmp_path / "run", talk=QUIET)
    whole = load_file(tmp_path / "run" / "model" / "model.safetensors")
    checkpoints = tmp_path / "run" / "checkpoints"
    shutil.copytree(checkpoints / "step-00000008", checkpoints / "step-00000009")
    (checkpoints / "step-00000009" / "state.json").write_text("{}")
    pretrain(recipe, tmp_path / "run", resume=True, talk=QUIET)
    assert {path.name for path in checkpoints.iterdir()} == {"step-00000008", "damaged-step-00000009"}
    again = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_full_disk_is_said_before_the_run(tiny, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    with pytest.raises(DiskError, match="are free"):
        pretrain(recipe_file.load(str(tiny())).recipe, tmp_path / "run", talk=QUIET)


REMEDIES = (
    r"16 rows of up to 32 tokens at a time, 2\d,\d{3} parameters; .*micro_batch_size=8.*checkpointing=true.*length=16"
)


def test_out_of_memory_has_three_remedies_in_order(tiny, tmp_path, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("ptk.step.Training.backward", fail)
    with pytest.raises(OutOfMemoryError, match=REMEDIES):
        pretrain(recipe_file.load(str(tiny())).recipe, tmp_path / "run", talk=QUIET)
    assert runs.Run(tmp_path / "run").read_status()["exit_code"] == 7


def test_code_that_comes_with_a_model_is_not_run(finished, tmp_path):
    from ptk.evaluation import pretrained

    folder = tmp_path / "foreign"
    shutil.copytree(finished / "model", folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "canary.Canary", "AutoModelForPreTraining": "canary.Canary"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "canary.py").write_text(f"open({str(tmp_path / 'sang')!r}, 'w')")
    for call in (lambda: pretrained.evaluate(str(folder), "x.txt", None), lambda: load.load(str(folder))):
        with pytest.raises(RecipeError, match="--trust-remote-code"):
            call()
    assert not (tmp_path / "sang").exists()


def test_resuming_with_another_model_or_corpus_is_refused_and_another_rate_is_said(finished, tiny, capsys):
    for override in ("model.hidden_size=64", "objective.mask_rate=0.3", "train.batch_size=8", "seed=3"):
        with pytest.raises(RecipeError, match="the run has"):
            pretrain(recipe_file.load(str(tiny()), [override]).recipe, finished, resume=True, talk=QUIET)
    pretrain(recipe_file.load(str(tiny()), ["train.lr=5e-4", "train.steps=10"]).recipe, finished, resume=True)
    said = capsys.readouterr().err
    assert "changed: train.lr: 0.001 -> 0.0005" in said
    assert [line["step"] for line in runs.Run(finished).metrics() if line["split"] == "train"] == list(range(1, 11))


@pytest.mark.parametrize("kind", ["file", "dead link"])
def test_a_path_that_cannot_be_a_run(tmp_path, kind):
    path = tmp_path / "run"
    path.write_text("") if kind == "file" else path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(RecipeError, match="choose"):
        runs.open_run(path, False, False)


def test_lines_of_metrics_that_are_cut_are_passed_over(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    run = runs.Run(tmp_path)
    assert [line["step"] for line in run.metrics()] == [1, 2]
    run.rewind(1)
    run.log({"step": 2, "loss": float("nan")})
    assert run.metrics() == [{"step": 1}, {"step": 2, "loss": "nan"}]


def test_a_validation_that_comes_again_is_dropped(tmp_path):
    run = runs.Run(tmp_path)
    lines = [{"step": step, "split": split} for step in (3, 6, 9) for split in ("train", "validation")]
    for line in lines:
        run.log(line)
    run.rewind(6)
    assert run.metrics() == lines[:4]
    run.rewind(6, validated=False)
    assert run.metrics() == lines[:3]


PLAIN = """
import json, sys
from pathlib import Path
for name in [n for n in sys.modules if n.startswith("ptk")]: del sys.modules[name]
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ptk": raise ImportError("ptk is uninstalled")
sys.meta_path.insert(0, Gone())
import torch
from transformers import AutoModelForPreTraining, AutoTokenizer
model = AutoModelForPreTraining.from_pretrained(sys.argv[1]).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
pair = tokenizer("the cat sees a red house.", "a dog finds the river.", return_tensors="pt")
with torch.no_grad(): logits = model(**pair)
print(json.dumps({"class": type(model).__name__, "ids": pair["input_ids"][0].tolist(),
                  "types": pair["token_type_ids"][0].tolist(), "nsp": logits.seq_relationship_logits[0].tolist(),
                  "mlm": logits.prediction_logits[0, 3, :5].tolist()}))
"""


def test_the_model_gives_equal_logits_with_ptk_uninstalled(finished, environment):
    from ptk.data import tokenizer as tokenizers

    out = subprocess.run(
        [sys.executable, "-c", PLAIN, str(finished / "model")], env=environment, capture_output=True, check=True
    )
    plain = json.loads(out.stdout)
    tokenizer = tokenizers.load(str(finished / "model"))
    a, b = tokenizer.encode_batch(["the cat sees a red house.", "a dog finds the river."])
    ids = [tokenizer.cls_id, *a.tolist(), tokenizer.sep_id, *b.tolist(), tokenizer.sep_id]
    types = [0] * (len(a) + 2) + [1] * (len(b) + 1)
    assert (plain["class"], plain["ids"], plain["types"]) == ("BertForPreTraining", ids, types)
    state, _ = load_file(finished / "model" / "model.safetensors"), None
    model = load.load(str(finished))
    saved = load_file(next((finished / "checkpoints").glob("step-00000008")) / "model.safetensors")
    assert all(torch.equal(state[name], saved[name]) for name in state)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]))
    assert plain["nsp"] == pytest.approx(logits.seq_relationship_logits[0].tolist(), abs=1e-5)
    assert plain["mlm"] == pytest.approx(logits.prediction_logits[0, 3, :5].tolist(), abs=1e-5)


def test_the_card_names_the_oddities_that_paper_reproduces(tiny, tmp_path):
    pretrain(recipe_file.load(str(tiny()), ["fidelity=paper"]).recipe, tmp_path / "run", talk=QUIET)
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert all(rule in card for rule in ("NSP-5", "NSP-6", "MLM-7", "OPT-2"))


def test_the_card_escapes_what_others_named(tiny, tmp_path, tiny_text):
    folder = tmp_path / "<img src=x>"
    folder.mkdir()
    shutil.copy(tiny_text, folder / "a.txt")
    path = tiny(corpus=f'{{path: "{folder}/a.txt", split_documents: blank_line}}')
    pretrain(recipe_file.load(str(path)).recipe, tmp_path / "run", talk=QUIET)
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "<img" not in card
    assert "&lt;img" in card


def test_init_goes_on_from_another_models_weights(finished, tiny, tmp_path):
    words = [f"init={finished}", f"tokenizer.path={finished}/model", "train.steps=1", "train.lr=1e-9"]
    pretrain(recipe_file.load(str(tiny()), words).recipe, tmp_path / "more", talk=QUIET)
    one, two = (load_file(folder / "model" / "model.safetensors") for folder in (finished, tmp_path / "more"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-6)
    small = recipe_file.load(str(tiny(tokenizer="{kind: wordpiece, vocab_size: 400}")), [f"init={finished}"]).recipe
    with pytest.raises(RecipeError, match="take its own tokenizer"):
        pretrain(small, tmp_path / "other", talk=QUIET)


def test_lines_go_to_the_tracker_that_the_recipe_names(tiny, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    pretrain(recipe_file.load(str(tiny()), ["track=tensorboard"]).recipe, tmp_path / "run", talk=QUIET)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    logged = {line["step"]: line["mlm"] for line in runs.Run(tmp_path / "run").metrics() if line["split"] == "train"}
    sent = {event.step: event.value for event in events.Scalars("train/mlm")}
    assert sent == pytest.approx(logged)
