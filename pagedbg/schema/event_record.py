# SPDX-License-Identifier: GPL-2.0-or-later
"""
The structures of ``bpf/ring.h`` as NumPy views them, member for member, but for those
of filters (``schema/filter_record.py``); a test compares them with what a compiler
makes of the header.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAGIC = 0x676264656761705F
VERSION = 3

SET, RESET, SPLIT, COPY, SET_MIGRATE, DUMP, READ = range(1, 8)


class EventKind(NamedTuple):
    """
    A kind of event: its ``number`` in ``enum pagedbg_event``, its ``name`` where events
    are shown, and the ``word`` for it in ``--events`` and in the module. It is taken
    from the first of ``functions`` (of ``mm/page_owner.c``) that the kernel has, when
    that begins if ``at_entry`` (the page's record says all there is to know), otherwise
    when it returns.
    """

    number: int
    name: str
    word: str
    functions: tuple[str, ...]
    at_entry: bool


EVENT_KINDS = (
    EventKind(SET, "set", "set", ("__set_page_owner",), False),
    EventKind(RESET, "reset", "reset", ("__reset_page_owner",), True),
    EventKind(SPLIT, "split", "split", ("__split_page_owner",), False),
    # Before v5.16, of pages, and with the arguments the other way round.
    EventKind(COPY, "copy", "copy", ("__folio_copy_owner", "__copy_page_owner"), True),
    EventKind(
        SET_MIGRATE,
        "set migrate",
        "migrate",
        ("__folio_set_owner_migrate_reason", "__set_page_owner_migrate_reason"),
        False,
    ),
    EventKind(DUMP, "dump", "dump", ("__dump_page_owner",), True),
    EventKind(READ, "read", "read", ("read_page_owner",), True),
)
"""All kinds of events, each once; a test compares them with the C code."""

TRACEPOINTS = {"set": "mm_page_alloc", "reset": "mm_page_free"}
"""
Tracepoints of ``kmem`` by the event that they tell of. Where page_owner is off, they
stand in for it.
"""

EVENTS = len(EVENT_KINDS) + 1

OWN_SETS = 0
"""
In ``seen``, in the place of an event: allocations of pagedbg's own processes that would
have been recorded, but are left out.
"""

USUAL_WORDS = tuple(kind.word for kind in EVENT_KINDS if kind.number != READ)
"""
What is recorded unless something else is asked for: all but ``read``, of which one look
at page_owner's text makes as many as it has records.
"""

EVENT_NAMES = {kind.number: kind.name for kind in EVENT_KINDS}
"""What an event is called where it is shown."""

KINDS_BY_NAME = {kind.name: kind for kind in EVENT_KINDS}
KINDS_BY_WORD = {kind.word: kind for kind in EVENT_KINDS}

NESTED, NO_RECORD, TRACEPOINT = 1, 2, 4

ORDERS = 32
SPLIT_ORDERS = 16

MOST_ORDER = 20
"""
No allocation is larger: a gigantic page of 16 GiB has order 18 with pages of 64 KiB.
"""

NO_PFN = (1 << 64) - 1
"""The pfn of an event that is about no page."""

MOST_RECORDS = 1 << 56
"""No machine lives to see so many in one ring."""

# Physical addresses have 52 bits, and pages 4096 bytes at least. No machine lives to
# see later times.
_MOST_PFN, _MOST_TIME = 1 << 40, 1 << 62

RECORD: np.dtype[Any] = np.dtype(
    [
        ("seq", "<u8"),
        ("pfn", "<u8"),
        ("ts_nsec", "<u8"),
        ("time_nsec", "<u8"),
        ("mono_nsec", "<u8"),
        ("other_pfn", "<u8"),
        ("gfp_mask", "<u4"),
        ("handle", "<u4"),
        ("free_handle", "<u4"),
        ("pid", "<u4"),
        ("tgid", "<u4"),
        ("owner_pid", "<u4"),
        ("owner_tgid", "<u4"),
        ("cpu", "<u2"),
        ("event", "u1"),
        ("flags", "u1"),
        ("comm", "<u8", 2),
        ("owner_comm", "<u8", 2),
        ("order", "u1"),
        ("record_order", "u1"),
        ("new_order", "u1"),
        ("reason", "i1"),
        ("span_nsec", "<u4"),
        ("check", "<u8"),
    ]
)
"""
``struct pagedbg_record``; ``comm`` as two words
(:func:`pagedbg.schema.owner_record.decode_comm`).
"""

CPU: np.dtype[Any] = np.dtype(
    [
        ("head", "<u8"),
        ("forgotten", "<u8"),
        ("seen", "<u8", (EVENTS, ORDERS)),
        ("recorded", "<u8", (EVENTS, ORDERS)),
    ]
)
"""``struct pagedbg_cpu``"""

FREEZE: np.dtype[Any] = np.dtype(
    [
        ("on", "<u4"),
        ("least_order", "<u4"),
        ("time_nsec", "<u8"),
        ("mono_nsec", "<u8"),
        ("comm", "<u8", 2),
        ("pid", "<u4"),
        ("gfp_mask", "<u4"),
        ("order", "<i4"),
        ("reason", "<u4"),
    ]
)
"""``struct pagedbg_freeze``"""

FROZEN = 2
"""In ``active`` of the header: the rest of it is the filter that was in force."""

HEADER: np.dtype[Any] = np.dtype(
    [
        ("magic", "<u8"),
        ("version", "<u4"),
        ("record_size", "<u4"),
        ("cpus", "<u4"),
        ("slots", "<u4"),
        ("active", "<u4"),
        ("dummy_handle", "<u4"),
        ("memmap", "<u8"),
        ("mem_section", "<u8"),
        ("size", "<u8"),
        ("filters_at", "<u8"),
        ("cpus_at", "<u8"),
        ("cpu_stride", "<u8"),
        ("slots_at", "<u8"),
        ("splits", "<u8"),
        ("split_orders", "u1", SPLIT_ORDERS),
    ]
)
"""``struct pagedbg_header``"""


_WEIGHTS = np.array(
    [pow(69069, power, 1 << 64) for power in reversed(range(RECORD.itemsize // 8 - 1))],
    np.uint64,
)


def check_of(records: NDArray[Any]) -> NDArray[np.uint64]:
    """
    What ``check`` of each record has to be (``pagedbg_check()``).

    :param records: an array of :data:`RECORD`, in one piece
    """
    found: NDArray[np.uint64] = words_of(records)[:, :-1] @ _WEIGHTS
    return np.invert(found, out=found)


def words_of(records: NDArray[Any]) -> NDArray[np.uint64]:
    """Records as rows of 64-bit words; ``check`` is the last."""
    words: NDArray[np.uint64] = records.view("<u8").reshape(
        len(records), RECORD.itemsize // 8
    )
    return words


def plausible(records: NDArray[Any] | Mapping[str, Any]) -> NDArray[np.bool_]:
    """
    Whether each record says what one can say: who adds up or allocates by it need not
    look again.

    :param records: an array of :data:`RECORD`, or its members
    """
    sane: NDArray[np.bool_] = (
        (records["seq"] > 0)
        & (records["seq"] < MOST_RECORDS)
        & (records["event"] > 0)
        & (records["event"] < EVENTS)
    )
    for name in ("order", "record_order", "new_order"):
        sane &= records[name] <= MOST_ORDER
    for name in ("pfn", "other_pfn"):
        sane &= (records[name] < _MOST_PFN) | (records[name] == NO_PFN)
    for name in ("ts_nsec", "time_nsec", "mono_nsec"):
        sane &= records[name] < _MOST_TIME
    return sane


def summed(cpus: NDArray[Any]) -> dict[str, Any]:
    """
    What all CPUs have counted, from an array of :data:`CPU`, as ``counts`` of a
    capture's ``meta.json`` has it.
    """
    return {
        "forgotten": int(cpus["forgotten"].sum()),
        "seen": cpus["seen"].sum(axis=0, dtype=np.uint64).tolist(),
        "recorded_by": cpus["recorded"].sum(axis=0, dtype=np.uint64).tolist(),
    }


def most_slots(cpus: int, memory: int) -> int:
    """
    How many slots the rings of a machine may have at most (``kmod/rings.c``): all
    together take no more than a sixteenth of its memory.

    :param memory: in bytes
    """
    return 1 << max(memory // 16 // (cpus * RECORD.itemsize), 1).bit_length() - 1


def is_ring_size(slots: int) -> bool:
    """
    Whether a CPU's ring may have so many slots (``kmod/rings.c``: a power of two,
    ``FEWEST_SLOTS`` to ``MOST_SLOTS``).
    """
    return 64 <= slots <= 1 << 20 and not slots & (slots - 1)


def taken(array: NDArray[Any], which: NDArray[Any]) -> NDArray[Any]:
    """
    Some elements of an array, by their indices or by a mask: of structures as bytes,
    since NumPy copies them member by member.
    """
    structured = array.dtype.names is not None
    found: NDArray[Any] = (
        array.view(f"V{array.dtype.itemsize}")[which] if structured else array[which]
    )
    return found.view(array.dtype)


def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays of :data:`RECORD` behind each other, of none an empty one, as bytes."""
    if len(parts) == 1:
        return parts[0]
    bytes_ = [part.view(f"V{RECORD.itemsize}") for part in parts]
    found = np.concatenate([np.zeros(0, f"V{RECORD.itemsize}"), *bytes_])
    return found.view(RECORD)
