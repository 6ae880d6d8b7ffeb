"""From the plan to batches: a resumed run reads nothing twice, and a worker's fault is told as it is."""

import os
import signal
import time
from multiprocessing import active_children

import numpy as np
import pytest
from conftest import sections_of
from running import QUIET, session

from ptk import checkpoint, recipe_file
from ptk.data import batches
from ptk.errors import ProcessLostError, RecipeError
from ptk.pretraining import make_plan, pretrain
from ptk.run import Run
from ptk.session import objective_of
from ptk.step import Training

MILLION = ["train.epochs=1", "train.steps=null", "train.length=8", "evaluate.share=0.02"]
LONG = "{path: 'PATH', split_documents: line}"


@pytest.mark.slow
def test_a_million_rows_are_taken_up_at_95_per_cent_at_once(tiny, tmp_path, monkeypatch):
    """R5: the position is an integer, so nothing before it is read, and few rows after it."""
    path = tmp_path / "million.txt"
    letters = np.frombuffer(b"abcdefgh ", np.uint8)[np.random.default_rng(0).integers(0, 9, (1000, 8400))]
    path.write_text("\n".join(line.tobytes().decode() for line in letters) + "\n")
    recipe = tiny(corpus=LONG.replace("PATH", str(path)), **sections_of("causal_lm", dropout=0.0))
    made = session(recipe, *MILLION)
    assert sum(made.plan.stages[0].quota) >= 1_000_000
    read = []
    encode = batches.encode
    monkeypatch.setattr(batches, "encode", lambda *given: read.append(1) or encode(*given))

    def first(step: int) -> float:
        """Seconds from a store and tables on disk to the batch after ``step``, in a plan that has opened nothing."""
        began = time.perf_counter()
        loaded = recipe_file.load(str(recipe), MILLION).recipe
        plan = make_plan(loaded, objective_of(loaded), made.data)
        next(iter(batches.loader(batches.Batches(plan, made.data.tokenizer, batches.Division()), step, 0, False)))
        return time.perf_counter() - began

    first(1)
    pairs = [(first(1), first(round(0.95 * made.plan.steps))) for _ in range(4)]
    at_1, at_95 = map(min, zip(*pairs, strict=True))
    assert len(read) == 9 * 16  # one batch of 16 rows each time
    assert at_95 < 2
    assert at_95 < 1.1 * at_1 + 0.02


def test_a_worker_that_is_killed_is_said(tiny, tmp_path, monkeypatch):
    recipe = recipe_file.load(
        str(tiny()), ["train.workers=1", "train.steps=40", "train.batch_size=2", "train.save_every=1"]
    ).recipe
    step = Training.step

    def killing(self, *given):
        if given[1].step == 2:
            os.kill(active_children()[0].pid, signal.SIGKILL)
        return step(self, *given)

    monkeypatch.setattr(Training, "step", killing)
    with pytest.raises(ProcessLostError, match="a process that prepares batches is gone"):
        pretrain(recipe, tmp_path / "run", talk=QUIET)
    assert active_children() == []
    assert Run(tmp_path / "run").read_status()["exit_code"] == 8
    assert checkpoint.find(tmp_path / "run" / "checkpoints")[0] is not None


class Broken:
    """A tokenizer that an objective cannot use."""

    pad_id = 0


def test_an_error_of_a_worker_is_one_line_and_a_bug_names_the_row(tiny):
    made = session(tiny(train="{steps: 4, length: 32, batch_tokens: 64, workers: 1}"))
    many = batches.Batches(made.plan, made.data.tokenizer, batches.Division(0, 50))
    with pytest.raises(RecipeError) as error:
        next(batches.loader(many, 0, workers=1, pin=False))
    assert str(error.value).startswith("train.batch_tokens: the batch of step 1 has")
    assert "\n" not in str(error.value)
    broken = batches.Batches(made.plan, Broken(), batches.Division())
    with pytest.raises(AttributeError) as bug:
        broken[0]
    assert bug.value.__notes__[0].startswith("in row ")
    with pytest.raises(AttributeError, match=r"in row \d+ of epoch 0, source 1"):
        next(batches.loader(broken, 0, workers=1, pin=False))


def test_parts_of_a_batch_are_of_like_length():
    """Sorted before they are divided: 8 rows in parts of 2 have a fifth of the padding; all of them once."""
    lengths = [9, 2, 8, 3, 9, 2, 8, 3]
    examples = [{"input_ids": np.full(length, number)} for number, length in enumerate(lengths)]
    for division in (batches.Division(micro_batch_size=2), batches.Division(micro_batch_tokens=18)):
        parts = list(batches.micro_batches(examples, division))
        assert sorted(int(example["input_ids"][0]) for part in parts for example in part) == list(range(8))
        padded = sum(len(part) * max(len(example["input_ids"]) for example in part) for part in parts)
        assert sum(lengths) <= padded <= 47
        assert sum(lengths) == 44
    (whole,) = batches.micro_batches(examples, batches.Division())
    assert [len(example["input_ids"]) for example in whole] == lengths
