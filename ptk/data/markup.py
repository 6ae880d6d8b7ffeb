"""The prose of Markdown and reStructuredText: what a reader of the page would read aloud.

Markdown (``.md``, ``.mdx``). Dropped: YAML front matter, fenced code, comments, ``{{#...}}`` lines, rules,
link definitions, ``[!NOTE]`` marks. Kept without its marks: headings, list items, quotations, table rows
(each a paragraph of its own), link texts, inline code, emphasis, what stands between tags. Entities and
escapes become the character they mean.

reStructuredText (``.rst``). Dropped: comments, literal blocks, doctests, tables, targets, and directives but
for notes and their like. Kept without its marks: titles, list items, field bodies, roles, links, literals.

Paragraphs come out with a blank line between them, their own lines as they were. Every rule is linear in
the length of the text.
"""

import html
import re
from collections.abc import Callable, Iterator

_FRONT_MATTER = re.compile(r"---[ \t]*\n(?:.*\n){0,400}?(?:---|\.\.\.)[ \t]*(?:\n|$)")
_FENCE = re.compile(r"[ \t>]*(`{3,}|~{3,})(.*)")
_HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]+|$)")
_HEADING_END = re.compile(r"[ \t]+#+$|[ \t]*\{#[\w-]+\}$")
_RULE = re.compile(r"[ \t]*([-*_=])(?:[ \t]*\1){2,}$")
_INCLUDE = re.compile(r"[ \t]*\{\{#.*\}\}$")
_DEFINITION = re.compile(r" {0,3}\[[^\]]+\]:[ \t]")
_QUOTE = re.compile(r"[ \t]*>[ \t]?(?:\[![A-Z]+\][ \t]*$)?")
_BULLET = re.compile(r"[ \t]*[-*+•][ \t]+")
_NUMBER = re.compile(r"[ \t]*\d{1,3}[.)][ \t]+")
_TABLE_RULE = re.compile(r"(?=.*--)(?=.*\|)[ \t:|-]+$")
_TABLE_ROW = re.compile(r"[ \t]*\|.*\|$")
_SPAN = r"(?:[^*\n]|\n(?!\n)){1,500}?"
_MARKDOWN = re.compile(
    r"(?P<ticks>`{1,2})(?P<code>[^`\n]+)(?P=ticks)"
    r"|!?\[(?P<label>[^\[\]]*)\](?:\([^()\n]*(?:\([^()\n]*\)[^()\n]*)?\)|\[[^\[\]\n]*\])"
    r"|(?P<tag></?[A-Za-z][\w:.-]*(?:\s[^<>]*)?/?>|<https?:[^<>\s]*>)"
    r"|\*\*(?P<strong>\S" + _SPAN + r")\*\*"
    r"|(?<![\w*])\*(?P<emphasis>[^\s*](?:[^*\n]|\n(?!\n)){0,500}?)(?<!\s)\*"
    r"|(?<!\w)_(?P<stress>[^\s_](?:[^_\n]|\n(?!\n)){0,500}?)(?<!\s)_(?!\w)"
    r"|\\(?P<escaped>[!-/:-@\[-`{-~])"
)
_MARKDOWN_MARK = re.compile(r"[`*_<\[\\]")
_LINE_MARK = re.compile(r"[ \t]*[^\w\s]|[ \t]*\d|[ \t]{2,}|$")  # lines that may be more than plain prose

_ADORNMENT = re.compile(r"[ \t]*([=\-~^\"'`#*+:._<>])\1{2,}$")
_TABLE_BORDER = re.compile(r"[ \t]*(?:\+[-=+]+\+|=+(?:[ \t]+=+)+|-+(?:[ \t]+-+)+)$")
_DIRECTIVE = re.compile(r"[ \t]*\.\.[ \t]+([\w:+-]+)::[ \t]*(.*)")
_KEPT_DIRECTIVES = re.compile(
    "admonition|attention|caution|danger|deprecated|error|hint|important|note|rubric|seealso|tip|topic"
    "|versionadded|versionchanged|warning"
)
_FIELD = re.compile(r"[ \t]*:[A-Za-z][^:`\n]*:(?:[ \t]+|$)")
_RST = re.compile(
    r"``(?P<code>[^`\n]+)``"
    r"|(?::[A-Za-z][\w:+.-]{0,40}:)?`(?P<label>[^`<>]+?)(?:\s*<[^`<>]*>)?`(?:__?(?!\w))?"
    r"|\*\*(?P<strong>\S" + _SPAN + r")\*\*"
    r"|(?<![\w*])\*(?P<emphasis>[^\s*](?:[^*\n]|\n(?!\n)){0,500}?)(?<!\s)\*"
    r"|(?P<note>[ \t]?\[[#*\w-]*\]_(?!\w))"
    r"|\|(?P<substitution>[^\s|][^|\n]{0,60})\|"
    r"|\\(?P<escaped>[^\w\n])"
)
_RST_MARK = re.compile(r"[`*_|\\]")


def markdown_prose(text: str) -> str:
    """Markdown to its prose, by the rule at the top of this file."""
    if front := _FRONT_MATTER.match(text):
        text = text[front.end() :]
    text = _without(_without(text, "<!--", "-->"), "{/*", "*/}")
    return tidy(html.unescape(markdown_inline("\n".join(_markdown_lines(text.split("\n"))))))


