"""Markdown and reStructuredText to prose."""

import time

import pytest

from ptk.data.markup import markdown_prose, rst_prose


@pytest.mark.parametrize(
    ("text", "prose"),
    [
        ("---\ntitle: x\n---\n# Head #\nText\ngoes on.", "Head\n\nText\ngoes on."),
        ("A.\n```py\ncode\n```\nB.", "A.\n\nB."),
        ("A.\n~~~~\n```\ncode\n~~~~\nB.", "A.\n\nB."),
        ("1. one\n   ```\n   code\n   ```\n2. two", "one\n\ntwo"),
        ("See [the `x` docs](http://a.b/c_(d)) and ![a cat](cat.png).", "See the x docs and a cat."),
        ("A <b class='x'>bold</b> <!-- hidden\n\nlines --> word {/* id */}.", "A bold  word ."),
        ("Use `Vec<T>` and `*args`.", "Use Vec<T> and *args."),
        ("**Very** *good* _word_ and snake_case_name, 2 * 3 * 4.", "Very good word and snake_case_name, 2 * 3 * 4."),
        ("{{#include a.rs}}\nText.\n[ref]: http://x", "Text."),
        ("> [!TIP]\n> Quoted.", "Quoted."),
        ("* a\n* b\n\n---\n\nc", "a\n\nb\n\nc"),
        ("| a | b |\n|---|:-:|\n| c | d |", "a b\n\nc d"),
        ("Title\n=====\ntext &amp; more\\*", "Title\n\ntext & more*"),
        ("*굵게*는 **강조**다.", "굵게는 강조다."),
        ("In\n1862. It was so.", "In\n1862. It was so."),
        ("a < b and c > d", "a < b and c > d"),
    ],
)
def test_markdown(text, prose):
    assert markdown_prose(text) == prose


@pytest.mark.parametrize(
    ("text", "prose"),
    [
        ("=====\nTitle\n=====\nText\n----\nBody.", "Title\n\nText\n\nBody."),
        ("See `the docs <http://x>`_ and ``code``, :func:`~a.b.c`, `link`_.", "See the docs and code, c, link."),
        ("Like this::\n\n    code\n\n    more\n\nEnd.", "Like this:\n\nEnd."),
        (".. code:: python\n\n   x = 1\n\nText.", "Text."),
        (".. note:: Take care.\n   Really.", "Take care.\nReally."),
        (".. _target:\n\n.. comment\n   goes on\n\nText [1]_.", "Text."),
        ("+--+--+\n| a| b|\n+--+--+\n\nText.", "Text."),
        ("A.\n\n>>> x\n1\n\nB.", "A.\n\nB."),
        ("- one\n- two\n\n:param x: The x.", "one\n\ntwo\n\nThe x."),
        ("**굵게** 그리고 *기울임*", "굵게 그리고 기울임"),
    ],
)
def test_rst(text, prose):
    assert rst_prose(text) == prose


@pytest.mark.parametrize(
    "mark", ["<!--", "`", "[", "![a](", "**", "*a", "<a ", " ", "a:", ":a:`", "---\n", "|a ", "_a"]
)
def test_time_is_linear_in_the_text(mark):
    text = "*" + mark * (100_000 // len(mark))
    began = time.perf_counter()
    markdown_prose(text)
    rst_prose(text)
    assert time.perf_counter() - began < 2  # a quadratic rule takes minutes (S15)
