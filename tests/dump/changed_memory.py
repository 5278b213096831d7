# SPDX-License-Identifier: GPL-2.0-or-later
"""The dump of an ordinary machine with pages and records that it does not have."""

from __future__ import annotations

from drgn import FaultError, Program
from drgn.helpers.linux.mm import pfn_to_page
from known import ORDINARY

from pagedbg.mm.bulk_read import offset_of
from pagedbg.mm.page_ext import for_each_page_ext_range
from pagedbg.mm.page_owner_bulk import page_owner_dtype
from pagedbg.target.opening import open_target

__all__ = ("Changed",)


class _Array:
    """An array of the kernel's, an element a page frame, that can be changed."""

    def __init__(self, prog: Program, start: int, size: int, end: int) -> None:
        self.size = size
        self.original = b"".join(
            prog.read(at, min(4096, start + size * end - at))
            for at in range(start, start + size * end, 4096)
        )
        self.memory = bytearray(self.original)
        self.gone: set[int] = set()
        prog.add_memory_segment(start, len(self.memory), self._given, False)

    def _given(self, address: int, count: int, offset: int, physical: bool) -> bytes:
        if self.gone.intersection(range(offset >> 12, (offset + count - 1 >> 12) + 1)):
            raise FaultError("not in the dump", address)
        return bytes(self.memory[offset : offset + count])

    def restore(self) -> None:
        self.memory[:] = self.original
        self.gone.clear()

    def get(self, pfn: int, offset: int, size: int) -> int:
        at = pfn * self.size + offset
        return int.from_bytes(self.memory[at : at + size], "little")

    def put(self, pfn: int, offset: int, size: int, value: int) -> None:
        at = pfn * self.size + offset
        value &= (1 << 8 * size) - 1
        self.memory[at : at + size] = value.to_bytes(size, "little")


class Changed:
    """A program whose ``struct page`` and page_owner's records can be changed."""

    def __init__(self) -> None:
        self.target = open_target(str(ORDINARY))
        self.prog = self.target.prog
        self.end: int = self.prog["max_pfn"].value_()
        self._page = self.prog.type("struct page")
        self._owner = page_owner_dtype(self.prog)
        (records,) = for_each_page_ext_range(self.prog, 0, self.end)
        start = pfn_to_page(self.prog, 0).value_()
        self._pages = _Array(self.prog, start, self._page.size, self.end)
        self._records = _Array(
            self.prog, records.address, self._owner.itemsize, self.end
        )
        self.size = self._page.size
        self.gone = self._pages.gone
        """Which 4 KiB of the memory map cannot be read."""

    def restore(self) -> None:
        self._pages.restore()
        self._records.restore()

    def get(self, pfn: int, member: str) -> int:
        """A member of a ``struct page``."""
        return self._pages.get(pfn, *self._word(member))

    def put(self, pfn: int, member: str, value: int) -> None:
        """Change a member of a ``struct page``."""
        self._pages.put(pfn, *self._word(member), value)

    def put_of_folio(self, pfn: int, member: str, value: int) -> None:
        """Change a 32-bit member of a ``struct folio``, perhaps of its tail pages."""
        offset = offset_of(self.prog.type("struct folio"), member)
        self._pages.put(pfn, offset, 4, value)

    def put_record(self, pfn: int, member: str, value: int) -> None:
        """Change a member of a ``struct page_owner``."""
        assert self._owner.fields is not None
        kind, offset = self._owner.fields[member][:2]
        self._records.put(pfn, offset, kind.itemsize, value)

    def _word(self, member: str) -> tuple[int, int]:
        size = 4 if member in ("_mapcount", "_refcount") else 8
        return offset_of(self._page, member), size

    def flag(self, name: str) -> int:
        return 1 << int(self.prog[f"PG_{name}"].value_())
