# SPDX-License-Identifier: GPL-2.0-or-later
"""
Stack depot
-----------

Helpers for ``include/linux/stackdepot.h``: stacks by handle, one or very many.

drgn has ``stack_depot_fetch()`` for one handle that is known to be good. Here a handle
is checked before it is followed, and thousands are read pool by pool.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
from drgn import IntegerLike, Program, TypeKind, sizeof
from drgn.helpers.common.prog import takes_program_or_default

from pagedbg.mm.bulk_read import byte_order, offset_of, read_array
from pagedbg.target.links import Damaged

__all__ = ("StackDepot", "stack_depot_fetch")

# lib/stackdepot.c: DEPOT_STACK_ALIGN, and before that STACK_ALLOC_ALIGN, since the
# depot exists.
_DEPOT_STACK_ALIGN = 4

# depot_stack_handle_t
_HANDLE_BITS = 32


class StackDepot:
    """
    The stack depot of a program.

    What could not be read is in :attr:`faults`: a sentence for each handle.
    """

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self._stacks: dict[int, tuple[int, ...]] = {0: ()}
        self._pool: tuple[int, bytes, Any] | None = None
        self._pool_addresses: list[int] = []
        self.faults: dict[int, str] = {}
        self._layout()

    def _layout(self) -> None:
        prog = self._prog
        bits = _bit_fields(prog)
        # Since Linux kernel commit 961c949b012f ("lib/stackdepot: rename slab to pool")
        # (in v6.3), slabindex is pool_index. Since a6c1d9cb9a68 ("stackdepot: rename
        # pool_index to pool_index_plus_1") (in v6.9-rc3) it is pool_index_plus_1.
        # Between 3ee34eabac2a ("lib/stackdepot: fix first entry having a 0-handle") (in
        # v6.9-rc1, v6.8.3) and that it counted from one without saying so, which only
        # the handle stored in the record tells.
        self._biases: tuple[int, ...]
        if "pool_index_plus_1" in bits:
            self._index, self._biases = bits["pool_index_plus_1"], (1,)
        elif "pool_index" in bits:
            self._index, self._biases = bits["pool_index"], (0, 1)
        else:
            self._index, self._biases = bits.get("slabindex", (0, 0)), (0,)
        self._offset, extra = bits.get("offset", (0, 0)), bits.get("extra", (0, 0))
        if (
            not self._index[1]
            or not self._offset[1]
            or any(
                at + width > _HANDLE_BITS
                for at, width in (self._index, self._offset, extra)
            )
        ):
            raise Damaged(
                "the types of this kernel are damaged: union handle_parts has not the"
                " parts of a handle"
            )
        self._extra_mask = ((1 << extra[1]) - 1) << extra[0]
        self._pool_size = 1 << (self._offset[1] + _DEPOT_STACK_ALIGN)
        record = prog.type("struct stack_record")
        self._size_at, self._handle_at = (
            offset_of(record, "size"),
            offset_of(record, "handle"),
        )
        self._entries_at = offset_of(record, "entries")
        if max(self._size_at, self._handle_at) + 4 > self._entries_at:
            raise Damaged(
                "the types of this kernel are damaged: the entries of struct"
                " stack_record do not come last"
            )
        self._word = struct.Struct(("<" if byte_order(prog) == "<" else ">") + "I")
        self._pc = np.dtype(f"{byte_order(prog)}u{sizeof(prog.type('unsigned long'))}")

    def _read_pool_addresses(self) -> None:
        prog = self._prog
        # pools_num (6.8 and later) counts them; before, pool_index, and before the
        # pools got that name depot_index, is the one in use.
        for name, more in (("pools_num", 0), ("pool_index", 1), ("depot_index", 1)):
            try:
                count = prog[name].value_() + more
                break
            except LookupError:
                continue
        else:
            raise LookupError("the number of the stack depot's pools is not known")
        # More than a handle can tell apart there are not.
        count = max(0, min(count, 1 << self._index[1]))
        # Renamed in Linux kernel commit 961c949b012f ("lib/stackdepot: rename slab to
        # pool") (in v6.3).
        try:
            pools = prog["stack_pools"]
        except LookupError:
            pools = prog["stack_slabs"]
        # A pointer where the greatest number of pools is a boot parameter, else an
        # array.
        address = (
            pools.value_()
            if pools.type_.unaliased_kind() == TypeKind.POINTER
            else pools.address_
        )
        self._pool_addresses = read_array(prog, address, count, self._pc)[0].tolist()

    @property
    def pool_size(self) -> int:
        """How many bytes a pool has."""
        return self._pool_size

    def pools(self) -> list[int]:
        """Return the addresses of the pools that there are."""
        self._read_pool_addresses()
        return [address for address in self._pool_addresses if address]

    def fetch(self, handle: IntegerLike) -> tuple[int, ...]:
        """
        Return the return addresses of a stack, innermost first.

        :param handle: ``depot_stack_handle_t``; zero stands for no stack
        :return: empty if there is none, or if it cannot be read: then :attr:`faults`
            says why
        """
        return self.fetch_many((int(handle),))[int(handle)]

    def fetch_many(self, handles: Iterable[int]) -> dict[int, tuple[int, ...]]:
        """
        Return the stack of each distinct handle. They are followed pool by pool, so
        that each pool is read once.
        """
        wanted = {handle: handle & ~self._extra_mask for handle in handles}
        for number in sorted(
            set(wanted.values()).difference(self._stacks), key=self._pool_field
        ):
            try:
                self._stacks[number] = self._decode(number)
            except _BadHandle as error:
                self._stacks[number] = ()
                self.faults[number] = str(error)
        # A running kernel goes on filling the pool.
        self._pool = None
        return {handle: self._stacks[number] for handle, number in wanted.items()}

    def _pool_field(self, handle: int) -> int:
        return (handle >> self._index[0]) & ((1 << self._index[1]) - 1)

    def _decode(self, handle: int) -> tuple[int, ...]:
        field = self._pool_field(handle)
        offset = (
            (handle >> self._offset[0]) & ((1 << self._offset[1]) - 1)
        ) << _DEPOT_STACK_ALIGN
        problem = ""
        for bias in self._biases:
            try:
                return self._record(handle, field - bias, offset)
            except _BadHandle as error:
                problem = problem or str(error)
        raise _BadHandle(problem)

    def _record(self, handle: int, index: int, offset: int) -> tuple[int, ...]:
        if index >= len(self._pool_addresses):
            # Perhaps a running kernel has added one.
            self._read_pool_addresses()
        if not 0 <= index < len(self._pool_addresses):
            raise _BadHandle(
                f"handle {handle:#x} points to pool {index}, but the stack depot has"
                f" {len(self._pool_addresses)}"
            )
        pool, known = self._read_pool(index)
        if offset + self._entries_at > len(pool):
            raise _BadHandle(f"handle {handle:#x} points behind its pool")
        size = self._word.unpack_from(pool, offset + self._size_at)[0]
        end = offset + self._entries_at + size * self._pc.itemsize
        if end > len(pool):
            raise _BadHandle(
                f"the stack of handle {handle:#x} claims {size} frames, more than its"
                " pool holds"
            )
        if not known[offset:end].all():
            raise _BadHandle(f"the stack of handle {handle:#x} could not be read")
        if (
            self._word.unpack_from(pool, offset + self._handle_at)[0]
            & ~self._extra_mask
            != handle
        ):
            raise _BadHandle(
                f"handle {handle:#x} points to a record that is not its own"
            )
        return tuple(
            np.frombuffer(pool, self._pc, size, offset + self._entries_at).tolist()
        )

    def _read_pool(self, index: int) -> tuple[bytes, Any]:
        """A pool's bytes, and for each whether it could be read."""
        if self._pool is None or self._pool[0] != index:
            address = self._pool_addresses[index]
            if not address:
                raise _BadHandle(f"pool {index} of the stack depot is not there")
            data, known = read_array(
                self._prog, address, self._pool_size, np.dtype(np.uint8)
            )
            self._pool = (index, data.tobytes(), known)
        return self._pool[1:]


class _BadHandle(Exception):
    """Why a handle has no stack."""


def _bit_fields(prog: Program) -> dict[str, tuple[int, int]]:
    """
    The first bit and the number of bits of each part of a handle (``union
    handle_parts``).
    """
    fields = {}
    for member in prog.type("union handle_parts").members or ():
        if member.type.kind == TypeKind.STRUCT:
            for part in member.type.members or ():
                if (
                    part.name
                    and part.bit_offset is not None
                    and part.bit_field_size is not None
                ):
                    fields[part.name] = (part.bit_offset, part.bit_field_size)
    return fields


@takes_program_or_default
def stack_depot_fetch(prog: Program, handle: IntegerLike) -> tuple[int, ...]:
    """
    Return the return addresses of one stack, innermost first; empty for a handle of
    zero or a bad one.

    :param handle: ``depot_stack_handle_t``
    """
    return StackDepot(prog).fetch(handle)
