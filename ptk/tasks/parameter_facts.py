"""What the documentation of a function says of its parameters: an entry of a passage, and the facts in it.

An entry is the call, then each paragraph and each described parameter on a line of its own; doctests, headings and
tables are left out. A fact is a part of that text which answers a question (``python_docs_parameters.py`` asks it):

    default      shutil.rmtree(path, ignore_errors=[False])
    meaning      "distance -- [a number (integer or float)]", "mode is [the permission bits]"
    must, can    "indent must be [a non-negative integer]"
    verb         "fill_value specifies [the value of missing items]"
    when         "If ignore_errors is set, [errors are ignored]"
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from ptk.data.functions import Function, lines

Kind = Literal["default", "meaning", "type", "must", "can", "verb", "when", "which default", "which meaning"]
MAX_ANSWER = 16
"""Words; a longer description is no answer that two people would give alike."""
MAX_CONDITION = 6

_SENTENCE = re.compile(r"(?:(?!(?<!e\.g)(?<!i\.e)(?<!etc)[.!?;]\s).)+", re.DOTALL)
_CUT = re.compile(
    r", (?:which|where|whereas|but|unless|because|since|so that|for example|that is|e\.g|i\.e|defaulting|[Dd]efaults?"
    r"|the|an?|it|if|in|as|this|with|use|used|like|not|to|must|should|can)\b"
    r"| (?:but|unless|because|since|so that|for example|that is|defaulting|defaults to|and defaults)\b| (?:e\.g|i\.e)\."
    r"|,? and (?:can|may|must|should|will|is|has)\b|(?:,? and|, or|,) [*'`\"]?\w+[*'`\"]? (?:is|are)\b"
    r"| [\[(](?:[Dd]efaults?|and|if|or|the|see|i\.e|e\.g|in|by|note)\b| default(?: value)?(?: is|:|=| [-\d'\"N])"
    r"| -- | - |: |[;!?]|\.$|\.\s|\.\)"
)
_LISTED = re.compile(r",? ?[(\[]?(?:[Dd]efault|or\b|and\b|an?\b|the\b|/|['\"])")
"""What follows an answer that is only the first of several."""
_VAGUE = re.compile(r"either (?!.* or )|any(?:thing)?\b|the same\b|used\b|.*following(?: \w+)?$|an? \w+ that$")
_PARTICIPLE = re.compile(r"(?:\w+ed|set|given|shown|left|taken|written|read|put|any|very|not|more|less|no|so|in|of)\b")
_KINDS = (
    r"(?:unicode |text |byte |bytes |ascii |binary |positive |non-?negative |optional |single |open |nested )*"
    r"(?:strings?|str|integers?|ints?|floats?|numbers?|bools?|booleans?|lists?|tuples?|\d-tuples?|\w+-tuples?"
    r"|dict(?:ionar(?:y|ies))?s?|mappings?|sequences?|iterables?|iterators?|callables?|functions?|class(?:es)?|modules?"
    r"|sets?|file(?:-like)? objects?|bytes(?:-like)? objects?|bytes|bytearrays?|sockets?|code objects?|instances?"
    r"|\w+ (?:objects?|instances?))"
)
_TYPE = re.compile(
    rf"(?:an? |one or more )?(?!(?:sets|lists|numbers|names|set to|number of)\b){_KINDS}(?: of (?:\w+ )?\w+s\b)?"
    rf"(?:(?:, |,? or )(?:an? )?(?:{_KINDS}(?: of (?:\w+ )?\w+s\b)?|None))*(?=$|[ ,.;)])"
)
_DOCUMENTED = re.compile(
    r"\b(?:[Dd]efault(?:s|ing)? (?:to|is|value is|=)|[\[(][Dd]efaults?(?: to|:|=)|; default:?|[Dd]efault:) ?"
)
_VALUE = re.compile(r"'[^']{0,20}'|\"[^\"]{0,20}\"|-?[\w.]*\w(?:\(\))?(?=[\s,.;:)\]]|$)")
_LONGEST = 24  # characters of a default that is asked for
_HIDDEN = re.compile(r"(?:^|[.( ])_|object\(|<")
_END_OF_CLAUSE = re.compile(r"[.;](?:\s|$)|: | \(")
_MENTION = (
    r"(?:the )?(?:optional )?(?:argument )?[*'`\"]{0,2}(?P<name>\w+)[*'`\"]{0,2}"
    r"(?: keyword)?(?: argument| parameter| flag| option)?(?:,[^,]{1,40},)?"
)
_IS = re.compile(rf"{_MENTION} (?:is|are|names) (?=(?:an?|the|one|either) )", re.IGNORECASE)
_MUST = re.compile(rf"{_MENTION} (?P<m>must|should|can|may) (?:also |either )?be ", re.IGNORECASE)
_DOES = re.compile(
    rf"{_MENTION} (?P<verb>specif|control|indicat|determin|defin|describ|represent|select|denot|limit|identif)"
    r"(?P<s>(?:ie|e)?s) ",
    re.IGNORECASE,
)
_IF = re.compile(rf"(?:if|when) {_MENTION} (?P<is>(?:is|are) [^,]{{2,40}}), (?:then )?", re.IGNORECASE)
_ABOUT = re.compile(rf"(?:if )?{_MENTION}\b", re.IGNORECASE)
_DESCRIBED = re.compile(r"\w+(?: ?\((?P<in>[^)]*)\)| : (?P<of>[^:]+))?\s*(?:--?|:) ?")
_DESCRIBED_IF = re.compile(r"(?:if|when) (?:set |given )?(?P<is>[\w -]{2,30}), (?P<then>.+)", re.IGNORECASE)


class Fact(NamedTuple):
    kind: Kind
    parameter: str
    start: int
    stop: int
    """Of the answer, in the entry's text."""
    said: str = ""
    """What the question repeats: the condition, the verb, the description, the value."""

    @property
    def asked(self) -> tuple[Kind, str, str]:
        """What a question of a function needs to say, and no more: facts with equal ones have the same question."""
        return self.kind, "" if self.kind.startswith("which") else self.parameter, self.said


