# SPDX-License-Identifier: GPL-2.0-or-later
"""
The errors that reach a user: each one's text is a clear sentence and a way out, and
never a traceback.
"""


class PagedbgError(Exception):
    """Something failed; exit status 1."""


class UsageError(PagedbgError):
    """What was typed cannot be taken; exit status 2."""
