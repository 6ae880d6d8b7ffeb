"""The data sets of ``tests/bench/squad.py`` by article, and its scorer: both know nothing of ptk's own.

squad2     squad2_dev: every third article is scored, the others train
squad      trained on what squad2_dev answers, without the paragraphs that are in XQuAD too; XQuAD is scored
korquad    korquad1_dev: every fifth article is scored, the others train
answered   what has an answer in XQuAD and squad2_dev, but for the articles that squad2 scores: to begin squad2 with
"""

import json
import re
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import places

TASKS = ("squad2", "squad", "korquad")
SQUAD2, XQUAD = places.DATA / "squad2_dev" / "dev-v2.0.json", places.DATA / "squad1_xquad_en" / "xquad.en.json"
KORQUAD = places.DATA / "korquad1_dev" / "KorQuAD_v1.0_dev.json"
Article = dict[str, Any]


class Question(NamedTuple):
    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]
    """Text and first character of each; none where there is no answer."""


def split(task: str) -> tuple[list[Article], list[Article]]:
    """The articles to train on and those to score."""
    if task == "answered":
        train, scored = split("squad2")
        apart = {article["title"] for article in scored}
        known = {_letters(paragraph["context"]) for article in _articles(SQUAD2) for paragraph in article["paragraphs"]}
        more = [article for article in _articles(XQUAD) if article["title"] not in apart]
        return [*_answered(more, known), *_answered(train, set())], [*_answered(scored, set())]
    if task == "squad":
        scored = _articles(XQUAD)
        known = {_letters(paragraph["context"]) for article in scored for paragraph in article["paragraphs"]}
        return [*_answered(_articles(SQUAD2), known)], scored
    every, articles = (3, _articles(SQUAD2)) if task == "squad2" else (5, _articles(KORQUAD))
    held = [at % every == every - 1 for at in range(len(articles))]
    return [a for a, is_held in zip(articles, held, strict=True) if not is_held], [
        a for a, is_held in zip(articles, held, strict=True) if is_held
    ]


def write(task: str, folder: Path, examples: int | None = None) -> dict[str, Path]:
    """``train.json`` and ``validation.json`` in the SQuAD format; of each only the first ``examples`` questions."""
    paths: dict[str, Path] = {}
    for name, articles in zip(("train", "validation"), split(task), strict=True):
        paths[name] = folder / f"{name}.json"
        left = [examples if examples is not None else len(articles) * 10**6]
        cut = [_cut(article, left) for article in articles]
        paths[name].write_text(json.dumps({"version": "bench", "data": cut}), encoding="utf-8")
    return paths


def read(path: Path) -> list[Question]:
    return [
        Question(
            one["id"],
            one["question"],
            paragraph["context"],
            tuple((answer["text"], answer["answer_start"]) for answer in one["answers"]),
        )
        for article in _articles(path)
        for paragraph in article["paragraphs"]
        for one in paragraph["qas"]
    ]


def score(task: str, questions: Sequence[Question], said: Mapping[str, str]) -> dict[str, float]:
    """Exact match and F1 in per cent, by the rules of the official scripts; a KeyError where an answer is missing."""
    pairs = [_worth(task, said[one.id], [text for text, _ in one.answers]) for one in questions]
    exact, f1 = (100 * sum(values) / len(pairs) for values in zip(*pairs, strict=True))
    return {"exact_match": exact, "f1": f1}


def best_f1(questions: Sequence[Question], best: Mapping[str, str], odds: Mapping[str, float]) -> float:
    """F1 of SQuAD 2.0 with that threshold of no answer that is best here."""
    order = sorted(questions, key=lambda one: odds[one.id])
    total = found = float(sum(not one.answers for one in questions))
    for one in order:
        gain = _worth("squad2", best[one.id], [text for text, _ in one.answers])[1] if one.answers else 0.0
        total += gain if one.answers else -bool(best[one.id])
        found = max(found, total)
    return 100 * found / len(questions)


def nothing(questions: Sequence[Question]) -> float:
    """F1 of the empty answer to everything."""
    return 100 * sum(not one.answers for one in questions) / len(questions)


def _worth(task: str, said: str, golds: Sequence[str]) -> tuple[float, float]:
    if task == "squad2":
        golds = [gold for gold in golds if _pieces(task, gold)] or [""]
    exact = max(_pieces(task, said) == _pieces(task, gold) for gold in golds)
    return float(exact), max(_overlap(task, said, gold) for gold in golds)


def _overlap(task: str, said: str, gold: str) -> float:
    ours, theirs = _pieces(task, said), _pieces(task, gold)
    if task == "korquad":
        ours, theirs = [*"".join(ours)], [*"".join(theirs)]
    if task == "squad2" and not (ours and theirs):
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs)) if shared else 0.0


def _pieces(task: str, text: str) -> list[str]:
    """The words that are compared: lower case, without punctuation, and in English without articles."""
    if task == "korquad":
        text = re.sub("['\"‘’()<>《》〈〉]", " ", text)
    kept = "".join(char for char in text.lower() if char not in string.punctuation)
    return (kept if task == "korquad" else re.sub(r"\b(a|an|the)\b", " ", kept)).split()


def _articles(path: Path) -> list[Article]:
    return json.loads(path.read_text(encoding="utf-8"))["data"]


def _answered(articles: Sequence[Article], known: set[str]) -> Iterator[Article]:
    """Of the paragraphs that are not ``known`` the questions with an answer."""
    for article in articles:
        paragraphs = [
            {"context": each["context"], "qas": [one for one in each["qas"] if one["answers"]]}
            for each in article["paragraphs"]
            if _letters(each["context"]) not in known
        ]
        yield {**article, "paragraphs": [each for each in paragraphs if each["qas"]]}


def _cut(article: Article, left: list[int]) -> Article:
    """The first questions of an article, as many as are ``left``, which grows less."""
    paragraphs: list[dict[str, Any]] = []
    for each in article["paragraphs"]:
        qas = each["qas"][: left[0]]
        left[0] -= len(qas)
        if qas:
            paragraphs.append({"context": each["context"], "qas": qas})
    return {**article, "paragraphs": paragraphs}


def _letters(text: str) -> str:
    return "".join(re.findall(r"\w+", text.lower()))
