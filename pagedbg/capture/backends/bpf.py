# SPDX-License-Identifier: GPL-2.0-or-later
"""
The BPF back end: loads the programs of ``bpf/capture.bpf.c``, attaches them, and maps
their rings.

libbcc, of the distribution's bcc, does the loading. It knows how to attach by every
means, and what to do where a kernel lacks one.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.backends import bpf_file_system
from pagedbg.capture.backends.backend import (
    Backend,
    check_header,
    check_heard,
    packed_freeze,
)
from pagedbg.capture.backends.bpf_calls import run_raw_tracepoint
from pagedbg.capture.backends.bpf_image import Image, one_sentence
from pagedbg.capture.backends.bpf_links import COMPLETE, UNTOLD, BpfLinks, Link
from pagedbg.capture.backends.bpf_programs import (
    COMBINED,
    KPROBE,
    PENDING,
    hooked,
    image_for,
)
from pagedbg.capture.backends.captured_stderr import quiet
from pagedbg.capture.backends.grace_period import grace_period
from pagedbg.capture.backends.libbcc import checked, library
from pagedbg.errors import PagedbgError
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import BPF, Attach
from pagedbg.schema.event_record import CPU, HEADER, KINDS_BY_NAME, RECORD
from pagedbg.schema.filter_record import FILTERS
from pagedbg.schema.freezing import FreezeOn

# BPF_MAX_STACK_DEPTH of bcc's table of stacks.
_STACK_DEPTH = 127


PINS = bpf_file_system.PLACE / "pagedbg"
"""Where programs are kept that are to stay attached when this process has ended."""


def check_stays(attach: str) -> None:
    """:raises PagedbgError: if what is attached in this way ends with this process"""
    if attach == KPROBE:
        raise PagedbgError(
            "kprobes of BPF end with who attached them, so they cannot be left:"
            " leave --attach out, or give --backend kmod"
        )


class BpfBackend(Backend):
    """
    Programs that are attached, until :meth:`detach`; the kernel detaches them when this
    process ends, however it does, unless they are pinned.
    """

    name = BPF

    def __init__(self, attach: Attach) -> None:
        self.attach = attach
        self.functions = {}
        self.failed = {}
        self._lib = library()
        self._image = Image({}, {}, {})
        self._cast = 0
        self._links = BpfLinks(self._lib)
        self._maps: dict[str, int] = {}
        self._pinned = False
        self._pending: NDArray[np.uint64] | None = None
        self._waiting: NDArray[np.uint64] | None = None

    @classmethod
    def load(
        cls,
        functions: Mapping[str, str],
        constants: Mapping[str, int | str],
        addresses: Mapping[str, int],
        *,
        slots: int,
        attach: Attach,
        filter_: NDArray[Any],
        freeze_on: FreezeOn,
        untold: Sequence[str],
    ) -> Self:
        """
        Load the programs, and attach them.

        :param functions: name of the function (or, for tracepoints, of the tracepoint)
            by event
        :param constants: what the source asks for, see
            :mod:`pagedbg.capture.backends.hooks`
        :param addresses: members of ``struct pagedbg_header``
        :param slots: records in a CPU's ring, a power of two
        :param attach: :data:`COMBINED`, :data:`TRAMPOLINE`, :data:`KPROBE` or
            :data:`TRACEPOINT`
        :param filter_: an element of :data:`~pagedbg.schema.filter_record.FILTER`, in
            force from the first event
        :param freeze_on: what stops the rings
        :param untold: for :data:`COMBINED`, the places that
            :func:`~pagedbg.capture.backends.untold.find_untold` has found
        :raises PagedbgError: if nothing can be attached this way
        """
        check_heard(attach)
        functions = hooked(functions, attach)
        cpus = _possible_cpus()
        image = image_for(functions, constants, cpus, slots, attach)
        self = cls(attach)
        self._image = image
        self._cast = int(constants.get("CAST_ID", 0))
        try:
            self._make_maps()
            self._map(cpus, slots)
            self._filters[0] = filter_
            known = {
                "magic": event_record.MAGIC,
                "version": event_record.VERSION,
                "record_size": RECORD.itemsize,
                "cpus": cpus,
                "slots": slots,
            }
            for member, value in {**known, **addresses}.items():
                self._header[member] = value
            self._attach_all(functions, untold)
            for member, value in packed_freeze(freeze_on).items():
                self._freeze[member] = value
            self._links.attach_freezing(freeze_on, self._image, self._maps)
        except BaseException:
            self.close()
            raise
        return self

    @classmethod
    def adopt(cls, attach: Attach) -> Self:
        """
        Take over what :meth:`pin` left.

        :raises PagedbgError: if it is of another version
        """
        found: dict[str, dict[str, int]] = {"map": {}, "link": {}, "program": {}}
        self = cls(attach)
        self._pinned = True
        try:
            for path in sorted(PINS.iterdir()):
                kind, _, name = path.name.partition(":")
                found[kind][name] = checked(self._lib.bpf_obj_get(str(path).encode()))
            self._maps, self._links.programs = found["map"], found["program"]
            for name, descriptor in found["link"].items():
                event, _, function = name.partition(":")
                event = event.replace("_", " ")
                self._links.links.append(Link(event, function, descriptor))
                if event in KINDS_BY_NAME:
                    self.functions[event] = function
            header = self._view("pagedbg_header", HEADER, 1)[0]
            check_header(
                header,
                f"{PINS} is of another version of pagedbg: rm -r {PINS} detaches it",
            )
            self._map(int(header["cpus"]), int(header["slots"]))
        except (OSError, KeyError) as error:
            raise PagedbgError(
                f"{PINS} is not what pagedbg left there ({error}): rm -r {PINS}"
                " detaches it"
            ) from None
        return self

    def pin(self) -> None:
        """
        Have all stay as it is when this process ends.

        :raises PagedbgError: if that cannot be; nothing is pinned then
        """
        check_stays(self.attach)
        try:
            PINS.mkdir(mode=0o700)
            self._pinned = True
            for name, descriptor in self._maps.items():
                self._pin(f"map:{name}", descriptor)
            for name, descriptor in self._links.programs.items():
                self._pin(f"program:{name}", descriptor)
            for link in self._links.links:
                name = f"link:{link.event.replace(' ', '_')}:{link.function}"
                # No name has a full stop there.
                self._pin(name.replace(".", "_"), link.descriptor)
        except OSError as error:
            raise PagedbgError(
                f"{PINS}: {error.strerror} (it has to be in a BPF file system)"
            ) from None

    def _pin(self, name: str, descriptor: int) -> None:
        checked(self._lib.bpf_obj_pin(descriptor, str(PINS / name).encode()))

    def _map(self, cpus: int, slots: int) -> None:
        self._header = self._view("pagedbg_header", HEADER, 1)
        all_filters = self._view("pagedbg_filter", FILTERS, 1)
        self._filters = all_filters["filter"][0]
        self._freeze = all_filters["freeze"]
        self._cpus = self._view("pagedbg_cpu", CPU, cpus)
        self._make_rings(self._view("pagedbg_slot", RECORD, cpus * slots), slots)
        if self.attach == COMBINED:
            words = np.dtype("<u8")
            self._pending = self._view("pagedbg_pending", words, PENDING)
            self._waiting = self._view("pagedbg_waiting", words, 2)

    def _make_maps(self) -> None:
        try:
            with quiet():
                for name, each in self._image.maps.items():
                    sizes = each.key_size, each.value_size, each.max_entries
                    self._maps[name] = checked(
                        self._lib.bcc_create_map(
                            each.type, name.encode()[:15], *sizes, each.flags
                        )
                    )
        except OSError as error:
            raise PagedbgError(
                f"the kernel makes no BPF maps for us: {error.strerror}"
            ) from None

    def _view(self, name: str, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        size = dtype.itemsize * count
        # Stays mapped when the map's descriptor is closed: what was recorded up to the
        # end is read after that.
        return np.frombuffer(
            mmap.mmap(self._maps[name], -(-size // mmap.PAGESIZE) * mmap.PAGESIZE),
            dtype,
            count,
        )

    # ---- attaching ----

    def _attach_all(self, functions: Mapping[str, str], untold: Sequence[str]) -> None:
        # Frees first, allocations last: of none that was seen may the free be missed.
        for event in sorted(
            functions, key=lambda each: (each == "set", each != "reset")
        ):
            try:
                with quiet() as said:
                    self._links.attach(
                        self.attach,
                        event,
                        functions[event],
                        self._image,
                        self._maps,
                        self._cast,
                    )
            except OSError as error:
                self.failed[event] = (
                    f"{error.strerror} ({one_sentence(said())})"
                    if said().strip()
                    else str(error.strerror)
                )
            else:
                self.functions[event] = functions[event]
        if self.attach == COMBINED:
            self._attach_untold(untold)
        missing = [event for event in ("reset", "set") if event not in self.functions]
        if missing:
            raise PagedbgError(
                f"{functions.get(missing[0], missing[0])}:"
                f" {self.failed.get(missing[0], 'this kernel has no such function')}"
            )

    def _attach_untold(self, places: Sequence[str]) -> None:
        try:
            with quiet():
                self._links.attach_untold(places, self._image, self._maps, self._cast)
        except OSError as error:
            raise PagedbgError(
                "nobody would tell of what compaction and alloc_contig_range()"
                f" allocate: {error.strerror}"
            ) from None

    # ---- what the recorder asks ----

    def set_filter(self, filter_: NDArray[Any]) -> None:
        """
        Put a filter in force: from one event to the next. Nothing stops the rings
        meanwhile, which would be undone.
        """
        header, freeze_on = self._header, int(self._freeze["on"][0])
        self._freeze["on"] = 0
        # Until no program looks at what was in force before the present one, or is
        # about to stop the rings.
        grace_period()
        if self.frozen is None:
            spare = 1 - self._active
            self._filters[spare] = filter_
            header["active"][0] = spare
        self._freeze["on"] = freeze_on

    def missed(self) -> int:
        """
        How often the kernel did not run a program because one was running on that CPU
        already (``recursion_misses``), or there was no room to remember an allocation
        that had begun.
        """
        total = 0
        if self._waiting is not None:
            total += int(self._waiting[1])
        if self._pending is not None and self.frozen is not None:
            # Of allocations that had begun by then nobody knows any more whether they
            # are still there.
            total += int(np.count_nonzero(self._pending.copy()))
        for descriptor in self._links.programs.values():
            with contextlib.suppress(OSError):
                found = re.search(
                    r"recursion_misses:\s*(\d+)",
                    Path(f"/proc/self/fdinfo/{descriptor}").read_text(),
                )
                total += int(found[1]) if found else 0
        return total

    def stack(self, number: int) -> list[int]:
        """
        The return addresses of a BPF stack id, innermost first; empty if there is none
        (tracepoints only).
        """
        found = np.zeros(_STACK_DEPTH, "<u8")
        key = ctypes.c_uint32(number)
        if number >= 1 << 31 or self._lib.bpf_lookup_elem(
            self._maps["pagedbg_stack"], ctypes.byref(key), found.ctypes.data
        ):
            return []
        pcs: list[int] = found[found != 0].tolist()
        return pcs

    def complete(self) -> None:
        """Record allocations that are over and that no tracepoint has told of."""
        self._complete(False)

    def _complete(self, all_: bool) -> None:
        program = self._links.programs.get(COMPLETE)
        if program is None or self._pending is None:
            return
        # NumPy refuses to search what changes meanwhile.
        for index in np.flatnonzero(self._pending.copy()).tolist():
            # For want of memory: the next time.
            with contextlib.suppress(OSError):
                run_raw_tracepoint(program, index, int(all_))

    def close(self) -> None:
        """Let go of everything."""
        self.detach()

    def detach(self) -> None:
        """Detach everything. What was recorded can be read after that, too."""
        if self._pinned:
            shutil.rmtree(PINS, ignore_errors=True)
        if self.attach == COMBINED:
            self._detach_untold()
        self._links.close()
        for descriptor in self._maps.values():
            os.close(descriptor)
        self._maps = {}

    def _detach_untold(self) -> None:
        """Nothing begins any more; what has begun is recorded when it is over."""
        if self._links.end(UNTOLD):
            grace_period()
            self._complete(True)


def _possible_cpus() -> int:
    last = re.split(
        "[,-]", Path("/sys/devices/system/cpu/possible").read_text().strip()
    )[-1]
    return int(last) + 1


__all__ = ("BPF", "BpfBackend")