def rst_prose(text: str) -> str:
    """reStructuredText to its prose, by the rule at the top of this file."""
    return tidy(rst_inline("\n".join(_rst_lines(text.split("\n")))))


def markdown_inline(text: str) -> str:
    return _by_paragraph(text, _MARKDOWN_MARK, _MARKDOWN, _markdown_span)


def rst_inline(text: str) -> str:
    return _by_paragraph(text, _RST_MARK, _RST, _rst_span)


def _by_paragraph(
    text: str, mark: re.Pattern[str], spans: re.Pattern[str], replace: Callable[[re.Match[str]], str]
) -> str:
    paragraphs = text.split("\n\n")
    return "\n\n".join(spans.sub(replace, p) if mark.search(p) else p for p in paragraphs)


def without_fences(lines: list[str]) -> Iterator[str]:
    """The lines outside ``` and ~~~ blocks; a blank line in place of each."""
    fence = ""
    for line in lines:
        mark = _FENCE.match(line)
        if not fence and mark and "`" not in mark[2]:
            fence = mark[1]
            yield ""
        elif fence and mark and mark[1].startswith(fence) and not mark[2].strip():
            fence = ""
        elif not fence:
            yield line


def _without(text: str, opening: str, closing: str) -> str:
    """``text`` without what stands between the marks."""
    *parts, last = text.split(closing)
    return "".join(part.partition(opening)[0] if opening in part else part + closing for part in parts) + last


def tidy(text: str) -> str:
    """``text`` with one blank line between paragraphs, and no blanks around lines."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.strip() for line in text.split("\n"))).strip("\n")


def _markdown_lines(lines: list[str]) -> Iterator[str]:
    """Lines of prose; "" ends a paragraph."""
    blank = item = True  # whether the line before was blank, or of a list
    for line in without_fences(lines):
        if not _LINE_MARK.match(line):
            yield line
            blank = False
            continue
        if quote := _QUOTE.match(line):
            line = line[quote.end() :]
        if _INCLUDE.match(line) or _DEFINITION.match(line):
            continue
        if _RULE.match(line) or _TABLE_RULE.match(line):
            line = ""
        marker = _BULLET.match(line) or (_NUMBER.match(line) if blank or item else None)
        if _HEADING.match(line):
            yield from ("", _HEADING_END.sub("", _HEADING.sub("", line, count=1)), "")
        elif marker:
            yield from ("", line[marker.end() :])
        elif _TABLE_ROW.match(line):
            yield from ("", " ".join(line.replace("|", " ").split()), "")
        else:
            yield line.strip()
        blank, item = not line.strip(), bool(marker) or (item and bool(line.strip()))


def _markdown_span(match: re.Match[str]) -> str:
    if match["code"] is not None:
        return match["code"]
    if match["tag"] is not None:
        return ""
    if match["escaped"] is not None:
        return match["escaped"]
    inner = next(match[g] for g in ("label", "strong", "emphasis", "stress") if match[g] is not None)
    return markdown_inline(inner)


def _rst_lines(lines: list[str]) -> Iterator[str]:
    """Lines of prose; "" ends a paragraph."""
    lines = [*without_tables(lines)]
    dropped_indent: int | None = None  # of the directive or ``::`` whose deeper lines are dropped
    doctest = False
    for at, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            doctest = False
            yield ""
            continue
        if dropped_indent is not None and indent > dropped_indent:
            continue
        dropped_indent = None
        doctest = doctest or line.lstrip().startswith(">>>")
        if doctest:
            continue
        if directive := _DIRECTIVE.match(line):
            if _KEPT_DIRECTIVES.fullmatch(directive[1]):
                yield from ("", re.sub(r"^\d+(\.\w+)*$", "", directive[2]))
            else:
                dropped_indent = indent
        elif line.lstrip().startswith(".. ") or line.strip() == "..":
            dropped_indent = indent
        elif _ADORNMENT.match(line):
            yield ""
        else:
            title = at + 1 < len(lines) and _ADORNMENT.match(lines[at + 1])
            if line.endswith("::"):
                dropped_indent, line = indent, line[:-2].rstrip() + ":"
            marker = _BULLET.match(line) or _NUMBER.match(line) or _FIELD.match(line)
            if marker or title:
                yield ""
            if line.strip() != ":":
                yield line[marker.end() if marker else 0 :].strip().removeprefix("| ")


def without_tables(lines: list[str]) -> Iterator[str]:
    """The lines but those from a table's border to the next blank line after its last border."""
    block: list[str] = []
    for line in [*lines, ""]:
        block.append(line)
        if not line.strip():
            if not any(_TABLE_BORDER.match(each) for each in block):
                yield from block
            block = []


def _rst_span(match: re.Match[str]) -> str:
    if match["code"] is not None:
        return match["code"]
    if match["label"] is not None:
        label = match["label"]
        return label[1:].rpartition(".")[2] if label.startswith("~") else label.removeprefix("!")
    if match["note"] is not None:
        return ""
    if match["escaped"] is not None:
        return match["escaped"].strip()
    inner = next(match[g] for g in ("strong", "emphasis", "substitution") if match[g] is not None)
    return rst_inline(inner)
