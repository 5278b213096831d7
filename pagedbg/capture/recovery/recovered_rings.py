# SPDX-License-Identifier: GPL-2.0-or-later
"""What was recording in a dump, whichever back end it was: its rings and counters."""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from drgn import Program
from numpy.typing import NDArray

from pagedbg.capture.kernel_description import names_of
from pagedbg.capture.rings import Settled, settled_records
from pagedbg.errors import PagedbgError
from pagedbg.mm.bulk_read import read_array
from pagedbg.schema import capture_meta, event_record
from pagedbg.schema.event_filter import EventFilter
from pagedbg.schema.event_record import CPU, FREEZE, FROZEN, HEADER, RECORD
from pagedbg.schema.filter_record import FILTER, FILTERS, unpack
from pagedbg.schema.former_rings import FORMER, expected_check, header_of
from pagedbg.schema.freezing import Frozen, frozen_by

# By so many the number of the newest record and the sum of those of each kind may
# differ: whoever was stopped had counted in one place only.
_COUNTING = 4


class RecoveredRecorder(abc.ABC):
    """
    A back end in a dump. ``backend`` and ``attach`` are as in a capture's
    ``meta.json``, ``functions`` what it was attached to by event, ``missed`` how often
    nothing could run where an event was (None if that cannot be read), ``header`` its
    ``struct pagedbg_header``.
    """

    backend: capture_meta.Backend
    attach: capture_meta.Attach
    functions: dict[str, str]
    missed: int | None

    def __init__(self, prog: Program, header: int) -> None:
        """
        :param header: address of the header
        :raises PagedbgError: if there is none
        """
        self.prog = prog
        found, known = read_array(prog, header, HEADER.itemsize, np.dtype(np.uint8))
        if not known.all():
            raise PagedbgError("the header of its rings is not in the dump")
        self.header = header_of(found.tobytes())[0]
        if int(self.header["magic"]) != event_record.MAGIC:
            raise PagedbgError("the header of its rings is damaged")
        self.version = int(self.header["version"])
        if (
            self.version not in (event_record.VERSION, FORMER)
            or self.header["record_size"] != RECORD.itemsize
        ):
            raise PagedbgError(
                f"its rings are of version {self.version}, and this pagedbg reads"
                f" {FORMER} and {event_record.VERSION}"
            )
        self.cpus, self.slots = int(self.header["cpus"]), int(self.header["slots"])
        if self.cpus != prog["nr_cpu_ids"].value_() or not event_record.is_ring_size(
            self.slots
        ):
            raise PagedbgError("the header of its rings is damaged")

    @abc.abstractmethod
    def _address(self, what: np.dtype[Any]) -> tuple[int, int]:
        """
        Where the first of the CPUs' counters, the filters or the slots is, and how many
        bytes there are from one to the next.
        """

    @functools.cached_property
    def counters(self) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """
        What each CPU has counted, of :data:`~pagedbg.schema.event_record.CPU`, and for
        each whether all of it could be read and agrees with itself. Of the others only
        ``head`` counts, which is 0 where it is not known either.
        """
        address, stride = self._address(CPU)
        words, known = (
            each.reshape(self.cpus, -1)
            for each in read_array(
                self.prog, address, self.cpus * stride // 8, np.dtype("<u8")
            )
        )
        width = CPU.itemsize // 8
        found: NDArray[Any] = (
            np.ascontiguousarray(words[:, :width]).view(CPU).reshape(self.cpus).copy()
        )
        sums = found["recorded"].sum(axis=(1, 2), dtype=np.uint64)
        whole = known[:, :width].all(axis=1)
        sane = (
            np.maximum(found["head"], sums) - np.minimum(found["head"], sums)
            <= _COUNTING
        )
        found["head"][~(known[:, 0] & (sane | ~whole))] = 0
        for name in ("forgotten", "seen", "recorded"):
            found[name][~(whole & sane)] = 0
        return found, whole & sane

    @functools.cached_property
    def filters(self) -> list[EventFilter]:
        """
        What it was to record before the last change and after it, or once if it was not
        changed; empty if that cannot be read. What was in force before is not kept.
        """
        address, _ = self._address(FILTER)
        active = int(self.header["active"])
        found, known = read_array(self.prog, address, 2, FILTER)
        if active >= 2 * FROZEN or not known.all():
            return []
        active &= ~FROZEN
        names = names_of(self.prog, [])
        try:
            # One that is asked for nothing is there before the first and after the
            # last.
            filters = [
                unpack(each, names)
                for each in (found[1 - active], found[active])
                if each["events"]
            ]
        except ValueError:
            return []
        return list(dict.fromkeys(filters))

    @property
    def frozen(self) -> Frozen | None:
        """What had stopped the rings; None if they were written to the end."""
        if not int(self.header["active"]) & FROZEN:
            return None
        address, _ = self._address(FILTER)
        offset = FILTERS.fields["freeze"][1]  # type: ignore[index]
        found, known = read_array(self.prog, address + offset, 1, FREEZE)
        return frozen_by(found[0]) if known.all() else Frozen(0)

    @property
    def recorded(self) -> int | None:
        """How many events it had recorded; None if that cannot be read."""
        counters, known = self.counters
        return int(counters["head"].sum()) if known.all() else None

    def rings(self) -> Iterator[tuple[int, Settled]]:
        """
        Each CPU's ring, with the number of the CPU; its records as the present version
        has them.
        """
        address, _ = self._address(RECORD)
        counters, known = self.counters
        for cpu in range(self.cpus):
            slots, whole = read_array(
                self.prog,
                address + cpu * self.slots * RECORD.itemsize,
                self.slots,
                RECORD,
            )
            head = int(counters["head"][cpu])
            settled = settled_records(
                slots,
                whole,
                head if head or known[cpu] else None,
                cpu,
                expected_check(slots, self.version),
            )
            settled.records["check"] = event_record.check_of(settled.records)
            yield cpu, settled

    def stack(self, number: int) -> list[int]:
        """
        The return addresses of a stack that is not in the kernel's depot, innermost
        first; empty if there is none.
        """
        return []
