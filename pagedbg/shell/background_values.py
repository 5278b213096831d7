# SPDX-License-Identifier: GPL-2.0-or-later
"""
What completion has to read, of the target or of a directory: another process reads it,
so that whoever types waits for nothing.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from prompt_toolkit.application.current import get_app_or_none

from pagedbg.errors import PagedbgError
from pagedbg.parallel import Meanwhile
from pagedbg.session import Session
from pagedbg.shell.option_values import PATTERNS, READ, VALUES

__all__ = ("BackgroundValues", "NotYet", "values_of")

# How often it is looked whether something has been read, in seconds.
_SOON = 0.02

# What has a meaning in a list of patterns.
_SYNTAX = frozenset(",[*?")


class NotYet(Exception):
    """Something is still being read: ``what`` it is."""

    def __init__(self, what: Hashable) -> None:
        super().__init__()
        self.what = what


class BackgroundValues:
    """
    Values that options may have on a target, read when they are first asked for and
    kept until :meth:`forget`.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kept: dict[Hashable, Any] = {}
        self._asked: dict[Hashable, Meanwhile] = {}
        self.draw_again: Callable[[], None] = lambda: None
        """Called when something is known by which a line may be drawn otherwise."""

    @property
    def reading(self) -> bool:
        """Whether something is being read."""
        return any(not asked.done for asked in self._asked.values())

    def of(self, key: str) -> Mapping[str, str]:
        """
        Return values by the key of :data:`VALUES`, with what is said of each.

        :raises NotYet: if they are still being read
        """
        if key not in READ:
            return values_of(self._session, key)
        found: Mapping[str, str] | None = self.get(
            key, lambda: values_of(self._session, key)
        )
        return found or {}

    def get(self, what: Hashable, work: Callable[[], Any]) -> Any:
        """
        Return what some work finds, None if it fails.

        :raises NotYet: if it is still at work
        """
        if what not in self._kept and what not in self._asked:
            if self._can_fork:
                self._asked[what] = Meanwhile(work)
            else:
                self._kept[what] = work()
        if what not in self._kept:
            if not self._asked[what].done:
                raise NotYet(what)
            self.wait(what)
        return self._kept[what]

    def known(self, key: str) -> Mapping[str, str] | None:
        """
        Return values by their key; None if they were not read so far, which they are
        then, soon: :attr:`draw_again` is called when they are known.
        """
        if key not in READ:
            return values_of(self._session, key)
        asked, app = self._asked.get(key), get_app_or_none()
        wanted = key not in self._kept and (asked is None or asked.done)
        if wanted and app is not None and self._can_fork:
            app.create_background_task(self._bring(key))
        return self._kept.get(key)

    @property
    def _can_fork(self) -> bool:
        # The monitor of a guest of QEMU's talks to one at a time. On a connection that
        # two processes share, whoever is ended amid an answer leaves the rest of it to
        # the other, so these values are read as they are asked for: the names of 57
        # programs in 0.2 s, all others in 10 ms. And a fork leaves threads behind.
        return self._session.target.guest is None and threading.active_count() == 1

    async def _bring(self, key: str) -> None:
        try:
            self.of(key)
        except NotYet:
            while not await self.arrival(key):
                pass
            if key in self._asked:
                self.wait(key)
        self.draw_again()

    def wait(self, what: Hashable) -> None:
        """Wait for what is being read."""
        try:
            found = self._asked[what].result()
        except PagedbgError:
            # Somebody has killed the process.
            found = None
        finally:
            del self._asked[what]
        self._kept[what] = found

    async def arrival(self, what: Hashable) -> bool:
        """Let others go on for a moment; return whether something was read then."""
        if what in self._asked and not self._asked[what].done:
            await asyncio.sleep(_SOON)
        return what not in self._asked or self._asked[what].done

    def drop(self, what: Hashable) -> None:
        """Forget one thing, and do not go on reading it."""
        self._kept.pop(what, None)
        if what in self._asked:
            self._asked.pop(what).end()

    def forget(self) -> None:
        """Forget all, and do not go on reading."""
        for what in [*self._kept, *self._asked]:
            self.drop(what)


def values_of(session: Session, key: str) -> Mapping[str, str]:
    """
    Return values by the key of :data:`VALUES`, as they are written, with what is said
    of each.
    """
    try:
        found = VALUES[key](session)
        said = found if isinstance(found, Mapping) else {}
        offered = {
            _offered(name, key in PATTERNS): said.get(name, "") for name in found
        }
    except Exception:
        # Completion has nobody to complain to: the command itself will say what is
        # wrong.
        return {}
    return {name: words for name, words in offered.items() if name is not None}


def _offered(name: str, patterns: bool) -> str | None:
    """
    A name as it may be written where several can stand; None if it cannot.

    :param patterns: whether ``?`` matches any character there, so that it can stand for
        one that nobody can type
    """
    last = len(name) - 1
    odd = [
        not c.isprintable()
        or c in _SYNTAX
        or (c == " " and i in (0, last))
        or (c == "-" and i == 0 and not name[1:].isdigit())
        for i, c in enumerate(name)
    ]
    if not any(odd):
        return name or None
    return (
        "".join("?" if no else c for c, no in zip(name, odd, strict=True))
        if patterns
        else None
    )
