"""Docstrings to English prose.

Dropped: fenced code, doctests, literal blocks, tables and directives (``markup.rst_prose``), the heads of
parameter entries (NumPy's ``x : int``, Google's ``x (int):``; their descriptions are prose and stay), the
sections See Also, References and Google's Examples, and every paragraph that does not read as prose: fewer
than four words (eight, if it lacks a sentence-final mark), or more than an eighth of signs and digits.
"""

import ast
import inspect
import re
import warnings
from collections.abc import Iterator

from ptk.data.markup import markdown_inline, rst_prose, without_fences

_ENTRY_SECTIONS = (
    "Parameters|Other Parameters|Args|Arguments|Keyword Args|Keyword Arguments|Params|Inputs?|Outputs?|Returns?"
    "|Yields?|Raises|Warns|Attributes|Methods|Receives|Shape"
)
_DROPPED_SECTIONS = "See [Aa]lso|References?|Examples?|Usage|Example usage"
_OTHER_SECTIONS = "Notes?|Warnings?|Tips?|Details|Description"
_SECTION = re.compile(
    rf"[ \t]*(?:(?P<entries>{_ENTRY_SECTIONS})|(?P<dropped>{_DROPPED_SECTIONS})|(?P<other>{_OTHER_SECTIONS}))"
    r"(?P<colon>:{0,2})$"
)
_UNDERLINE = re.compile(r"[ \t]*[-=~]{3,}$")
_ENTRY = re.compile(r"[ \t]*[*`'\"]{0,3}[\w.\[\]*, |/'\"`-]{1,80}(?:\([^\n]{0,300}\))?[ \t]*:(?:[ \t]+(?P<text>.*))?$")
_BARE_ENTRY = re.compile(r"[ \t]*\*{0,2}\w+ \([^\n]{1,300}\):(?:[ \t]+(?P<text>.*))?$")
_NUMPY_HEAD = re.compile(r"[*`\w][\w*`., -]{0,80}(?:[ \t]*:.*)?$")
_CROSS_REFERENCE = re.compile(r"\[`([^`\]\n]+)`\]")
_SENTENCE_END = re.compile(r"[.!?:][\"')\]]*$")
_SIGN = re.compile(r"[^\w ,.']|[\d_]")
_ADDS_DOCSTRING = re.compile(r"_?add_(?:docstr|newdoc)\w*")  # how torch and numpy document what is written in C
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")


def paragraphs(docstring: str) -> list[str]:
    """The prose of one docstring, a line a paragraph."""
    lines = [*_without_sections([*without_fences(inspect.cleandoc(docstring).split("\n"))])]
    text = markdown_inline(rst_prose(_CROSS_REFERENCE.sub(r"`\1`", "\n".join(lines))))
    joined = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return [paragraph for paragraph in joined if is_prose(paragraph)]


def is_prose(paragraph: str) -> bool:
    """Enough words for a sentence, and no more than an eighth of signs and digits."""
    enough = 4 if _SENTENCE_END.search(paragraph) else 8
    return len(_WORD.findall(paragraph)) >= enough and 8 * len(_SIGN.findall(paragraph)) <= len(paragraph)


def docstrings(source: bytes) -> list[str]:
    """The docstrings of a module, its classes and functions, in order. Empty for what does not parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escapes that Python deprecates, in other people's code
        try:
            module = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):
            return []
    return [*_docstrings_in(module)]


def _docstrings_in(node: ast.AST) -> Iterator[str]:
    """Statements only: a docstring is never inside an expression, and most of a tree is expressions."""
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    if documented and (docstring := ast.get_docstring(node, clean=False)):
        yield docstring
    for block in ("body", "orelse", "handlers", "finalbody"):
        for child in getattr(node, block, ()):
            if hasattr(child, "body"):
                yield from _docstrings_in(child)
            elif isinstance(child, ast.Expr | ast.Assign) and isinstance(child.value, ast.Call):
                yield from _added_docstrings(child.value)


def _added_docstrings(call: ast.Call) -> Iterator[str]:
    """The text in ``add_docstr(torch.abs, r\"\"\"...\"\"\".format(**common))``."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if _ADDS_DOCSTRING.fullmatch(name):
        for node in ast.walk(call):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value:
                yield node.value


def _without_sections(lines: list[str]) -> Iterator[str]:
    """Lines without section titles, dropped sections and the heads of entries."""
    section, indent, numpy = "", 0, False
    for at, line in enumerate(lines):
        following = lines[at + 1] if at + 1 < len(lines) else ""
        depth = len(line) - len(line.lstrip())
        title = _SECTION.match(line)
        if title and (title["colon"] or _UNDERLINE.match(following)):
            section = next(name for name in ("entries", "dropped", "other") if title[name])
            indent, numpy = depth, not title["colon"]
            if numpy and title["dropped"] and title["dropped"].startswith("Example"):
                section = "other"  # between its doctests NumPy's examples are prose
            yield ""
        elif section and line.strip() and (depth <= indent if not numpy else bool(_UNDERLINE.match(following))):
            section = ""
            yield from ("", line)
        elif section == "entries":
            yield from _entry_line(line, following, indent, numpy)
        elif entry := _BARE_ENTRY.match(line) if section != "dropped" else None:
            yield from ("", entry["text"] or "")
        elif section != "dropped":
            yield line.strip() if section and not numpy and not line.lstrip().startswith(">>>") else line


def _entry_line(line: str, following: str, indent: int, numpy: bool) -> Iterator[str]:
    depth = len(line) - len(line.lstrip())
    deeper = len(following) - len(following.lstrip()) > depth
    if numpy and depth <= indent and (deeper or " : " in line) and _NUMPY_HEAD.match(line.strip()):
        yield ""
    elif not numpy and (entry := _ENTRY.match(line)):
        yield from ("", entry["text"] or "")
    else:
        yield line.strip()
