"""The public functions of the standard library with their parameters, defaults and documentation.

Python files are parsed, never imported; functions that are written in C (``str.split``) are asked of the modules of
COMPILED. A class is a function too, with the parameters of its ``__init__``. Equal versions of Python on the same
operating system give equal functions in equal order.
"""

import ast
import importlib
import inspect
import re
import sysconfig
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

COMPILED = ("builtins", "math", "os", "gc", "binascii")
_REFERENCES = ("_pydecimal", "_pyio", "_pydatetime", "_pylong")  # what C modules do, in Python, and documented
_LEFT_OUT = re.compile(
    r"(?:^|\.)(?:_|tests?\.|test_|idlelib|lib2to3|turtledemo|ensurepip|encodings\.|site-packages|dist-packages|config-)"
)
_NO_LITERAL = re.compile(r"<\w+ ")  # an object, with its address
_OWN = ("self", "type", "cls")
_CODE = re.compile(r"\s*(?:>>>|\.\.\. |\.\. |\$ |\||\+[-=]|[-=~^*#]{3})|.*\S {3,}\S|.*[{}\\]")
_HEADING = re.compile(
    r"\s*(?:The )?(?:optional |keyword )*(?:arg(?:ument)?s?|param(?:eter)?s?|options?|where)(?: are)?:?\s*$",
    re.IGNORECASE,
)
_LAST = re.compile(r"\s*(?:Examples?\b|Usage\b|Aliases\b|E\.g\.|Typical use|See also|Notes?:).{0,60}$", re.IGNORECASE)
_ANNOUNCED = re.compile(r"(?: (?:For )?[Ee]xamples?| e\.g\.)(?: usage)?:$")  # what has been left out
_DESCRIBED = re.compile(
    r"\s*(?:[-*] )?(?::(?:param|arg|parameter|keyword)\s+(?:[\w.]+ )?)?[*`'\"]{0,2}(?P<name>\w+)[*`'\"]{0,2}"
    r"(?P<type> ?\([^)]{1,60}\)| : [^:]{1,60}$)?(?P<mark>\s*(?:--?|:)(?=\s|$)|\s*$)(?P<said>.*)"
)
Defines = ast.FunctionDef | ast.AsyncFunctionDef


class Parameter(NamedTuple):
    name: str
    default: str | None
    """As it is written; None of a parameter that has to be given."""


class Function(NamedTuple):
    module: str
    name: str
    """With its module and class: ``shutil.rmtree``, ``str.split``."""
    signature: str
    """The parameters as they are written in brackets, without annotations: ``path, *, dir_fd=None``."""
    parameters: tuple[Parameter, ...]
    """Without ``self``, ``*args`` and ``**kwargs``."""
    docstring: str
    """Without the indentation that its lines share."""
    line: int
    """Of its definition in the file of its module, from 1; 1 of a function in C."""


def functions() -> Iterator[Function]:
    """Module by module, and in each in the order of its file."""
    compiled = {name: [*_compiled(name)] for name in COMPILED}
    for module, path in _files():
        yield from _parsed(module, path.read_bytes())
        yield from compiled.pop(module, ())
    for found in compiled.values():
        yield from found


def lines(function: Function) -> Iterator[tuple[str, str | None]]:
    """(paragraph, None) or (description, its parameter), each with single blanks.

    Doctests, headings, tables, and what examples and notes end a docstring are left out.
    """
    names = {parameter.name for parameter in function.parameters}
    taken: list[str] = []
    described: str | None = None
    inside, doctest = 0, False
    for line, following in pairwise([*function.docstring.split("\n"), "", ""]):
        depth, below = (len(each) - len(each.lstrip()) for each in (line, following))
        doctest = bool(line.strip()) and (doctest or line.lstrip().startswith(">>>"))
        head = _DESCRIBED.fullmatch(line)
        marked = head is not None and (head["mark"].strip() or head["type"] or (not head["said"] and below > depth))
        starts = head is not None and head["name"] in names and marked and not doctest
        ends = not line.strip() or doctest or _CODE.match(line) or _HEADING.match(line) or _LAST.match(line)
        if taken and (ends or starts or (described and depth <= inside)):
            yield _ANNOUNCED.sub("", " ".join(" ".join(taken).split())), described
            taken, described = [], None
        if _LAST.match(line):
            return
        if starts and head is not None:
            described, inside = head["name"], depth
            taken = [f"{head['name']}{(head['type'] or '').rstrip()}{head['mark'].rstrip() or ':'} {head['said']}"]
        elif not ends:
            taken.append(line)


def _files() -> list[tuple[str, Path]]:
    """(module, file); a module with a leading underscore is none that people read about, but for _REFERENCES."""
    root = Path(sysconfig.get_path("stdlib"))
    found: list[tuple[str, Path]] = []
    for name in sorted(path.relative_to(root).as_posix() for path in root.rglob("*.py")):
        parts = name.removesuffix(".py").removesuffix("/__init__").split("/")
        shown = parts[0].removeprefix("_py") if parts[0] in _REFERENCES else ".".join(parts)
        if not _LEFT_OUT.search(shown):
            found.append((shown, root / name))
    return found


