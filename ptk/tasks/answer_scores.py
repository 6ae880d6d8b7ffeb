"""What answers are worth, as the official scripts of SQuAD 1.1, SQuAD 2.0 and KorQuAD 1.0 count it; per cent (SQ-10).

============  ========================================================================================================
squad         lower case, without ASCII punctuation and without the words a, an and the; blanks squeezed. F1 over
              words. The best of the gold answers counts. F1 is 0 where nothing is shared, also of two empty texts
squad2        the same text; gold answers of which nothing is left do not count. Without a gold answer "" is right and
              everything else wrong, in F1 too
korquad       ' " ‘ ’ ( ) < > 《 》 〈 〉 become blanks; then lower case, without other ASCII punctuation, blanks
              squeezed; articles stay. F1 over characters, blanks not among them. The rest is SQuAD 1.1's
              (evaluate-v1.0.py of korquad.github.io)
============  ========================================================================================================

The official scripts give a missing prediction 0 or leave it out; here it is an error (ptk/tasks/answer_files.py).
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from ptk.errors import DataError

Rule = Literal["squad", "squad2", "korquad"]
Golds = Sequence[Sequence[str]]
"""Of each question every gold answer; none where it has no answer."""

_PUNCTUATION = dict.fromkeys(map(ord, string.punctuation))
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_QUOTES = dict.fromkeys(map(ord, "'\"‘’()<>《》〈〉"), " ")


def scores(
    rule: Rule, golds: Golds, said: Sequence[str], null_odds: np.ndarray | None = None, threshold: float = 0.0
) -> dict[str, float]:
    """``exact_match`` and ``f1``; of squad2 also of the questions with and without answer, and how many these are.

    ``null_odds`` [N]: how much rather each question is left unanswered; ``said`` counts as "" where they exceed
    ``threshold`` (infinity: nowhere). Of squad2 they also give the best threshold and what it scores.
    Raises DataError for a question without a gold answer where the rule wants one, ValueError where there is nothing
    to score and for arguments of different lengths.
    """
    has = np.array([len(answers) > 0 for answers in golds], bool)
    parts = dict(zip(("exact", "f1"), worth(rule, golds, said), strict=True))
    silent = np.zeros(len(has), bool) if null_odds is None else null_odds > threshold
    counted = {name: np.where(silent, ~has, values) for name, values in parts.items()}
    found: dict[str, float] = {"exact_match": _percent(counted["exact"]), "f1": _percent(counted["f1"])}
    if rule != "squad2":
        return found
    for group, here in (("HasAns", has), ("NoAns", ~has)):
        if here.any():
            found |= {f"{group}_{name}": _percent(values[here]) for name, values in counted.items()}
            found[f"{group}_total"] = int(here.sum())
    if null_odds is not None:
        for name, values in parts.items():
            best, at = best_threshold(values, has, said, null_odds)
            found |= {f"best_{name}": best, f"best_{name}_thresh": at}
    return found


def answer_nothing(rule: Rule, golds: Golds) -> dict[str, float]:
    """``exact_match`` and ``f1`` of "" to every question: what a model has to beat."""
    exact, f1 = worth(rule, golds, [""] * len(golds))
    return {"exact_match": _percent(exact), "f1": _percent(f1)}


def worth(rule: Rule, golds: Golds, said: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Exact match and F1 of each question, fractions, each float64 [N]. Raises as ``scores`` does."""
    if not golds:
        raise ValueError("no questions to score")
    without = [number for number, answers in enumerate(golds, 1) if not answers]
    if without and rule != "squad2":
        raise DataError(
            f"question {without[0]:,} of {len(golds):,} has no gold answer ({len(without):,} have none), and {rule} "
            "wants one; score them as squad2"
        )
    forms = Forms(rule)
    pairs = [_best(forms, answers, text) for answers, text in zip(golds, said, strict=True)]
    exact, f1 = np.array(pairs, np.float64).T
    return exact, f1


