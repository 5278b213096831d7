# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the back ends have in common: the memory that they record into, and the filter in
it.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.backends.silence import silenced
from pagedbg.capture.rings import Ring
from pagedbg.errors import PagedbgError
from pagedbg.schema import capture_meta, event_record
from pagedbg.schema.event_record import FROZEN, RECORD
from pagedbg.schema.freezing import FreezeOn, Frozen, frozen_by


class Backend(abc.ABC):
    """
    Something that records in the kernel, until :meth:`detach`.

    ``name`` says which it is and ``attach`` how it does. ``functions`` are those that
    are attached, by event; ``failed`` says why others are not. ``rings`` are the CPUs'
    rings.
    """

    name: capture_meta.Backend
    attach: capture_meta.Attach
    functions: dict[str, str]
    failed: dict[str, str]
    rings: list[Ring]
    _header: NDArray[Any]
    _filters: NDArray[Any]
    _freeze: NDArray[Any]
    _cpus: NDArray[Any]

    def _make_rings(self, slot: NDArray[Any], slots: int) -> None:
        """
        Cut the array of all slots, ``slots`` for each CPU that there are counters of,
        into rings.
        """
        heads = self._cpus["head"]
        self.rings = [
            Ring(slot[i * slots : (i + 1) * slots], heads[i : i + 1])
            for i in range(len(heads))
        ]

    def silenced(self) -> str | None:
        """
        Why nothing is recorded at present, although all is attached; None if nothing is
        known to be in the way. What it misses is not counted.
        """
        return silenced(self.attach)

    def counts(self) -> NDArray[Any]:
        """
        What each CPU has counted, an element of
        :data:`~pagedbg.schema.event_record.CPU` each.
        """
        return self._cpus.copy()

    @property
    def in_force(self) -> NDArray[Any]:
        """
        The filter by which is recorded, an element of
        :data:`~pagedbg.schema.filter_record.FILTER`.
        """
        active: NDArray[Any] = self._filters[self._active].copy()
        return active

    @property
    def _active(self) -> int:
        return int(self._header["active"][0]) & ~FROZEN

    @property
    def frozen(self) -> Frozen | None:
        """What has stopped the rings, for good; None while they are written."""
        if not int(self._header["active"][0]) & FROZEN:
            return None
        return frozen_by(self._freeze[0].copy())

    def leave_out(self, own: Sequence[int]) -> None:
        """Record nothing of some processes, whatever was left out before."""
        if self.frozen is not None:
            return
        filter_ = self.in_force
        filter_["own"][: len(own)] = own
        self.set_filter(filter_)

    @abc.abstractmethod
    def set_filter(self, filter_: NDArray[Any]) -> None:
        """
        Put a filter, an element of :data:`~pagedbg.schema.filter_record.FILTER`, in
        force. Where the rings are frozen, they stay so.
        """

    def complete(self) -> None:  # noqa: B027
        """
        Record what has happened and is noted elsewhere, if anything, before the rings
        are drained.
        """

    @abc.abstractmethod
    def missed(self) -> int:
        """How often nothing could run where an event was."""

    @abc.abstractmethod
    def stack(self, number: int) -> list[int]:
        """
        The return addresses of a stack that is not in the kernel's depot, innermost
        first; empty if there is none.
        """

    @abc.abstractmethod
    def detach(self) -> None:
        """
        Record nothing any more. What was recorded can be read until :meth:`close`.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of everything."""


def packed_freeze(freeze_on: FreezeOn) -> dict[str, int]:
    """Members of ``struct pagedbg_freeze`` that ask for it."""
    return {
        "on": sum(1 << reason for reason in freeze_on.reasons),
        "least_order": freeze_on.order,
    }


def check_heard(attach: str) -> None:
    """:raises PagedbgError: if what is attached in this way would see nothing"""
    why = silenced(attach)
    if why is not None:
        raise PagedbgError(why)


def check_header(header: np.void, way_out: str) -> None:
    """
    :raises PagedbgError: if a header is not of rings that are known here; ``way_out``
        says what it is of and what to do
    """
    if (header["magic"], header["version"], header["record_size"]) != (
        event_record.MAGIC,
        event_record.VERSION,
        RECORD.itemsize,
    ):
        raise PagedbgError(way_out)
