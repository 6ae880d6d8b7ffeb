"""Functions with their parameters and documentation, of source text, of C, and of the whole library."""

import pytest

from ptk.data.functions import Function, Parameter, _compiled, _parsed, functions, lines

SOURCE = '''
class Box:
    """A box."""

    def __init__(self, size=3):
        """size -- how large it is"""

    def put(self, thing: object, *, twice: bool = False, **how):
        """Put it in."""

    @staticmethod
    def make(thing=b"x"):
        """Make a box."""

    @property
    def size(self):
        """How large it is."""

    def _hide(self, thing):
        """Nobody's business."""

if True:
    def open(path, /, mode="r", *more, wide=0o777):
        """Open it."""
else:
    def open(path):
        """Another system's."""

def silent(path):
    pass
'''


def test_parsed():
    found = [*_parsed("shop", SOURCE.encode())]
    assert [(function.name, function.signature, function.line) for function in found] == [
        ("shop.Box", "size=3", 5),
        ("shop.Box.put", "thing, *, twice=False, **how", 8),
        ("shop.Box.make", "thing=b'x'", 12),
        ("shop.open", "path, mode='r', *more, wide=511", 23),
    ]
    assert found[0].docstring == "A box.\n\nsize -- how large it is"
    assert found[3].parameters == (Parameter("path", None), Parameter("mode", "'r'"), Parameter("wide", "511"))


def test_what_does_not_parse_has_no_functions():
    assert [*_parsed("shop", b"def (")] == []


def test_compiled():
    found = {function.name: function for function in _compiled("builtins")}
    assert found["str.split"].signature == "sep=None, maxsplit=-1"
    assert found["str.split"].parameters == (Parameter("sep", "None"), Parameter("maxsplit", "-1"))
    assert found["sorted"].signature == "iterable, *, key=None, reverse=False"


@pytest.mark.parametrize(
    ("docstring", "read"),
    [
        ("One\nparagraph.\n\nAnother.", [("One paragraph.", None), ("Another.", None)]),
        ("Arguments:\nsize -- how\n  large\nfar - how far", [("size -- how large", "size"), ("far - how far", "far")]),
        ("Do.\n\n  size\n    How large.\n  far", [("Do.", None), ("size: How large.", "size"), ("far", None)]),
        ("size\n  How large.\nfar\n  How far.", [("size: How large.", "size"), ("far: How far.", "far")]),
        (":param size: how large\n:return: nothing", [("size: how large", "size"), (":return: nothing", None)]),
        ("size : int\n    How large.\nother: none", [("size : int: How large.", "size"), ("other: none", None)]),
        ("Do it. For example:\n\n>>> f(1)\n3\n\nMore.", [("Do it.", None), ("More.", None)]),
        ("Do it.\n\nExample:\n\nsize -- not this", [("Do it.", None)]),
        ("the\nsize is wrapped", [("the size is wrapped", None)]),
    ],
)  # fmt: skip
def test_lines(docstring: str, read: list[tuple[str, str | None]]):
    function = Function("shop", "shop.f", "size, far", (Parameter("size", None), Parameter("far", None)), docstring, 1)
    assert [*lines(function)] == read


def test_the_library():
    found = [*functions()]
    names = [function.name for function in found]
    assert len({*names}) == len(names) > 3000
    by_name = dict(zip(names, found, strict=True))
    assert Parameter("ignore_errors", "False") in by_name["shutil.rmtree"].parameters
    assert by_name["decimal.Context.power"].module == "decimal"  # of _pydecimal, which documents what C does
    assert not any(part.startswith("_") for name in names for part in name.split("."))
    assert not any(" at 0x" in function.signature for function in found)