class Entry(NamedTuple):
    function: Function
    text: str
    facts: tuple[Fact, ...]


def entry(function: Function, max_words: int) -> Entry:
    """The call and as many lines of the documentation as fit into ``max_words``, with their facts."""
    text = f"{function.name}({function.signature})"
    facts = [*_defaults(function, len(function.name) + 1)]
    words = len(text.split())
    for line, described in lines(function):
        words += len(line.split())
        if words > max_words:
            break
        facts += [_moved(fact, len(text) + 1) for fact in facts_of(line, function, described)]
        text += f"\n{line}"
    return Entry(function, text, tuple(_settled(function, text, facts)))


def facts_of(line: str, function: Function, described: str | None) -> Iterator[Fact]:
    """Of a line ``described: ...``, or of a paragraph."""
    if described is not None:
        yield from _described(line, described)
        return
    names = {parameter.name for parameter in function.parameters if not parameter.name.startswith("_")}
    for sentence in _SENTENCE.finditer(line):
        start = sentence.end() - len(sentence[0].lstrip())
        for fact in _stated(sentence[0].strip(), names):
            yield _moved(fact, start)


def _described(line: str, name: str) -> Iterator[Fact]:
    head = _DESCRIBED.match(line)
    if head is None:
        return
    for group in ("in", "of"):
        of_type = _TYPE.fullmatch(head[group] or "")
        if of_type:
            yield Fact("type", name, head.start(group), head.end(group))
    yield from _documented_default(line, name)
    yield from _stated_after(line, name, head.end(), head.start())
    if conditional := _DESCRIBED_IF.match(line, head.end()):
        yield from _when(name, f"is {conditional['is']}", line, conditional.start("then"))


def _stated(sentence: str, names: set[str]) -> Iterator[Fact]:
    """Of a sentence that begins with one of the parameters, or with a condition on one."""
    if (found := _IS.match(sentence)) and found["name"] in names:
        yield from _stated_after(sentence, found["name"], found.end(), found.start("name"))
    elif (found := _MUST.match(sentence)) and found["name"] in names:
        stop = _end(sentence, found.end())
        if stop and not (_PARTICIPLE.match(sentence, found.end()) or _LISTED.match(sentence, stop)):
            kind: Kind = "must" if found["m"] in ("must", "should") else "can"
            yield Fact(kind, found["name"], found.end(), stop, found["m"])
            yield from _typed(sentence, found["name"], found.end())
    elif (found := _DOES.match(sentence)) and found["name"] in names and (stop := _end(sentence, found.end())):
        ending = "y" if found["s"] == "ies" else found["s"][:-1]
        yield Fact("verb", found["name"], found.end(), stop, found["verb"] + ending)
    elif (found := _IF.match(sentence)) and found["name"] in names:
        yield from _when(found["name"], found["is"], sentence, found.end())
    if (found := _ABOUT.match(sentence)) and found["name"] in names and "which" not in sentence:
        yield from _documented_default(sentence, found["name"])