def _parsed(module: str, source: bytes) -> Iterator[Function]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escapes that Python deprecates
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):
            return
    seen: set[str] = set()
    for function in _defined(tree, module, module):
        if function.name not in seen:  # one for each system, behind an if
            seen.add(function.name)
            yield function


def _defined(node: ast.AST, module: str, prefix: str, within: bool = False) -> Iterator[Function]:
    """The public functions with documentation in the statements of ``node``, and those of its classes."""
    for block in ("body", "orelse", "handlers", "finalbody"):
        for child in getattr(node, block, ()):
            name = f"{prefix}.{getattr(child, 'name', '')}"
            if isinstance(child, ast.ClassDef):
                if not child.name.startswith("_"):
                    yield from _class(child, module, name)
                    yield from _defined(child, module, name, within=True)
            elif isinstance(child, Defines):
                docstring = ast.get_docstring(child)
                if docstring and not child.name.startswith("_") and not _is_property(child):
                    yield _function(child, module, name, docstring, within)
            elif hasattr(child, "body"):
                yield from _defined(child, module, prefix, within)


def _class(node: ast.ClassDef, module: str, name: str) -> Iterator[Function]:
    made = next((child for child in node.body if isinstance(child, Defines) and child.name == "__init__"), None)
    docstrings = [ast.get_docstring(each) for each in (node, made) if each is not None]
    docstring = "\n\n".join(filter(None, docstrings))
    if made is not None and docstring:
        yield _function(made, module, name, docstring, within=True)


def _is_property(node: Defines) -> bool:
    """Whether it is read without a call, or sets what is; or is one of several with the same name."""
    names = {getattr(mark, "attr", getattr(mark, "id", "")) for mark in node.decorator_list}
    return bool(names & {"property", "setter", "deleter", "getter", "cached_property", "overload", "abstractproperty"})


def _function(node: Defines, module: str, name: str, docstring: str, within: bool) -> Function:
    """``within``: of a class, so that the first parameter is the object, unless the method is static."""
    given = node.args
    static = any(getattr(mark, "id", "") == "staticmethod" for mark in node.decorator_list)
    own = int(within and not static)
    before = [*given.posonlyargs, *given.args]
    written: list[str | None] = [None] * (len(before) - len(given.defaults)) + [*map(ast.unparse, given.defaults)]
    positional = [Parameter(each.arg, value) for each, value in zip(before, written, strict=True)][own:]
    named = [
        Parameter(each.arg, ast.unparse(value) if value else None)
        for each, value in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    star = f"*{given.vararg.arg}" if given.vararg else "*" * bool(named)
    stars = f"**{given.kwarg.arg}" if given.kwarg else ""
    shown = [*map(_shown, positional), star, *map(_shown, named), stars]
    return Function(module, name, ", ".join(filter(None, shown)), (*positional, *named), docstring, node.lineno)


def _compiled(module: str) -> Iterator[Function]:
    """The functions and methods in C whose signature Python knows."""
    namespace = vars(importlib.import_module(module))
    prefix = "" if module == "builtins" else f"{module}."
    for name, value in sorted(namespace.items()):
        members = sorted(vars(value).items()) if inspect.isclass(value) and module == "builtins" else [("", value)]
        for member, found in members:
            if name.startswith("_") or member.startswith("_") or not getattr(found, "__text_signature__", None):
                continue
            function = getattr(value, member) if member else value
            docstring = inspect.getdoc(function)
            if docstring and not inspect.isclass(function):
                yield from _inspected(function, module, f"{prefix}{name}{'.' * bool(member)}{member}", docstring)


def _inspected(function: object, module: str, name: str, docstring: str) -> Iterator[Function]:
    try:
        signature = inspect.signature(function)  # pyright: ignore[reportArgumentType]  (raises where it is none)
    except (TypeError, ValueError):
        return
    shown: list[str] = []
    parameters: list[Parameter] = []
    for each in signature.parameters.values():
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            shown.append(str(each))
        elif each.name not in _OWN:
            if each.kind == each.KEYWORD_ONLY and not any(said.startswith("*") for said in shown):
                shown.append("*")
            parameters.append(Parameter(each.name, None if each.default is each.empty else repr(each.default)))
            shown.append(_shown(parameters[-1]))
    if not any(each.default and _NO_LITERAL.match(each.default) for each in parameters):
        yield Function(module, name, ", ".join(shown), tuple(parameters), docstring, 1)


def _shown(parameter: Parameter) -> str:
    return parameter.name if parameter.default is None else f"{parameter.name}={parameter.default}"
