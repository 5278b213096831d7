# SPDX-License-Identifier: GPL-2.0-or-later
"""Questions about a target, each with what to do where the answer is no."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pagedbg.target.target import Target

__all__ = ("Probe", "Probes")

Ask = Callable[["Target"], tuple[bool, str]]
"""Whether the thing is there and, in a few words, what was found."""


class Probe(NamedTuple):
    """A question."""

    ask: Ask
    cost: str
    """What does not work without it."""
    remedy: str | Callable[[Target], str]
    """How to get it."""
    only_live: bool = False

    def find_remedy(self, target: Target) -> str:
        """How a target gets it."""
        return self.remedy if isinstance(self.remedy, str) else self.remedy(target)


class Probes(dict[str, Probe]):
    """Questions by name, in the order in which ``doctor`` has them."""

    def add(
        self,
        name: str,
        *,
        cost: str,
        remedy: str | Callable[[Target], str],
        only_live: bool = False,
    ) -> Callable[[Ask], None]:
        """A decorator of the function that answers it."""

        def register(ask: Ask) -> None:
            self[name] = Probe(ask, cost, remedy, only_live)

        return register