def _stated_after(text: str, name: str, at: int, named: int) -> Iterator[Fact]:
    """``text[at:]`` says what the parameter is, whose name is at ``named``."""
    stop = _end(text, at)
    if stop is None or (len(text[at:stop].split()) < 2 and not _TYPE.fullmatch(text[at:stop])):
        return
    said = text[at:stop]
    if re.match(r"(?:an?|the) \w|A \w|An \w|The \w|Number|Name|List|String", said):
        yield Fact("meaning", name, at, stop)
        if len(said.split()) > 2 and not _LISTED.match(text, stop):
            yield Fact("which meaning", name, named, named + len(name), said[0].lower() + said[1:])
    yield from _typed(text, name, at)


def _typed(text: str, name: str, at: int) -> Iterator[Fact]:
    found = _TYPE.match(text[at : at + 1].lower() + text[at + 1 :])
    vague = found and re.search(r"\b(?:this|the|same|that|new|each|other|of) (?:objects?|instances?)\b", found[0])
    if found and not vague and not _LISTED.match(text, at + found.end()):
        yield Fact("type", name, at, at + found.end())


def _when(name: str, condition: str, text: str, at: int) -> Iterator[Fact]:
    end = _END_OF_CLAUSE.search(text, at)
    stop = end.start() if end else len(text)
    words = len(text[at:stop].split())
    if 3 <= words <= MAX_ANSWER + 4 and _is_whole(text[at:stop]) and len(condition.split()) <= MAX_CONDITION:
        yield Fact("when", name, at, stop, condition)


def _documented_default(text: str, name: str) -> Iterator[Fact]:
    found = _DOCUMENTED.search(text)
    value = _VALUE.match(text, found.end()) if found else None
    if value is None or value[0] in ("the", "a", "an", "to", "use", "is", "not", "all", "value", "no", "what", "for"):
        return
    if not (value[0].isalpha() and re.match(r" \w", text[value.end() :])):  # not the first word of several
        yield Fact("default", name, value.start(), value.end())


def _defaults(function: Function, start: int) -> Iterator[Fact]:
    """The defaults in the call, whose parameters begin at ``start``, and those that only one parameter has."""
    values = [parameter.default for parameter in function.parameters]
    signature = f", {function.signature}, "
    at = 0
    for name, value in function.parameters:
        at = signature.index(f", {name}, " if value is None else f", {name}={value}, ", at) + 2
        if value is None or len(value) > _LONGEST or name.startswith("_") or _HIDDEN.search(value):
            continue
        stop = start - 2 + at + len(name)
        yield Fact("default", name, stop + 1, stop + 1 + len(value))
        if values.count(value) == 1 and value not in ("None", "{}", "()", "[]"):
            yield Fact("which default", name, stop - len(name), stop, value)


def _settled(function: Function, text: str, facts: Sequence[Fact]) -> Iterator[Fact]:
    """The first answer to each question, and no questions that have several.

    Those are: what a parameter's default is where call and documentation say different things, and which parameter
    something is said of that is said of two.
    """
    of_call = {parameter.name: parameter.default for parameter in function.parameters}
    said = [(fact.parameter, text[fact.start : fact.stop]) for fact in facts if fact.kind == "default"]
    unsure = {name for name, value in said if value.strip("'\"") != (of_call[name] or value).strip("'\"")}
    of: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for fact in facts:
        of[fact.kind, fact.said].add(fact.parameter)
    seen: set[tuple[str, str, str]] = set()
    for fact in facts:
        several = fact.kind.startswith("which") and len(of[fact.kind, fact.said]) > 1
        if fact.asked not in seen and not several and not (fact.parameter in unsure and "default" in fact.kind):
            seen.add(fact.asked)
            yield fact


def _end(text: str, at: int) -> int | None:
    """Where what begins at ``at`` ends, as an answer; None where it is too long or not whole."""
    found = _CUT.search(text, at)
    stop = found.start() if found else len(text)
    said = text[at:stop].rstrip(" .,:")
    clear = said and len(said.split()) <= MAX_ANSWER and not _VAGUE.match(said)
    return at + len(said) if clear and _is_whole(said) else None


def _is_whole(said: str) -> bool:
    """Whether brackets and quotation marks are in pairs."""
    quotes = all(said.count(mark) % 2 == 0 for mark in '"`*')
    return quotes and all(said.count(a) == said.count(b) for a, b in ("()", "[]", "<>"))


def _moved(fact: Fact, by: int) -> Fact:
    return fact._replace(start=fact.start + by, stop=fact.stop + by)
