# SPDX-License-Identifier: GPL-2.0-or-later
"""
The names behind the words of a ``struct page``: slab cache, file, swap slot, memory
cgroup, the machine's resource, page of zeroes.
"""

from __future__ import annotations

import functools

from drgn import FaultError, Object, Program, Type, sizeof
from drgn.helpers.linux.ioport import for_each_resource
from drgn.helpers.linux.swap import swap_file_path

from pagedbg.mm.bulk_read import c_string
from pagedbg.mm.fs import address_space_kind, address_space_name
from pagedbg.mm.memcontrol import memcg_data_memcg, memcg_path
from pagedbg.target.links import UNREADABLE, bounded, limited

__all__ = ("PageNames", "format_size", "zero_pfns")


class PageNames:
    """Looks up names, and remembers them; a name that cannot be read is None."""

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self._caches: dict[int, str | None] = {}
        self._file_kinds: dict[int, str] = {}
        self._file_names: dict[int, str | None] = {}
        self._memcgs: dict[int, str | None] = {}
        self._resources: list[tuple[int, int, str]] | None = None
        self._resources_whole = False
        # CONFIG_SLOB has none.
        self._caches_known = prog.type("struct slab").has_member("slab_cache")

    def cache(self, address: int) -> str | None:
        """The name of the slab cache at a ``struct kmem_cache *``."""
        if not self._caches_known:
            return None
        if address not in self._caches:
            try:
                name = c_string(Object(self._prog, "struct kmem_cache *", address).name)
                self._caches[address] = name.decode("utf-8", "backslashreplace")
            except UNREADABLE:
                self._caches[address] = None
        return self._caches[address]

    def file_kind(self, mapping: int) -> str:
        """
        What is mapped at a ``struct address_space *``: a kind of
        :func:`address_space_kind`, empty if it is no such thing, and ``unknown`` where
        there may be an address space that cannot be read.
        """
        if mapping not in self._file_kinds:
            try:
                kind = address_space_kind(self._address_space(mapping))
            except FaultError:
                kind = "unknown" if self._may_be_pointer(mapping) else ""
            except UNREADABLE:
                kind = ""
            self._file_kinds[mapping] = kind
        return self._file_kinds[mapping]

    def file_name(self, mapping: int) -> str | None:
        """The name of what is mapped there, or why even its kind is not known."""
        if self.file_kind(mapping) == "unknown":
            return f"its address_space at {mapping:#x} cannot be read"
        if mapping not in self._file_names:
            try:
                self._file_names[mapping] = (
                    address_space_name(self._address_space(mapping))
                    if self.file_kind(mapping)
                    else None
                )
            except UNREADABLE:
                self._file_names[mapping] = None
        return self._file_names[mapping]

    @functools.cached_property
    def _mapping(self) -> Type:
        # To look a type up by its name takes longer than to read from a file.
        return self._prog.type("struct address_space *")

    def _address_space(self, address: int) -> Object:
        return Object(self._prog, self._mapping, address)

    def _may_be_pointer(self, value: int) -> bool:
        """Whether a word is aligned as pointers are, and in the kernel's half."""
        size = sizeof(self._prog.type("unsigned long"))
        return not value % size and bool(value >> (8 * size - 1))

    def memcg(self, data: int) -> str | None:
        """The path of the memory cgroup that the word ``memcg_data`` points to."""
        if not data:
            return None
        if data not in self._memcgs:
            try:
                memcg = memcg_data_memcg(self._prog, data)
                self._memcgs[data] = memcg_path(memcg) if memcg else None
            except UNREADABLE:
                self._memcgs[data] = None
        return self._memcgs[data]

    def swap_slot(self, entry: int) -> str:
        """The slot and the swap area of a ``swp_entry_t``."""
        # include/linux/swapops.h: the type of a swp_entry_t is in the five highest bits
        # of an XArray value (63 bits).
        shift = 8 * sizeof(self._prog.type("unsigned long")) - 1 - 5
        nr, offset = entry >> shift, entry & ((1 << shift) - 1)
        try:
            path = limited(swap_file_path, self._prog["swap_info"][nr].read_()).decode(
                "utf-8", "backslashreplace"
            )
        except UNREADABLE:
            path = f"swap area {nr}"
        return f"slot {offset} of {path}"

    @property
    def resources_whole(self) -> bool:
        """Whether :meth:`resources` could be read to their end."""
        self.resources()
        return self._resources_whole

    def resources(self) -> list[tuple[int, int, str]]:
        """What /proc/iomem has, as (first address, last address, name)."""
        if self._resources is None:
            self._resources, self._resources_whole = _resources(self._prog)
        return self._resources

    def resource(self, pfn: int) -> str | None:
        """What the machine's memory map, /proc/iomem, has at a page frame."""
        resources = self.resources()
        shift = self._prog["PAGE_SHIFT"].value_()
        start, end = pfn << shift, (pfn + 1 << shift) - 1
        inside = [
            (last - first, name)
            for first, last, name in resources
            if first <= end and start <= last
        ]
        if not inside:
            return "no memory there" if self._resources_whole else None
        name = min(inside)[1]
        return (
            name
            if any(n == "System RAM" for _, n in inside)
            else f"no memory there: {name}"
        )


def _resources(prog: Program) -> tuple[list[tuple[int, int, str]], bool]:
    """
    Return the resources of /proc/iomem as (start, end, name), and whether all could be
    read.
    """
    found = []
    whole = True
    try:
        for resource in bounded(
            for_each_resource(prog["iomem_resource"].address_of_())
        ):
            # The root is the whole address space and says nothing.
            if not resource.parent:
                continue
            try:
                name = (
                    c_string(resource.name).decode("utf-8", "backslashreplace")
                    if resource.name
                    else "?"
                )
            except UNREADABLE:
                name = "?"
            found.append((resource.start.value_(), resource.end.value_(), name))
    except UNREADABLE:
        whole = False
    return found, whole


def zero_pfns(prog: Program) -> dict[int, str | None]:
    """
    Return the page frames of zeroes that reads of untouched memory share, with words
    that tell the huge one from the small.
    """
    result: dict[int, str | None] = {}
    # Since 7.x zero_pfn() is a function and the variable zero_page_pfn.
    for name in ("zero_page_pfn", "zero_pfn"):
        try:
            result[prog[name].value_()] = None
            break
        except (LookupError, TypeError, ValueError):
            continue
    try:
        huge = prog["huge_zero_pfn"].value_()
    except LookupError:
        pass
    else:
        result[huge] = "the huge one"
    return result


def format_size(size: int) -> str:
    """Write a size, which is a power of two, with its unit."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >> shift:
            return f"{size >> shift} {unit}"
    return f"{size} bytes"
