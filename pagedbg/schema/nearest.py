# SPDX-License-Identifier: GPL-2.0-or-later
"""What somebody may have meant by a word that is none of those known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ("did_you_mean", "nearest_or_all")

# How alike words are, from 0 to 1, of which one may be meant by the other: timin is
# still timing, nothing (0.62) is not.
_ALIKE = 0.65


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """
    Return ``; did you mean ...?`` for a mistyped word, or nothing where no known word
    is near.
    """
    names = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), names, n=1, cutoff=_ALIKE)
    return f"; did you mean {names[near[0]]}?" if near else ""


def nearest_or_all(word: str, known: Iterable[str]) -> str:
    """As :func:`did_you_mean`; where no known word is near, all there are."""
    names = list(known)
    return did_you_mean(word, names) or f"; choose from {', '.join(names)}"
