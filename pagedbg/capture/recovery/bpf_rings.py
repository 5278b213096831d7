# SPDX-License-Identifier: GPL-2.0-or-later
"""The rings of BPF programs in a dump: values of the maps that a program uses."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from drgn import FaultError, Object, TypeKind, container_of
from drgn.helpers.linux.bpf import bpf_prog_for_each, bpf_prog_used_maps
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.percpu import per_cpu_ptr

from pagedbg.capture.backends.bpf_programs import (
    COMBINED,
    KPROBE,
    PENDING,
    TRACEPOINT,
    TRAMPOLINE,
)
from pagedbg.capture.backends.hooks import find_hooks
from pagedbg.capture.recovery.bpf_maps import map_groups
from pagedbg.capture.recovery.recovered_rings import RecoveredRecorder
from pagedbg.errors import PagedbgError
from pagedbg.mm.bulk_read import read_array
from pagedbg.mm.lost_slabs import LOST_SLABS, in_lost_slab
from pagedbg.mm.page_owner import page_owner_inited
from pagedbg.schema.capture_meta import BPF
from pagedbg.schema.event_record import CPU, HEADER, RECORD, TRACEPOINTS
from pagedbg.schema.filter_record import FILTER, FILTERS
from pagedbg.schema.former_rings import FORMER_HEADER
from pagedbg.target.links import UNREADABLE, bounded

if TYPE_CHECKING:
    from pagedbg.target.target import Target


_ARRAYS = {
    "pagedbg_header": HEADER,
    "pagedbg_filter": FILTER,
    "pagedbg_cpu": CPU,
    "pagedbg_slot": RECORD,
}


@dataclasses.dataclass
class _Programs:
    """Programs that use one header, and the maps that they use."""

    programs: list[Object]
    maps: dict[str, Object]


class _Bpf(RecoveredRecorder):
    """Programs and their maps, arrays of one structure each."""

    backend = BPF

    def __init__(self, target: Target, found: _Programs) -> None:
        missing = _ARRAYS.keys() - found.maps.keys()
        if missing:
            raise PagedbgError(f"none of its programs has the map {min(missing)}")
        self._arrays = {
            what: _array(found.maps[name]) for name, what in _ARRAYS.items()
        }
        super().__init__(target.prog, self._arrays[HEADER])
        counts = 1, 2, self.cpus, self.cpus * self.slots
        for (name, what), count in zip(_ARRAYS.items(), counts, strict=True):
            _check_size(found.maps[name], what, count)
        self._stacks = found.maps.get("pagedbg_stack")
        self._describe(target, found.programs, "pagedbg_pending" in found.maps)

    def _describe(self, target: Target, programs: list[Object], combined: bool) -> None:
        kprobe, raw_tracepoint, tracing = (
            target.prog.constant(f"BPF_PROG_TYPE_{kind}").value_()
            for kind in ("KPROBE", "RAW_TRACEPOINT", "TRACING")
        )
        kinds = {program.type.value_() for program in programs}
        hooks = find_hooks(target)
        if not programs:
            # Only its maps are in the dump.
            self.missed = None
            self.attach, self.functions = TRAMPOLINE, hooks
            if combined:
                self.attach, self.functions = COMBINED, {**hooks, **TRACEPOINTS}
            return
        if not page_owner_inited(target.prog):
            self.attach, self.functions = TRACEPOINT, dict(TRACEPOINTS)
        elif raw_tracepoint in kinds:
            self.attach = COMBINED if combined else TRACEPOINT
            self.functions = {**TRACEPOINTS, **_by_kprobe(hooks, programs)}
        elif kprobe in kinds:
            self.attach, self.functions = KPROBE, _by_kprobe(hooks, programs)
        else:
            names = [
                _text(program.aux.attach_func_name)
                for program in programs
                if program.type.value_() == tracing
            ]
            self.attach, self.functions = (
                TRAMPOLINE,
                {event: name for event, name in hooks.items() if name in names},
            )
        try:
            self.missed = sum(_misses(program) for program in programs)
        except UNREADABLE:
            self.missed = None

    def _address(self, what: np.dtype[Any]) -> tuple[int, int]:
        return self._arrays[what], what.itemsize

    def stack(self, number: int) -> list[int]:
        """The return addresses of a BPF stack id (``struct stack_map_bucket``)."""
        if self._stacks is None:
            return []
        table = container_of(self._stacks, "struct bpf_stack_map", "map")
        try:
            if number >= table.n_buckets.value_() or not (
                bucket := table.buckets[number]
            ):
                return []
            address, count = bucket.data.address_of_().value_(), bucket.nr.value_()
            if count > self._stacks.value_size.value_() // 8:
                return []
            pcs, known = read_array(self.prog, address, count, np.dtype("<u8"))
        except UNREADABLE:
            return []
        return pcs[known].tolist()  # type: ignore[no-any-return]


def find_bpf(target: Target, said: list[str]) -> Iterator[Any]:
    if not target.has_symbol("prog_idr"):
        return
    found: dict[int, _Programs] = {}
    lost: list[BaseException] = []
    try:
        for program in bounded(bpf_prog_for_each(target.prog)):
            try:
                maps = {
                    _text(used.name): used
                    for used in bounded(bpf_prog_used_maps(program))
                }
            except UNREADABLE as error:
                lost.append(error)
                continue
            if (header := maps.get("pagedbg_header")) is not None:
                group = found.setdefault(header.value_(), _Programs([], {}))
                group.programs.append(program)
                group.maps.update(maps)
    except UNREADABLE as error:
        lost.append(error)
    if lost:
        for maps in map_groups(target.prog):
            header = maps["pagedbg_header"].value_()
            found.setdefault(header, _Programs([], {})).maps.update(maps)
        said.append(_said_of_lost(target, lost[0], bool(found)))
    for group in found.values():
        if (table := group.maps.get("pagedbg_pending")) is not None:
            with contextlib.suppress(*UNREADABLE):
                if waiting := _pending(table):
                    said.append(
                        f"{waiting} allocations by compaction or as a contiguous range"
                        " had not been recorded yet."
                    )
        yield functools.partial(_Bpf, target, group)


def _said_of_lost(target: Target, error: BaseException, found: bool) -> str:
    """A sentence on BPF programs that cannot be read."""
    lost = in_lost_slab(target.prog, error)
    reason = LOST_SLABS if lost else str(error).rstrip(".")
    if found:
        return (
            f"Not all of BPF can be read, and rings were looked for by name: {reason}."
        )
    return (
        "Not all of BPF can be read, and no rings were found by name in what there is"
        f" of the kernel's memory: {reason}."
    )


def _by_kprobe(hooks: dict[str, str], programs: list[Object]) -> dict[str, str]:
    """
    The functions that have kprobes, by event: programs are called after it, set_entry,
    set_migrate_entry, as far as there is room for a name.
    """
    names = [_text(program.aux.name).rpartition("_")[0] for program in programs]
    return {
        event: name for event, name in hooks.items() if event.replace(" ", "_") in names
    }


def _pending(bpf_map: Object) -> int:
    """
    How many allocations had begun that nobody had told the end of (``bpf/pending.h``).
    """
    array = container_of(bpf_map, "struct bpf_array", "map")
    count = min(bpf_map.max_entries.value_(), PENDING)
    found, known = read_array(
        bpf_map.prog_, array.value.address_, count, np.dtype("<u8")
    )
    return int(np.count_nonzero(found[known]))


def _array(bpf_map: Object) -> int:
    """Where the values of an array are."""
    array = container_of(bpf_map, "struct bpf_array", "map")
    address: int | None = array.value.address_
    assert address is not None
    return address


def _check_size(bpf_map: Object, what: np.dtype[Any], count: int) -> None:
    """
    :raises PagedbgError: if an array has not so many of a structure: each an element,
        or one element has all
    """
    array = container_of(bpf_map, "struct bpf_array", "map")
    size, elements = array.elem_size.value_(), bpf_map.max_entries.value_()
    sizes = {what.itemsize * count}
    if what is HEADER:
        sizes.add(FORMER_HEADER.itemsize)
    elif what is FILTER:
        # Of rings that could not be frozen there were no more.
        sizes.add(FILTERS.itemsize)
    if size * elements not in sizes:
        raise PagedbgError(f"its map {_text(bpf_map.name)} is damaged")


def _misses(program: Object) -> int:
    """``recursion_misses`` of its ``fdinfo`` (``bpf_prog_get_stats()``)."""
    return sum(
        _number(per_cpu_ptr(program.stats, cpu).misses)
        for cpu in for_each_possible_cpu(program.prog_)
    )


def _number(value: Object) -> int:
    """The number in a ``u64_stats_t``, which wraps it several times."""
    while value.type_.unaliased_kind() == TypeKind.STRUCT:
        kind: Any = value.type_.unaliased()
        value = value.member_(kind.members[0].name)
    return int(value.value_())


def _text(chars: Object) -> str:
    try:
        text: str = chars.string_().decode(errors="replace")
    except FaultError:
        return ""
    return text
