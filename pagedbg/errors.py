# SPDX-License-Identifier: GPL-2.0-or-later
"""
The errors that reach a user: each one's text is a clear sentence and a way out, and
never a traceback. Of many that say the same, a few are said.
"""

from collections.abc import Iterable

# Of sentences that say the same of many, how many are said.
_FEW = 5


class PagedbgError(Exception):
    """Something failed; exit status 1."""


class UsageError(PagedbgError):
    """What was typed cannot be taken; exit status 2."""


def few(sentences: Iterable[str]) -> list[str]:
    """Sentences of one kind, and one on all that are too many to be said."""
    found = sorted(
        each if each.endswith("?") else f"{each.rstrip('.')}." for each in sentences
    )
    more = len(found) - _FEW
    return found[:_FEW] + ([f"So it is with {more:,} more."] if more > 0 else [])
