# SPDX-License-Identifier: GPL-2.0-or-later
"""
pagedbg's own memory among vmalloc areas: the rings that its recorders write events to,
and what goes with them (``bpf/ring.h``). Areas are told by what they begin with, so
that those of a recorder that nobody could find any more are told, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from drgn import FaultError, Program, sizeof

from pagedbg.mm.bulk_read import number, offset_of
from pagedbg.schema.event_record import MAGIC

__all__ = ("OwnMemory",)

_NAME, _LONGEST = b"pagedbg_", 16


class OwnMemory:
    """Says which areas are pagedbg's."""

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self._names = tuple(self._places_of_names())

    def _places_of_names(self) -> Iterator[int]:
        """How far from the beginning of an area a BPF map may have its name."""
        try:
            array = self._prog.type("struct bpf_array")
            name = offset_of(self._prog.type("struct bpf_map"), "name")
            value = offset_of(array, "value")
        except LookupError:
            # CONFIG_BPF_SYSCALL=n
            return
        yield name
        # array_map_alloc(): where user space can map its values, these begin a page.
        page_size = number(self._prog, "PAGE_SIZE", 1 << 18, 1 << 12)
        yield -(-sizeof(array) // page_size) * page_size - value + name

    def __contains__(self, address: int) -> bool:
        """Whether the area at an address is pagedbg's."""
        try:
            # The module's rings begin with struct pagedbg_header.
            if self._prog.read_u64(address) == MAGIC:
                return True
            return any(
                self._prog.read((address + at) % (1 << 64), _LONGEST).startswith(_NAME)
                for at in self._names
            )
        except FaultError:
            return False
