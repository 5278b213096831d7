# SPDX-License-Identifier: GPL-2.0-or-later
"""
Recorders in a dump: the rings that were being written when the machine died, found
again and made a capture.

The module's are where its variable ``pagedbg_rings`` points to; without its symbols,
where a piece of vmalloc memory begins like them. BPF's are the values of maps that a
loaded program uses. Nothing is taken for a ring that does not begin with ``struct
pagedbg_header`` of ``bpf/ring.h``.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import errno
import functools
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from drgn import FaultError, Object, Program, TypeKind, container_of
from drgn.helpers.linux.bpf import bpf_prog_for_each, bpf_prog_used_maps
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.list import hlist_for_each_entry, list_for_each_entry
from drgn.helpers.linux.mm import for_each_vmap_area
from drgn.helpers.linux.module import for_each_module
from drgn.helpers.linux.percpu import per_cpu_ptr
from numpy.typing import NDArray

from pagedbg.capture.backends.bpf import BPF, KPROBE, TRACEPOINT, TRAMPOLINE
from pagedbg.capture.backends.hooks import TRACEPOINTS, find_hooks
from pagedbg.capture.backends.kmod import KMOD, MODULE
from pagedbg.capture.kernel_description import kernel_of, names_of
from pagedbg.capture.kernel_filter import describe_filter
from pagedbg.capture.rings import Settled, settled_records
from pagedbg.capture.writer import CaptureWriter
from pagedbg.errors import PagedbgError
from pagedbg.mm.bulk_read import read_array
from pagedbg.mm.page_owner import page_owner_inited
from pagedbg.mm.sched_clock import known_local_clock
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import (
    Begun,
    Counts,
    Cpu,
    Ended,
    Kernel,
    Meta,
    Names,
    Process,
    Recovered,
    Since,
    storable,
)
from pagedbg.schema.event_record import CPU, FILTER, HEADER, RECORD
from pagedbg.target.links import UNREADABLE, bounded
from pagedbg.target.symbols import module_symbols

if TYPE_CHECKING:
    from pagedbg.target.opening import Target

# By so many the number of the newest record and the sum of those of each kind may
# differ: whoever was stopped had counted in one place only.
_COUNTING = 4

UNKNOWN_FILTER = "(the filter could not be read)"


class Recorder(abc.ABC):
    """
    A back end in a dump. ``backend`` and ``attach`` are as in a capture's
    ``meta.json``, ``functions`` what it was attached to by event, ``missed`` how often
    nothing could run where an event was (None if that cannot be read), ``header`` its
    ``struct pagedbg_header``.
    """

    backend: str
    attach: str
    functions: dict[str, str]
    missed: int | None

    def __init__(self, prog: Program, header: int) -> None:
        """
        :param header: address of the header
        :raises PagedbgError: if there is none
        """
        self.prog = prog
        found, known = read_array(prog, header, 1, HEADER)
        if not known[0]:
            raise PagedbgError("the header of its rings is not in the dump")
        self.header = found[0]
        if int(self.header["magic"]) != event_record.MAGIC:
            raise PagedbgError("the header of its rings is damaged")
        if (self.header["version"], self.header["record_size"]) != (
            event_record.VERSION,
            RECORD.itemsize,
        ):
            raise PagedbgError(
                f"its rings are of version {int(self.header['version'])}, and this"
                f" pagedbg reads {event_record.VERSION}"
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
    def filters(self) -> list[str]:
        """
        What it was to record, as it would be typed, before the last change and after
        it, or once if it was not changed; empty if that cannot be read. What was in
        force before is not kept.
        """
        address, _ = self._address(FILTER)
        active = int(self.header["active"])
        found, known = read_array(self.prog, address, 2, FILTER)
        if active > 1 or not known.all():
            return []
        try:
            # One that is asked for nothing is there before the first and after the
            # last.
            words = [
                describe_filter(self.prog, each)
                for each in (found[1 - active], found[active])
                if each["events"]
            ]
        except UNREADABLE:
            return []
        return list(dict.fromkeys(words))

    @property
    def recorded(self) -> int | None:
        """How many events it had recorded; None if that cannot be read."""
        counters, known = self.counters
        return int(counters["head"].sum()) if known.all() else None

    def rings(self) -> Iterator[tuple[int, Settled]]:
        """Each CPU's ring, with the number of the CPU."""
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
            yield (
                cpu,
                settled_records(
                    slots, whole, head if head or known[cpu] else None, cpu
                ),
            )

    def stack(self, number: int) -> list[int]:
        """
        The return addresses of a stack that is not in the kernel's depot, innermost
        first; empty if there is none.
        """
        return []