def best_threshold(
    values: np.ndarray, has: np.ndarray, said: Sequence[str], null_odds: np.ndarray
) -> tuple[float, float]:
    """The best score in per cent, and the threshold that the official script of SQuAD 2.0 names for it.

    ``values`` [N] are exact match or F1 of ``said``, ``has`` [N] whether there is an answer. Of equal null odds the
    script answers one question after the other, in the order of the file, so that what it names need not be reached;
    it names 0 where nothing is better than to answer nothing. ``fitted_threshold`` has neither fault.
    """
    odds, totals = _sweep(values, has, said, null_odds)
    answered = int(totals.argmax())  # the first of equals
    return 100 * float(totals[answered]) / len(values), float(odds[answered - 1]) if answered else 0.0


def fitted_threshold(values: np.ndarray, has: np.ndarray, said: Sequence[str], null_odds: np.ndarray) -> float:
    """The threshold to use: a question is left unanswered where its null odds exceed it. Arguments as above.

    That of ``best_threshold``, but only where all questions of equal null odds are answered, or none of them; below
    every null odds where to answer nothing is best. Of several that score the same the one nearest to 0.
    """
    odds, totals = _sweep(values, has, said, null_odds)
    totals[1:-1][odds[1:] == odds[:-1]] = -np.inf
    least, above = np.concatenate([[-np.inf], odds]), np.concatenate([odds, [np.inf]])  # of so many answered
    official = np.where(np.isfinite(least), least, np.nextafter(above, -np.inf))
    found = np.where((least <= 0) & (above > 0), 0.0, official)[totals == totals.max()]
    return float(found[np.abs(found).argmin()])


def _sweep(
    values: np.ndarray, has: np.ndarray, said: Sequence[str], null_odds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Null odds in rising order [N]; the sums of the scores when the first 0, 1, ... N questions are answered [N + 1].

    An answer to a question that has none costs the 1 that "" is given.
    """
    order = np.argsort(null_odds, kind="stable")
    wrong = np.array([-1.0 if text else 0.0 for text in said])
    gains = np.where(has, values, wrong)[order]
    return null_odds[order], np.cumsum(np.concatenate([[float((~has).sum())], gains]))


class Forms(dict[str, tuple[str, Counter[str]]]):
    """Each different text normalised, once, and how often it has each word or character."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule: Rule = rule

    def __missing__(self, text: str) -> tuple[str, Counter[str]]:
        normal = normalised(self.rule, text)
        self[text] = normal, Counter(normal.replace(" ", "") if self.rule == "korquad" else normal.split())
        return self[text]


def normalised(rule: Rule, text: str) -> str:
    """The text that is compared.

    >>> normalised("squad", "The U.S.,  an ally"), normalised("korquad", "《the 춘향전》을")
    ('us ally', 'the 춘향전 을')
    """
    if rule == "korquad":
        return " ".join(text.translate(_QUOTES).lower().translate(_PUNCTUATION).split())
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _best(forms: Forms, golds: Sequence[str], said: str) -> tuple[float, float]:
    """Exact match and F1 of one answer with that gold answer that is best for each."""
    bags = dict(forms[gold] for gold in golds)
    if forms.rule == "squad2":
        bags.pop("", None)
        bags = bags or {"": Counter()}
    normal, bag = forms[said]
    exact = normal in bags
    if exact and (normal or forms.rule == "squad2"):
        return 1.0, 1.0
    return float(exact), max(overlap(bag, gold) for gold in bags.values())


def overlap(said: Counter[str], gold: Counter[str]) -> float:
    """F1 of two bags of words or characters; 0 where they share none."""
    same = sum(min(count, gold.get(piece, 0)) for piece, count in said.items())
    if not same:
        return 0.0
    precision, recall = same / said.total(), same / gold.total()
    return 2 * precision * recall / (precision + recall)


def _percent(values: np.ndarray) -> float:
    return 100 * float(values.mean())
