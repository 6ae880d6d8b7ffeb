"""The built-in corpus: prose out of docstrings, the same bytes every time."""

import json
import os

import pytest

from ptk.data import python_docs
from ptk.data.corpus import Counts, open_corpus, read
from ptk.data.docstrings import docstrings, is_prose, paragraphs
from ptk.recipe import CorpusSource

MODULE = '''
"""This module does one thing and does it well."""

class Thing:
    """A thing that can be used for many purposes.

    It is made once, and then it is used again and again.
    """

    if True:
        async def run(self):
            "Run the thing until somebody stops it."

    x = "Not a docstring, though it is a sentence."

_add_docstr(run, r"""
run(x) -> None

Runs what {name} was written in another language.
""".format(**common))
'''


def test_docstrings():
    found = [" ".join(each.split()) for each in docstrings(MODULE.encode())]
    assert found == [
        "This module does one thing and does it well.",
        "A thing that can be used for many purposes. It is made once, and then it is used again and again.",
        "Run the thing until somebody stops it.",
        "run(x) -> None Runs what {name} was written in another language.",
    ]
    assert docstrings(b"def f(:") == docstrings(b"\x00") == []


NUMPY = """Return the sum of all the elements.

    The sum is formed in double precision::

        >>> np.add.reduce(x)

    Parameters
    ----------
    a : array_like, optional
        Elements to sum over. The array is
        not changed.
    axis, out
        Where the sum is formed and kept.

    Returns
    -------
    s : ndarray
        An array without the axis that was summed.

    See Also
    --------
    prod : The product of all the elements, of course.

    Notes
    -----
    Arithmetic is modular when using integer types.

    Examples
    --------
    An empty array has a sum of zero:

    >>> np.sum([])
    0.0
    """

GOOGLE = """Encodes one text into the ids of a model.

    ```python
    >>> encode("a sentence that is code")
    ```

    Args:
        text (`str`, *optional*):
            The text to encode, as it was read. See [`~models.Thing`] for more.
        pair: A second text that follows the first one.

    Returns:
        List[int]: The ids of all the tokens in the text.

    Raises ValueError when the text is empty or blank.

    Example:
        This sentence stands in an example and goes.
    """

REST = """Open the file and give back its lines.

    :param path: Where the file lies on the disk.
    :returns: a list

    .. versionadded:: 3.2

    ====  =========
    Mode  Sense and purpose of it.
    ====  =========
    """


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        (
            NUMPY,
            [
                "Return the sum of all the elements.",
                "The sum is formed in double precision:",
                "Elements to sum over. The array is not changed.",
                "Where the sum is formed and kept.",
                "An array without the axis that was summed.",
                "Arithmetic is modular when using integer types.",
                "An empty array has a sum of zero:",
            ],
        ),
        (
            GOOGLE,
            [
                "Encodes one text into the ids of a model.",
                "The text to encode, as it was read. See Thing for more.",
                "A second text that follows the first one.",
                "The ids of all the tokens in the text.",
                "Raises ValueError when the text is empty or blank.",
            ],
        ),
        (REST, ["Open the file and give back its lines.", "Where the file lies on the disk."]),
        ("hidden (int, *optional*):\n    The width of each layer.", ["The width of each layer."]),
        ("", []),
    ],
)
def test_paragraphs(docstring, expected):
    assert paragraphs(docstring) == expected


def test_is_prose():
    assert is_prose("Return the current rank.")
    assert not is_prose("Return it.")
    assert not is_prose("a list of four words")
    assert not is_prose("x[0] = f(a_1, b_2) + {c: 3} ** [4, 5] == g(7) and so it is.")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Three modules in place of everything installed, and a cache of their own."""
    texts = {
        "one": '"""The first sentence stands here. The second stands here. And this is the third."""',
        "two": '"""The first sentence stands HERE. The second stands here. And this is the third."""\n'
        'def f():\n    """One is new here. Two is new here. Three is new here."""',
        "three": '"""This is too short to be kept."""',
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PTK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(python_docs, "module_files", lambda: [(name, tmp_path / f"{name}.py") for name in texts])
    monkeypatch.setattr(
        python_docs, "_topics", lambda: iter([("topic a", ["A topic has this. And it has that. Yes."])])
    )
    return tmp_path


def test_build(packages):
    path = python_docs.build(processes=1)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"text": "A topic has this. And it has that. Yes.", "name": "topic a"},
        {"text": "The first sentence stands here. The second stands here. And this is the third.", "name": "one"},
        {"text": "One is new here. Two is new here. Three is new here.", "name": "two"},
    ]
    lost = {"duplicate paragraphs of docstrings": 1, "modules with fewer than 3 sentences": 1}
    assert python_docs.dropped(path) == lost
    assert sorted(os.listdir(path.parent)) == sorted(
        [path.name, path.with_suffix(".dropped.json").name, path.with_suffix(".lock").name]
    )
    (packages / "one.py").unlink()
    assert python_docs.build() == path  # from the cache


def test_processes_do_not_matter(packages, monkeypatch):
    monkeypatch.setattr(python_docs, "_CHUNK", 1)
    path = python_docs.build(processes=1)
    alone = path.read_bytes()
    path.unlink()
    assert python_docs.build(processes=2).read_bytes() == alone


def test_nothing_half_written_is_left(packages, monkeypatch):
    monkeypatch.setattr(python_docs, "_read_chunk", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        python_docs.build(processes=1)
    assert [name for name in os.listdir(packages / "cache/corpora") if not name.endswith(".lock")] == []


def test_as_a_corpus(packages):
    corpus = open_corpus([CorpusSource(path="python-docs")])
    counts = Counts()
    documents = [each for shard in corpus.shards for each in read(corpus, shard, counts)]
    assert [len(each.sentences) for each in documents] == [3, 3, 3]
    assert counts.dropped == {"duplicate paragraphs of docstrings": 1, "modules with fewer than 3 sentences": 1}
    assert corpus.notes == (f"python-docs: {python_docs.describe()}",)


def test_describe():
    said = python_docs.describe()
    assert said.startswith("python 3.")
    assert "torch 2." in said
    assert "\n" not in said


def test_module_files_leave_tests_out():
    modules = dict(python_docs.module_files())
    assert {"json.decoder", "torch.nn.functional", "yaml"} <= set(modules)
    assert not [name for name in modules if ".tests." in name or ".test_" in name or name.startswith("test.")]


def test_topics():
    topics = dict(python_docs._topics())
    assert len(topics["topic assert"]) >= 2
