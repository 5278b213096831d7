# SPDX-License-Identifier: GPL-2.0-or-later
"""
The rings of the kernel module in a dump: where its variable ``pagedbg_rings`` points to
or, without its symbols, where a piece of vmalloc memory begins like them.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from drgn import FaultError, Object, Program, container_of
from drgn.helpers.linux.list import hlist_for_each_entry, list_for_each_entry
from drgn.helpers.linux.mm import for_each_vmap_area
from drgn.helpers.linux.module import for_each_module

from pagedbg.capture.backends.hooks import find_hooks
from pagedbg.capture.backends.kmod import KMOD, MODULE
from pagedbg.capture.recovery.recovered_rings import RecoveredRecorder
from pagedbg.errors import PagedbgError
from pagedbg.schema import event_record
from pagedbg.schema.event_record import CPU, FILTER, HEADER, RECORD
from pagedbg.target.links import UNREADABLE, bounded
from pagedbg.target.symbols import module_symbols

if TYPE_CHECKING:
    from pagedbg.target.target import Target


class _Module(RecoveredRecorder):
    """The kernel module: all in one piece, at offsets that the header tells."""

    backend, attach = KMOD, MODULE

    def __init__(self, target: Target, address: int) -> None:
        super().__init__(target.prog, address)
        self._base = address
        self._check()
        self.functions, self.missed = _probes(target)

    def _check(self) -> None:
        """What ``pagedbg_make_rings()`` of ``kmod/rings.c`` computes."""
        page = self.prog["PAGE_SIZE"].value_()
        filters_at, stride = _aligned(HEADER.itemsize, 64), _aligned(CPU.itemsize, 64)
        cpus_at = _aligned(filters_at + 2 * FILTER.itemsize, page)
        slots_at = _aligned(cpus_at + self.cpus * stride, page)
        size = _aligned(slots_at + self.cpus * self.slots * RECORD.itemsize, page)
        names = ("size", "filters_at", "cpus_at", "cpu_stride", "slots_at")
        if tuple(int(self.header[name]) for name in names) != (
            size,
            filters_at,
            cpus_at,
            stride,
            slots_at,
        ):
            raise PagedbgError("the header of its rings is damaged")

    def _address(self, what: np.dtype[Any]) -> tuple[int, int]:
        at, stride = {
            FILTER: ("filters_at", FILTER.itemsize),
            CPU: ("cpus_at", int(self.header["cpu_stride"])),
            RECORD: ("slots_at", RECORD.itemsize),
        }[what]
        return self._base + int(self.header[at]), stride


def _aligned(size: int, to: int) -> int:
    return -(-size // to) * to


def find_module(target: Target, said: list[str]) -> Iterator[Any]:
    try:
        module = next(
            (
                each
                for each in bounded(for_each_module(target.prog))
                if each.name.string_() == b"pagedbg"
            ),
            None,
        )
        if module is None:
            return
        address = next(
            target.prog.read_u64(symbol.address)
            for symbol in module_symbols(module)
            if symbol.name == "pagedbg_rings"
        )
    except (*UNREADABLE, StopIteration):
        # The list or the module's symbols are damaged: its memory may be there all the
        # same.
        yield from _find_in_vmalloc(target)
        return
    if address:
        yield functools.partial(_module_at, target, address)


def _module_at(target: Target, address: int) -> _Module:
    try:
        return _Module(target, address)
    except PagedbgError:
        # The pointer may be damaged, and not what it points to.
        for make in _find_in_vmalloc(target):
            with contextlib.suppress(PagedbgError):
                found: _Module = make()
                return found
        raise


def _find_in_vmalloc(target: Target) -> Iterator[Any]:
    prog = target.prog
    for area in bounded(for_each_vmap_area(prog)):
        address = area.va_start.value_()
        with contextlib.suppress(FaultError):
            if prog.read_u64(address) == event_record.MAGIC:
                yield functools.partial(_Module, target, address)


def _probes(target: Target) -> tuple[dict[str, str], int | None]:
    """
    By event, the function that the module has a probe on, and how often these could not
    run; all, and None, if none of the probes is found.
    """
    prog = target.prog
    hooks = find_hooks(target)
    found, missed = set(), 0
    try:
        returning = prog.symbol("pre_handler_kretprobe").address
        for probe in _kprobes(prog):
            handler, counts = probe.pre_handler.value_(), [probe.nmissed]
            if handler == returning:
                of = container_of(probe, "struct kretprobe", "kp")
                handler, counts = of.handler.value_(), [of.nmissed, probe.nmissed]
            if not target.symbolize([handler])[0].endswith("[pagedbg]"):
                continue
            function = target.symbolize([probe.addr.value_()])[0].partition("+")[0]
            if function in hooks.values():
                found.add(function)
                missed += sum(count.value_() for count in counts)
    except UNREADABLE:
        return hooks, None
    if not found:
        return hooks, None
    return {
        event: function for event, function in hooks.items() if function in found
    }, missed


def _kprobes(prog: Program) -> Iterator[Object]:
    for bucket in prog["kprobe_table"]:
        for probe in bounded(
            hlist_for_each_entry("struct kprobe", bucket.address_of_(), "hlist")
        ):
            # Several at one place are in the list of one that stands for them.
            yield probe
            yield from bounded(
                list_for_each_entry("struct kprobe", probe.list.address_of_(), "list")
            )
