"""YAML with the place of every key: what a recipe says, before anyone asks what it means.

PyYAML scans and composes the graph of nodes; its constructors never run, so no tag can call anything (S4).
Only the plain scalars of YAML 1.2 are anything but text: ``1e-4`` is a number (PyYAML reads text), ``no``
and ``2024-01-01`` are text, ``010`` is ten.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ptk.errors import RecipeError

MAX_BYTES = 1_000_000
MAX_VALUES = 20_000  # aliases written out: a billion laughs ends here
MAX_DEPTH = 40
UNREAD = ""  # stands for a value that has its fault already: given, but of no use

CORE = "tag:yaml.org,2002:"
PLAIN = {
    "null": re.compile(r"(?:~|null|Null|NULL|)\Z"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    "int": re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    "float": re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
}
WHOLE = re.compile(r"[-+]?[0-9]+[eE]\+?[0-9]+\Z")  # 1e5 counts as well as 100000


class CoreLoader(yaml.SafeLoader):
    yaml_implicit_resolvers = {None: [(CORE + name, pattern) for name, pattern in PLAIN.items()]}  # noqa: RUF012


class CoreDumper(yaml.SafeDumper):
    """Quotes what ``CoreLoader`` would not read as text, and what YAML 1.1 would not (``no``)."""


for _name, _pattern in PLAIN.items():
    CoreDumper.add_implicit_resolver(CORE + _name, _pattern, None)


@dataclass(frozen=True)
class Place:
    """A line of a file; line 0 stands for a whole override."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True)
class Placed:
    """A scalar, a ``dict[str, Placed]`` or a ``list[Placed]``. What has a key is placed at its key."""

    value: Any
    place: Place

    def plain(self) -> Any:
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def at(self, *path: str | int) -> "Placed | None":
        """What lies at ``path``, or None."""
        found = self
        for step in path:
            children: Any = found.value
            if isinstance(children, list):
                children = dict(enumerate(children))
            if not isinstance(children, dict) or step not in children:
                return None
            found = children[step]
        return found


@dataclass(frozen=True)
class Fault:
    place: Place
    key: str
    message: str

    def __str__(self) -> str:
        if not self.key or self.place.source.startswith(f"override {self.key}="):
            return f"{self.place}: {self.message}"
        return f"{self.place}: {self.key}: {self.message}"


def shown(value: object) -> str:
    """``value`` on one printable line of bounded length."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def shown_key(key: str) -> str:
    return key if key.isprintable() and len(key) <= 80 else shown(key)


def flow(value: object) -> str:
    """``value`` as YAML on one line."""
    text = yaml.dump(value, Dumper=CoreDumper, default_flow_style=True, allow_unicode=True, width=10**9)
    return text.removesuffix("\n").removesuffix("\n...")


def read_file(path: Path, source: str, faults: list[Fault]) -> Placed:
    """The mapping a file holds. What can be read around (duplicate keys, tags) is added to ``faults``.

    Raises RecipeError for what is not YAML, larger than ``MAX_BYTES``, or unreadable.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"{source}: cannot be read ({error.strerror}); check the path") from error
    if len(raw) > MAX_BYTES:
        raise RecipeError(f"{source}: larger than {MAX_BYTES} bytes; is this a recipe?")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{source}:{line}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    root = read_text(text, source, faults)
    if root is None:
        return Placed({}, Place(source, 1))
    if not isinstance(root.value, dict):
        raise RecipeError(f"{root.place}: a recipe is `key: value` lines, not {shown(root.plain())}")
    return root


