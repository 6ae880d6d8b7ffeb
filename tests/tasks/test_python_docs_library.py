"""The built-in task: modules on one side each, no answer in the text, and the same everywhere."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ptk.data import python_docs as corpus
from ptk.tasks import find, python_docs
from ptk.tasks.python_docs import MASK, giveaways, library, masked, passages, split_of

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven"]


def sentence(words: int, of: str) -> str:
    return " ".join([of, *NUMBERS * 20][: words - 1]) + " end."


def test_passages_are_whole_paragraphs():
    text = "\n\n".join(sentence(words, "a") for words in (10, 15, 5, 29, 101, 35, 29))
    assert [len(passage.split()) for passage in passages(text)] == [30, 35]
    assert [*passages("\n\n".join([sentence(29, "a"), sentence(40, "b")]))] == [
        f"{sentence(29, 'a')} {sentence(40, 'b')}"
    ]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("topic CLASSES", "language reference"),
        ("torch", "torch"),
        ("numpy.linalg", "numpy"),
        ("json.decoder", "standard library"),
        ("torchlike", "standard library"),
    ],
)
def test_library(module: str, name: str):
    assert library(module) == name


HIDDEN = frozenset({"torch", "pytorch", "chebyshev"})


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("PyTorch's tensors, in torch.", f"{MASK} tensors, in {MASK}."),
        ("A Chebyshev series", f"A {MASK} series"),
        ("torchlike words stay", "torchlike words stay"),
        ("Call np.linalg.norm(x, 2) or `a_b`, then DataFrame;", f"Call {MASK}, 2) or {MASK}, then {MASK};"),
        ("Take norm(x) of a.b first", f"Take {MASK} of {MASK} first"),
        ("float32 and HTMLParser: --flag /usr/lib", f"{MASK} and {MASK}: {MASK}"),
        ("e.g. an HTTP server (i.e., one of 3) for CPUs, and/or more-or-less 2.", None),
        ("it is a_b c_d e_f here", f"it is {MASK} here"),
        ("it is a_b, c_d", f"it is {MASK}, {MASK}"),
    ],
)
def test_masked(written: str, read: str | None):
    assert masked(written, HIDDEN) == (read or written)


def test_giveaways():
    prose = "A matrix of numbers."
    documents = [
        ("numpy.matrix", prose),
        ("sympy.chebyshev", prose + " Chebyshev had polynomials."),
        ("pandas.core", prose + " Chebyshev again."),
        ("json._decoder_fast2", prose),
        ("topic unheard", prose),
    ]
    found = giveaways(documents)
    assert {"chebyshev", "decoder", "fast", "numpy", "huggingface", "hub", "pytorch"} <= found
    assert not {"matrix", "polynomials", "unheard", "numbers"} & found  # ordinary, or no module's name


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus of three libraries; of numpy there are 20 modules, of torch 30 of rich 9; six passages each."""
    path = tmp_path / "corpus.jsonl"
    rows = [
        {"name": f"{package}.module{module}", "text": "\n\n".join(_paragraph(package, module, at) for at in range(6))}
        for package, modules in (("numpy", 20), ("torch", 30), ("rich", 9))
        for module in range(modules)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(corpus, "build", lambda: path)
    monkeypatch.setattr(python_docs, "MIN_PASSAGES", 30)
    monkeypatch.setattr(python_docs, "MIN_MODULES", 10)
    monkeypatch.setattr(python_docs, "LARGEST", {"train": 40, "validation": 9, "test": 9})
    return path


def _paragraph(package: str, module: int, at: int) -> str:
    secret = "a_b to " * 20 if at == 5 else ""
    if at == 4:  # the same everywhere, once it is masked
        return f"In {package}.module{module} {' '.join(['same'] * 40)}."
    return f"{secret}{package} {NUMBERS[at]} {' '.join([_own_word(package, module)] * 35)}."


def _own_word(package: str, module: int) -> str:
    return f"x{package[0]}{chr(97 + module // 26)}{chr(97 + module % 26)}"


def test_examples(built: Path):
    found = python_docs.examples()
    modules = [json.loads(line)["name"] for line in built.read_text().splitlines()]
    assert [*found] == ["train", "validation", "test"]
    for split, examples in found.items():
        assert examples.names == ("numpy", "torch")  # rich has too few modules
        assert examples.path == str(built)
        assert examples.labels.dtype == np.int64
        assert {*np.bincount(examples.labels)} <= {*range(python_docs.LARGEST[split] + 1)}
        for line, label, (text,) in zip(examples.lines, examples.labels, examples.texts, strict=True):
            assert split_of(modules[line - 1]) == split
            assert library(modules[line - 1]) == examples.names[label]
            assert "numpy" not in text
            assert "torch" not in text
            package, number = modules[line - 1].split(".module")
            assert "same" in text or _own_word(package, int(number)) in text
            assert "five" not in text  # more than a quarter is masked
    texts = [text for examples in found.values() for (text,) in examples.texts]
    assert len({*texts}) == len(texts)
    assert sum("same" in text for text in texts) == 1
    assert np.bincount(found["train"].labels).tolist() == [40, 40]
    assert (np.diff(found["train"].labels) != 0).sum() > 30  # not one label after the other


def test_a_library_with_too_little_to_read(built: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(python_docs, "MIN_PASSAGES", 121)
    assert python_docs.examples()["train"].names == ("torch",)  # numpy has 120


def test_twice_is_the_same(built: Path):
    first, second = python_docs.examples(), python_docs.examples()
    assert all(first[split].texts == second[split].texts for split in first)
    assert all((first[split].labels == second[split].labels).all() for split in first)


def test_the_split_is_the_name_s():
    """Golden: were it anything else, new versions of the packages would mix the splits."""
    found = [split_of(f"torch.{name}") for name in NUMBERS]
    assert found == ["validation", "test", "train", "train", "validation", "train", "train", "train"]
    shares = Counter(split_of(f"module{number}") for number in range(2000))
    assert shares["train"] / 2000 == pytest.approx(0.7, abs=3 * math.sqrt(0.7 * 0.3 / 2000))
    assert shares["test"] / 2000 == pytest.approx(0.15, abs=3 * math.sqrt(0.15 * 0.85 / 2000))


def test_the_entry():
    task = find("python-docs/library")
    assert (task.kind, task.builtin, task.metrics) == ("classification", "python_docs", ("accuracy",))
