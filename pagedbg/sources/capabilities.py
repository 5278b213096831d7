# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a target offers, each question asked once and in one place: commands declare what
they need, ``doctor`` prints the lot.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pagedbg.sources.page_probes import COMPLETENESS_PROBES, PAGE_PROBES
from pagedbg.sources.tracing_probes import TRACING_PROBES
from pagedbg.sources.witness_probes import WITNESS_PROBES
from pagedbg.target.links import UNREADABLE

if TYPE_CHECKING:
    from pagedbg.target.target import Target


@dataclasses.dataclass(frozen=True)
class Capability:
    """
    The answer to one question.

    ``state``: whether the target has it. ``detail``: what was found. ``cost``: what
    does not work without it; empty where ``state`` is true.
    """

    name: str
    state: bool
    detail: str
    cost: str = ""
    find_remedy: Callable[[], str] = str

    @functools.cached_property
    def remedy(self) -> str:
        """
        How to get it; empty where that is not known. To find out may take longer than
        to say that it is not there.
        """
        try:
            return self.find_remedy()
        except (*UNREADABLE, OSError):
            return ""


_PROBES = {
    **PAGE_PROBES,
    **WITNESS_PROBES,
    **COMPLETENESS_PROBES,
    **TRACING_PROBES,
}


class Capabilities(Mapping[str, Capability]):
    """
    The capabilities of a target by name, each probed when it is first asked for. A dump
    has none of those of a running kernel.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._known: dict[str, Capability] = {}

    def __getitem__(self, name: str) -> Capability:
        if name not in self._known:
            probe = _PROBES[name]
            if probe.only_live and not self._target.live:
                raise KeyError(name)
            remedy: Callable[[], str] = functools.partial(
                probe.find_remedy, self._target
            )
            try:
                state, detail = probe.ask(self._target)
            except (*UNREADABLE, OSError) as error:
                state, detail, remedy = False, f"could not be asked ({error})", str
            self._known[name] = (
                Capability(name, state, detail)
                if state
                else Capability(name, state, detail, probe.cost, remedy)
            )
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return (
            name
            for name, probe in _PROBES.items()
            if self._target.live or not probe.only_live
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)


KNOWN: MutableMapping[Target, Mapping[str, Capability]] = WeakKeyDictionary()
"""What is known of each target that was asked for."""


def capabilities_of(target: Target) -> Mapping[str, Capability]:
    """What a target offers, by name; each is asked once, when it is looked up."""
    return KNOWN.setdefault(target, Capabilities(target))