def read_text(text: str, source: str, faults: list[Fault], first_line: int = 1) -> Placed | None:
    """The one document of ``text``; ``first_line`` 0 places everything at ``source`` as a whole."""
    try:
        node = yaml.compose(text, Loader=CoreLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(source, mark.line + 1 if mark and first_line else 0)
        raise RecipeError(f"{place}: not YAML: {_remedy(error.problem or 'cannot be read')}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if first_line else 0
        raise RecipeError(f"{Place(source, line)}: control character {shown(text[error.position])}") from error
    except RecursionError as error:
        raise RecipeError(f"{source}: nested more than {MAX_DEPTH} deep") from error
    if node is None:
        return None
    return _Reader(source, bool(first_line), faults).read(node, _line(node, bool(first_line)), ())


def override_place(word: str) -> Place:
    return Place(f"override {shown_key(word)}")


def read_overrides(overrides: Sequence[str], faults: list[Fault]) -> Placed:
    """``section.key=value`` words as one mapping; of two for the same key the last counts.

    A value is taken as it stands (``corpus=*.txt`` works) unless it opens a flow collection, quotes or a tag.
    """
    root = Placed({}, Place("override"))
    for word in overrides:
        key, equals, text = word.partition("=")
        place = override_place(word)
        if not equals or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", key):
            faults.append(Fault(place, "", "not `key=value`; write it like train.lr=3e-4"))
            continue
        value = _override_value(text.strip(), place, faults)
        *sections, last = key.split(".")
        section = root
        for name in sections:
            inner = section.value.get(name, Placed(None, place))
            if isinstance(inner.value, str) and name == "corpus":  # corpus=PATH corpus.encoding=cp1252
                inner = section.value[name] = Placed([Placed({"path": inner}, place)], place)
            if isinstance(inner.value, list) and len(inner.value) == 1 and isinstance(inner.value[0].value, dict):
                inner = inner.value[0]
            if not isinstance(inner.value, dict):
                inner = section.value[name] = Placed({}, place)
            section = inner
        section.value[last] = value
    return root


def _override_value(text: str, place: Place, faults: list[Fault]) -> Placed:
    if text.startswith(("[", "{", '"', "'", "!")):
        return read_text(text, place.source, faults, first_line=0) or Placed(None, place)
    tag = next((name for name, pattern in PLAIN.items() if pattern.match(text)), "str")
    return _Reader(place.source, False, faults).scalar(text, tag, place, ())


def _remedy(problem: str) -> str:
    if "'\\t'" in problem:
        return "a tab; indent with spaces"
    return f"{problem}; check the indentation, and quote text that holds `: ` or ` #`"


def _line(node: yaml.Node, counted: bool) -> int:
    return node.start_mark.line + 1 if counted else 0


@dataclass
class _Reader:
    """Walks one file's nodes; ``values`` counts those written out so far."""

    source: str
    lines: bool
    faults: list[Fault]
    values: int = field(default=0, init=False)

    def read(self, node: yaml.Node, line: int, path: tuple[str, ...]) -> Placed:
        place = Place(self.source, line)
        self.values += 1
        if self.values > MAX_VALUES or len(path) > MAX_DEPTH:
            limit = f"more than {MAX_VALUES} values" if self.values > MAX_VALUES else f"nested over {MAX_DEPTH} deep"
            raise RecipeError(f"{place}: {limit} once aliases are written out; write a smaller recipe")
        if isinstance(node, yaml.MappingNode) and node.tag == CORE + "map":
            return Placed(self._mapping(node, path), place)
        if isinstance(node, yaml.SequenceNode) and node.tag == CORE + "seq":
            items = enumerate(node.value)
            return Placed([self.read(n, _line(n, self.lines), (*path, str(i))) for i, n in items], place)
        tag = node.tag.removeprefix(CORE)
        if isinstance(node, yaml.ScalarNode) and tag in (*PLAIN, "str"):
            return self.scalar(node.value, tag, place, path)
        written = shown(node.tag.replace(CORE, "!!"))
        self._fault(place, path, f"the tag {written} is refused; write the plain value")
        return Placed(UNREAD, place)

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Placed]:
        children: dict[str, Placed] = {}
        for key_node, value_node in node.value:
            line = _line(key_node, self.lines)
            place = Place(self.source, line)
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(place, path, "a key is a word, not a list or mapping")
                continue
            key = key_node.value
            if key == "<<":
                self._fault(place, path, "merge keys (<<) are not read; use `extends`")
            elif key in children:
                first = children[key].place.line
                self._fault(place, (*path, key), f"given twice, on line {first} and on line {line}; keep one")
            else:
                children[key] = self.read(value_node, line, (*path, key))
        return children

    def scalar(self, text: str, tag: str, place: Place, path: tuple[str, ...]) -> Placed:
        try:
            text.encode()
            if tag in PLAIN and not PLAIN[tag].match(text):
                raise ValueError
            return Placed(_scalar(tag, text), place)
        except ValueError:  # `!!int x`, half of a surrogate pair, an integer of 5000 digits
            self._fault(place, path, f"{shown(text)} cannot be read as {tag}")
            return Placed(UNREAD, place)

    def _fault(self, place: Place, path: tuple[str, ...], message: str) -> None:
        self.faults.append(Fault(place, ".".join(shown_key(step) for step in path), message))


def _scalar(tag: str, text: str) -> Any:
    """``text`` as a value; it matches the pattern of ``tag``."""
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() == "true"
    if tag == "int":
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if tag == "float":
        number = float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        return int(number) if WHOLE.match(text) and number.is_integer() else number
    return text
