# SPDX-License-Identifier: GPL-2.0-or-later
"""Text for people, wrapped to the window that it is read in."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator
from typing import TextIO

__all__ = ("MOST_COLUMNS", "fitted", "hanging", "reflow", "window")

MOST_COLUMNS = 100
"""Longer lines are hard to read, however wide the window is."""

# What stands before the last column of a line of two: `  inspect pfn N   by number`.
_HANGING = re.compile(r"\s*(?:\S.*?\s{2,})?")


def window() -> int:
    """How many columns there are to write in."""
    return min(shutil.get_terminal_size().columns, MOST_COLUMNS)


def fitted(sentence: str, stream: TextIO) -> str:
    """Break a sentence between words if it is for a terminal that is narrower."""
    width = shutil.get_terminal_size().columns
    if len(sentence) <= width or not stream.isatty():
        return sentence
    return textwrap.fill(
        sentence,
        width,
        break_on_hyphens=False,
        break_long_words=False,
        replace_whitespace=False,
    )


def reflow(text: str, width: int) -> str:
    """
    Wrap text to a width: the lines of a paragraph together, and each line of one that
    has indented lines for itself, under its last column.
    """
    return "\n\n".join(
        "\n".join(_wrapped(paragraph, width))
        for paragraph in re.split(r"\n[ \t]*\n", text)
    )


def hanging(line: str, width: int, indent: int) -> str:
    """Wrap a line to a width; what goes on stands under the column ``indent``."""
    return textwrap.fill(
        line,
        width,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        # A path is to be copied as a whole.
        break_long_words=False,
    )


def _wrapped(paragraph: str, width: int) -> Iterator[str]:
    lines = paragraph.split("\n")
    if not any(line.startswith(" ") for line in lines):
        yield from textwrap.wrap(paragraph, width, break_on_hyphens=False)
        return
    for line in lines:
        match = _HANGING.match(line)
        indent = match.end() if match is not None else 0
        # A first column that leaves no room for the second is followed by it.
        indent = indent if indent < width // 2 else len(line) - len(line.lstrip()) + 4
        if len(line) <= width:
            yield line
        else:
            yield hanging(line, width, indent)
