"""Windows of texts that are longer than a row: BERT's, for question answering (SQ-3, SQ-7).

A window begins every ``step`` tokens until one reaches the end of its text, which is where that one ends, however
short it is. A token is in several windows; the one where it has most context is where an answer may begin with it.
"""

from typing import NamedTuple

import numpy as np


class Windows(NamedTuple):
    """Of all windows of several texts, in order, [W] each."""

    text: np.ndarray  # the number of the text
    first: np.ndarray  # its first token, of the text
    stop: np.ndarray  # the one behind its last
    scored: np.ndarray  # the first token that has most context here
    until: np.ndarray  # the one behind the last of these


def windows(lengths: np.ndarray, widths: np.ndarray, stride: int | np.ndarray) -> Windows:
    """The windows of texts of ``lengths`` [N] tokens, at most ``widths`` [N] tokens each, all at least 1.

    The step between windows is ``stride`` (one for all, or [N]), or the width where that is less: no token is
    left out (SQ-3).

    >>> windows(np.array([3, 9]), np.array([4, 4]), 3)._asdict()["first"]
    array([0, 0, 3, 6])
    """
    step = np.minimum(widths, stride)
    counts = 1 - np.minimum(widths - lengths, 0) // step  # the last is the first that reaches the end
    text = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(text)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = number * step[text]
    stop = np.minimum(first + widths[text], lengths[text])
    scored = np.where(number > 0, most_context(first, stop), 0)
    last = number == counts[text] - 1
    return Windows(text, first, stop, scored, np.where(last, stop, np.roll(scored, -1)))


def placed(found: Windows, answers: np.ndarray) -> np.ndarray:
    """Of each window the first and the last token of its text's answer, counted in the window, [W, 2].

    ``answers`` [N, 2] are those of the texts; what is negative there stays as it is. -1 for an answer that is not
    whole in the window (SQ-4).
    """
    own, first = answers[found.text], found.first[:, None]
    whole = (own[:, :1] >= first) & (own[:, 1:] < found.stop[:, None])
    return np.where(whole, own - first, np.minimum(own, -1))


def most_context(first: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """The first token that has more context in each window [W] than in the one before it; of the first one no matter.

    A token's score in a window is the smaller number of tokens on one of its sides plus a hundredth of the window's
    size, and of equals the first window wins (SQ-7). Only a last window can be smaller than that before it. What it
    lacks in size, in hundredths, is what its tokens must have more of on the side where they have less: on the left
    they gain two a token, on the right they have what the window reaches further. Whole numbers: BERT's sums of
    fractions tell some equals apart.
    """
    before_first, before_stop = np.roll(first, 1), np.roll(stop, 1)
    lacks = (before_stop - before_first) - (stop - first)
    further = 100 * (stop - before_stop)
    wins = (100 * (first + before_stop - 1) + lacks) // 200 + 1
    return np.where(further > lacks, np.minimum(wins, before_stop), before_stop)