def find_recorders(target: Target) -> tuple[list[Recorder], list[str]]:
    """
    Find what was recording in a dump.

    :return: the recorders, and sentences on those whose rings cannot be used
    """
    found: list[Recorder] = []
    said: list[str] = []
    for what, find in (
        ("The kernel module pagedbg", _find_module),
        ("A recorder with BPF", _find_bpf),
    ):
        try:
            for make in find(target, said):
                try:
                    found.append(make())
                except PagedbgError as error:
                    said.append(f"{what} was recording, but {error}.")
                except UNREADABLE as error:
                    said.append(
                        f"{what} was recording, but what it was cannot be read:"
                        f" {str(error).rstrip('.')}."
                    )
        except UNREADABLE as error:
            said.append(f"{what} cannot be looked for: {str(error).rstrip('.')}.")
    return found, said


def recover(
    target: Target, recorder: Recorder, said: list[str], directory: Path
) -> None:
    """
    Write what is in a recorder's rings as a capture.

    :param said: what else there is to say of recorders in this dump
    :param directory: where to; must be empty
    """
    kernel = kernel_of(target)
    functions = find_hooks(target) if kernel["page_owner"] else TRACEPOINTS
    counters, known = recorder.counters
    filters = recorder.filters
    unreadable: list[str] = []
    names = _sane(names_of(target.prog, unreadable), unreadable)
    if unreadable:
        said = [*said, f"The dump does not hold the names of {', '.join(unreadable)}."]
    try:
        meta = Meta(
            kernel=msgspec.convert(kernel, Kernel),
            backend=recorder.backend,  # type: ignore[arg-type]
            attach=recorder.attach,  # type: ignore[arg-type]
            functions=recorder.functions,  # type: ignore[arg-type]
            failed={
                event: "nothing was attached"  # type: ignore[misc]
                for event in functions
                if event not in recorder.functions
            },
            slots=recorder.slots,
            ring=True,
            filters=[
                Since(0, storable(words)) for words in filters or [UNKNOWN_FILTER]
            ],
            begun=Begun(0, ""),
            names=names,
            recorder=Process(0, 0),
            recovered=Recovered(
                storable(target.name),
                bool(known.all() and filters),
                recorder.missed is not None,
                [*map(storable, said)],
            ),
            counts=Counts(missed=recorder.missed or 0, **event_record.summed(counters)),
        )
    except msgspec.ValidationError as error:
        raise PagedbgError(
            "what was recorded cannot be made out, since the dump contradicts itself"
            f" ({error})"
        ) from None
    assert meta.recovered is not None
    writer = CaptureWriter(directory)
    writer.begin(meta)
    with contextlib.closing(writer):
        latest = 0
        handles: set[int] = set()
        for _, ring in recorder.rings():
            kept = writer.append(ring.records)
            if kept < len(ring.records):
                raise OSError(errno.ENOSPC, writer.fault)
            counts = meta.counts
            meta.recovered.counters &= not ring.head_damaged
            counts.recorded += ring.newest
            counts.read += kept
            counts.lost += ring.overwritten
            counts.left_out += ring.left_out
            counts.damaged += ring.damaged
            counts.cpus.append(Cpu(ring.newest + 1, ring.overwritten, kept))
            latest = max(latest, int(ring.records["mono_nsec"].max(initial=0)))
            if not kernel["page_owner"]:
                handles.update(ring.records["handle"].tolist())
        meta.ended = Ended(
            latest,
            _crash_time(target),
            storable(f"with {target.name}"),
            known_local_clock(target.prog),
        )
        for handle in sorted(handles):
            if pcs := recorder.stack(handle):
                os.write(
                    writer.stacks,
                    json.dumps(
                        {"handle": handle, "stack": target.symbolize(pcs)}
                    ).encode()
                    + b"\n",
                )


