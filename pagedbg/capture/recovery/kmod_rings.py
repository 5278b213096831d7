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

from pagedbg.capture.backends.hooks import find_hooks
from pagedbg.capture.recovery.recovered_rings import RecoveredRecorder
from pagedbg.errors import PagedbgError
from pagedbg.mm.bulk_read import read_array
from pagedbg.mm.page_owner import page_owner_inited
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import KMOD, module_attach
from pagedbg.schema.event_record import CPU, HEADER, RECORD, TRACEPOINTS
from pagedbg.schema.filter_record import FILTER, FILTERS
from pagedbg.schema.stack_record import STACK, addresses_of, stacks_behind
from pagedbg.target.links import UNREADABLE, bounded
from pagedbg.target.symbols import symbols_of_module

if TYPE_CHECKING:
    from pagedbg.target.target import Target


_NAME = b"pagedbg"

# Nobody has so many probes on one tracepoint.
_MOST_PROBES = 64


class _Module(RecoveredRecorder):
    """The kernel module: all in one piece, at offsets that the header tells."""

    backend = KMOD

    def __init__(self, target: Target, address: int) -> None:
        super().__init__(target.prog, address)
        self._base = address
        self._check()
        if self._stacks:
            if page_owner_inited(self.prog):
                raise PagedbgError(
                    "without page_owner (hooks=kmem), which was on: its stacks are not"
                    " known from page_owner's"
                )
            self.functions, self.missed = dict(TRACEPOINTS), 0
        else:
            self.functions, self.missed = _probes(target)
        self.attach = module_attach(self.functions)

    def _check(self) -> None:
        """What ``pagedbg_make_rings()`` of ``kmod/rings.c`` computes."""
        page = self.prog["PAGE_SIZE"].value_()
        filters_at, stride = _aligned(HEADER.itemsize, 64), _aligned(CPU.itemsize, 64)
        # Modules that had only two filters had them in the same page.
        cpus_at = _aligned(filters_at + FILTERS.itemsize, page)
        slots_at = _aligned(cpus_at + self.cpus * stride, page)
        self._stacks, self._stacks_at = stacks_behind(self.header, page)
        size = self._stacks_at
        # So many slots less would leave room for them.
        if self._stacks and self._begins_like_stacks():
            size += self._stacks * STACK.itemsize
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

    def _begins_like_stacks(self) -> bool:
        first: int = self.prog.read_u64(self._base + self._stacks_at)
        return first == event_record.MAGIC

    def stack(self, number: int) -> list[int]:
        """
        The return addresses of a stack in its table, innermost first; empty if it is
        not there.
        """
        if number >= self._stacks:
            return []
        address = self._base + self._stacks_at + number * STACK.itemsize
        found, known = read_array(self.prog, address, 1, STACK)
        return addresses_of(found[0]) if known.all() else []


def _aligned(size: int, to: int) -> int:
    return -(-size // to) * to


def find_module(target: Target, said: list[str]) -> Iterator[Any]:
    try:
        symbols = symbols_of_module(target.prog, _NAME)
        if symbols is None:
            return
        address = target.prog.read_u64(symbols["pagedbg_rings"])
    except UNREADABLE:
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
    By event, the function or tracepoint that the module hears of it from, and how many
    events it missed; all, and None, if none of the probes is found.
    """
    prog = target.prog
    hooks = find_hooks(target)
    found = set()
    try:
        missed = _waiting(prog)
        if _listens(target, TRACEPOINTS["reset"]):
            hooks["reset"] = TRACEPOINTS["reset"]
            found |= {hooks["reset"], hooks["set"]}
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


def _waiting(prog: Program) -> int:
    """
    How many allocations it knew of and had not recorded (``kmod/record.c``): those
    without a place, and those whose record was not written when the machine died, or
    not looked for yet.
    """
    symbols = symbols_of_module(prog, _NAME) or {}
    waiting = 0
    for name, count in (("pagedbg_pending", 4096), ("pagedbg_displaced", 64)):
        # A module that had only kprobes has none of them.
        if name in symbols:
            words = np.frombuffer(prog.read(symbols[name], 8 * count), np.uint64)
            waiting += int(np.count_nonzero(words))
    if "pagedbg_unplaced" in symbols:
        waiting += int(prog.read_u64(symbols["pagedbg_unplaced"]))
    return waiting


def _listens(target: Target, tracepoint: str) -> bool:
    """Whether the module has a probe on a tracepoint."""
    prog = target.prog
    address = prog.symbol(f"__tracepoint_{tracepoint}").address
    functions = Object(prog, "struct tracepoint", address=address).funcs
    if not functions:
        return False
    for index in range(_MOST_PROBES):
        function = functions[index].func.value_()
        if not function:
            break
        if target.symbolize([function])[0].endswith("[pagedbg]"):
            return True
    return False


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
