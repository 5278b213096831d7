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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.backends.backend import Backend, check_header, check_heard
from pagedbg.capture.backends.bpf_image import Image, one_sentence
from pagedbg.capture.backends.bpf_programs import (
    KPROBE,
    hooked,
    image_for,
)
from pagedbg.capture.backends.captured_stderr import quiet
from pagedbg.capture.backends.grace_period import grace_period
from pagedbg.capture.backends.libbcc import checked, library
from pagedbg.errors import PagedbgError
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import Attach
from pagedbg.schema.event_record import CPU, FILTER, HEADER, KINDS_BY_NAME, RECORD

BPF: Final = "bpf"
"""This back end."""


# BPF_MAX_STACK_DEPTH of bcc's table of stacks.
_STACK_DEPTH = 127


# enum bpf_prog_type
_KPROBE, _RAW_TRACEPOINT, _TRACING = 2, 17, 26
_LICENSE = b"GPL"


PINS = Path("/sys/fs/bpf/pagedbg")
"""Where programs are kept that are to stay attached when this process has ended."""


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
        self._links: list[tuple[str, int]] = []
        self._programs: dict[str, int] = {}
        self._maps: dict[str, int] = {}
        self._pinned = False

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
    ) -> Self:
        """
        Load the programs, and attach them.

        :param functions: name of the function (or, for tracepoints, of the tracepoint)
            by event
        :param constants: what the source asks for, see
            :mod:`pagedbg.capture.backends.hooks`
        :param addresses: members of ``struct pagedbg_header``
        :param slots: records in a CPU's ring, a power of two
        :param attach: :data:`TRAMPOLINE`, :data:`KPROBE` or :data:`TRACEPOINT`
        :param filter_: an element of :data:`~pagedbg.schema.event_record.FILTER`, in
            force from the first event
        :raises PagedbgError: if nothing can be attached this way
        """
        check_heard(attach)
        functions = hooked(functions, constants, attach)
        cpus = _possible_cpus()
        image = image_for(functions, constants, cpus, slots, attach)
        self = cls(attach)
        self._image = image
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
            self._attach_all(functions)
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
        found: dict[str, dict[str, int]] = {"map": {}, "link": {}}
        self = cls(attach)
        self._pinned = True
        try:
            for path in sorted(PINS.iterdir()):
                kind, _, name = path.name.partition(":")
                found[kind][name] = checked(self._lib.bpf_obj_get(str(path).encode()))
            self._maps = found["map"]
            self._links = [
                (name.partition(":")[0], descriptor)
                for name, descriptor in found["link"].items()
            ]
            self.functions = {
                name.partition(":")[0].replace("_", " "): name.partition(":")[2]
                for name in found["link"]
            }
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
        if self.attach == KPROBE:
            raise PagedbgError(
                "kprobes of BPF end with who attached them, so they cannot be left:"
                " this needs --attach trampoline, or --backend kmod"
            )
        try:
            PINS.mkdir(mode=0o700)
            self._pinned = True
            for name, descriptor in self._maps.items():
                self._pin(f"map:{name}", descriptor)
            for event, descriptor in self._links:
                self._pin(
                    f"link:{event.replace(' ', '_')}:{self.functions[event]}",
                    descriptor,
                )
        except OSError as error:
            raise PagedbgError(
                f"{PINS}: {error.strerror} (it has to be a BPF file system: mount -t"
                f" bpf bpf {PINS.parent})"
            ) from None

    def _pin(self, name: str, descriptor: int) -> None:
        checked(self._lib.bpf_obj_pin(descriptor, str(PINS / name).encode()))

    def _map(self, cpus: int, slots: int) -> None:
        self._header = self._view("pagedbg_header", HEADER, 1)
        self._filters = self._view("pagedbg_filter", FILTER, 2)
        self._cpus = self._view("pagedbg_cpu", CPU, cpus)
        self._make_rings(self._view("pagedbg_slot", RECORD, cpus * slots), slots)

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

    def _attach_all(self, functions: Mapping[str, str]) -> None:
        # Frees first, allocations last: of none that was seen may the free be missed.
        for event in sorted(
            functions, key=lambda each: (each == "set", each != "reset")
        ):
            try:
                with quiet() as said:
                    self._attach(event, functions[event])
            except OSError as error:
                self.failed[event] = (
                    f"{error.strerror} ({one_sentence(said())})"
                    if said().strip()
                    else str(error.strerror)
                )
            else:
                self.functions[event] = functions[event]
        missing = [event for event in ("reset", "set") if event not in self.functions]
        if missing:
            raise PagedbgError(
                f"{functions.get(missing[0], missing[0])}:"
                f" {self.failed.get(missing[0], 'this kernel has no such function')}"
            )

    def _attach(self, event: str, function: str) -> None:
        lib, name, word = self._lib, function.encode(), event.replace(" ", "_")
        at_entry = KINDS_BY_NAME[event].at_entry
        if self.attach == KPROBE:
            if not at_entry:
                program = self._load(f"{word}_return", _KPROBE)
                # With a limit of our own on pending returns libbcc would make an event
                # in tracefs, which stays when we are killed.
                self._link(
                    event,
                    lib.bpf_attach_kprobe(
                        program, 1, _event_name("r", function), name, 0, 0
                    ),
                )
            program = self._load(f"{word}_entry", _KPROBE)
            self._link(
                event,
                lib.bpf_attach_kprobe(
                    program, 0, _event_name("p", function), name, 0, 0
                ),
            )
        elif f"raw_tracepoint__{function}" in self._image.programs:
            program = self._load(f"raw_tracepoint__{function}", _RAW_TRACEPOINT)
            self._link(event, lib.bpf_attach_raw_tracepoint(program, name))
        else:
            program = self._load(
                f"{'kfunc' if at_entry else 'kretfunc'}__{function}", _TRACING
            )
            self._link(event, lib.bpf_attach_kfunc(program))

    def _link(self, event: str, descriptor: int) -> None:
        self._links.append((event, checked(descriptor)))

    def _load(self, program: str, kind: int) -> int:
        """
        Load a program; by its name libbcc knows which function a trampoline is for.
        """
        code = self._image.linked(program, self._maps)
        descriptor = checked(
            self._lib.bcc_prog_load(
                kind, program.encode(), code, len(code), _LICENSE, 0, 0, None, 0
            )
        )
        self._programs[program] = descriptor
        return descriptor

    # ---- what the recorder asks ----

    def set_filter(self, filter_: NDArray[Any]) -> None:
        """Put a filter in force: from one event to the next."""
        header = self._header
        # Until no program looks at what was in force before the present one.
        grace_period()
        spare = 1 - int(header["active"][0])
        self._filters[spare] = filter_
        header["active"][0] = spare

    def missed(self) -> int:
        """
        How often the kernel did not run a program because one was running on that CPU
        already (``recursion_misses``).
        """
        total = 0
        for descriptor in self._programs.values():
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

    def close(self) -> None:
        """Let go of everything."""
        self.detach()

    def detach(self) -> None:
        """Detach everything. What was recorded can be read after that, too."""
        if self._pinned:
            shutil.rmtree(PINS, ignore_errors=True)
        for descriptor in (
            *(link for _, link in self._links),
            *self._programs.values(),
            *self._maps.values(),
        ):
            os.close(descriptor)
        self._links, self._programs, self._maps = [], {}, {}


def _possible_cpus() -> int:
    last = re.split(
        "[,-]", Path("/sys/devices/system/cpu/possible").read_text().strip()
    )[-1]
    return int(last) + 1


def _event_name(kind: str, function: str) -> bytes:
    return f"{kind}_pagedbg_{os.getpid()}_{function}".encode()


__all__ = ("BPF", "BpfBackend")