def _sane(names: dict[str, Any], unreadable: list[str]) -> Names:
    """
    What of the names a capture can hold; adds those that are not fit to the ones that
    are not in the dump.
    """
    sane: dict[str, Any] = {}
    for name, value in names.items():
        try:
            sane[name] = getattr(
                msgspec.convert({name: value}, Names, strict=False), name
            )
        except msgspec.ValidationError:
            unreadable.append(name)
    return Names(**sane)


def _crash_time(target: Target) -> str:
    """
    When the kernel died by its own clock, if it had the time to write that down
    (``crash_save_vmcoreinfo()``).
    """
    text = target.vmcoreinfo.get("CRASHTIME", "")
    if not re.fullmatch("[0-9]{1,11}", text):
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(int(text)))


# ---- the module ----


class _Module(Recorder):
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


def _find_module(target: Target, said: list[str]) -> Iterator[Any]:
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


# ---- BPF ----

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


class _Bpf(Recorder):
    """Programs and their maps, arrays of one structure each."""

    backend = BPF

    def __init__(self, target: Target, found: _Programs) -> None:
        missing = _ARRAYS.keys() - found.maps.keys()
        if missing:
            raise PagedbgError(f"none of its programs has the map {min(missing)}")
        self._arrays = {
            what: _array(found.maps[name], what) for name, what in _ARRAYS.items()
        }
        super().__init__(target.prog, self._arrays[HEADER])
        entries = tuple(found.maps[name].max_entries.value_() for name in _ARRAYS)
        if entries != (1, 2, self.cpus, self.cpus * self.slots):
            raise PagedbgError("the header of its rings is damaged")
        self._stacks = found.maps.get("pagedbg_stack")
        self._describe(target, found.programs)

    def _describe(self, target: Target, programs: list[Object]) -> None:
        kprobe, raw_tracepoint, tracing = (
            target.prog.constant(f"BPF_PROG_TYPE_{kind}").value_()
            for kind in ("KPROBE", "RAW_TRACEPOINT", "TRACING")
        )
        kinds = {program.type.value_() for program in programs}
        hooks = find_hooks(target)
        if not page_owner_inited(target.prog):
            self.attach, self.functions = TRACEPOINT, dict(TRACEPOINTS)
        elif kprobe in kinds:
            # Called after the event: set_entry, set_migrate_return, as far as there is
            # room for a name.
            names = [_text(program.aux.name).rpartition("_")[0] for program in programs]
            self.attach, self.functions = (
                KPROBE,
                {
                    event: name
                    for event, name in hooks.items()
                    if event.replace(" ", "_") in names
                },
            )
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
            if raw_tracepoint in kinds:
                self.attach, self.functions = (
                    TRACEPOINT,
                    {**self.functions, "set": TRACEPOINTS["set"]},
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


def _find_bpf(target: Target, said: list[str]) -> Iterator[Any]:
    if not target.has_symbol("prog_idr"):
        return
    found: dict[int, _Programs] = {}
    unread = 0
    for program in bounded(bpf_prog_for_each(target.prog)):
        try:
            maps = {
                _text(used.name): used for used in bounded(bpf_prog_used_maps(program))
            }
        except UNREADABLE:
            unread += 1
            continue
        if (header := maps.get("pagedbg_header")) is not None:
            group = found.setdefault(header.value_(), _Programs([], {}))
            group.programs.append(program)
            group.maps.update(maps)
    if unread:
        said.append(
            f"{unread} BPF programs could not be read: they may have been recording."
        )
    for group in found.values():
        yield functools.partial(_Bpf, target, group)


def _array(bpf_map: Object, what: np.dtype[Any]) -> int:
    """Where the first element of an array is."""
    array = container_of(bpf_map, "struct bpf_array", "map")
    if array.elem_size.value_() != what.itemsize:
        raise PagedbgError(f"its map {_text(bpf_map.name)} is damaged")
    address: int | None = array.value.address_
    assert address is not None
    return address


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
