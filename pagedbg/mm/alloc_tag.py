# SPDX-License-Identifier: GPL-2.0-or-later
"""
Allocation tags
---------------

Helpers for ``include/linux/alloc_tag.h`` (``CONFIG_MEM_ALLOC_PROFILING``): for each
line of the source that allocates, a tag with what is allocated there now.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from drgn import Object, Program, sizeof
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.idr import idr_for_each
from numpy.typing import NDArray

from pagedbg.mm.bulk_read import (
    byte_order,
    offset_of,
    read_array,
    read_words,
    record_dtype,
)
from pagedbg.target.links import UNREADABLE, Damaged, limited

__all__ = (
    "AllocTags",
    "TagCounters",
    "TagPlace",
    "alloc_tags_compiled",
    "mem_alloc_profiling_enabled",
)

# No kernel with all its modules has a tenth of it.
_MOST_TAGS = 1 << 18

# No source has as many lines, and no path or function as long a name.
_MOST_LINES = 1 << 20
_MOST_NAME = 512


@takes_program_or_default
def alloc_tags_compiled(prog: Program) -> bool:
    """
    Return whether the kernel was built with ``CONFIG_MEM_ALLOC_PROFILING``, which there
    is since Linux kernel commit 22d407b164ff ("lib: add allocation tagging support for
    memory allocation profiling") (in v6.10).
    """
    try:
        prog.symbol("mem_alloc_profiling_key")
    except LookupError:
        return False
    return True


@takes_program_or_default
def mem_alloc_profiling_enabled(prog: Program) -> bool:
    """
    Return whether allocations are tagged now (``mem_alloc_profiling_key``, a static
    key).
    """
    return (
        alloc_tags_compiled(prog)
        and prog["mem_alloc_profiling_key"].key.enabled.counter.value_() > 0
    )


class TagPlace(NamedTuple):
    """What a tag stands for (``struct codetag``)."""

    filename: str
    lineno: int
    function: str
    modname: str | None


class TagCounters(NamedTuple):
    """What is allocated at each tag, as /proc/allocinfo has it."""

    bytes: NDArray[np.int64]
    calls: NDArray[np.int64]
    known: NDArray[np.bool_]
    """Whether the counters of all CPUs could be read; those that could are summed."""


class AllocTags:
    """
    The tags of a kernel and of its modules; made for one answer and then dropped, since
    modules come and go.

    :raises Damaged: if there would be more tags than a kernel has
    :raises LookupError: if the kernel has none
    """

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self._dtype = _tag_dtype(prog)
        self._texts: dict[int, str | None] = {}
        self.unread: list[str] = []
        """Whose tags could not be read."""
        parts = [self._part(*_built_in(prog))]
        try:
            for start, stop in _of_modules(prog):
                parts.append(self._part(start, stop))
        except UNREADABLE:
            self.unread.append("modules' tags")
        addresses = np.concatenate([addresses for addresses, _ in parts])
        order = np.argsort(addresses, kind="stable")
        self.addresses: NDArray[np.uint64] = addresses[order]
        """Where each ``struct alloc_tag`` is, in order."""
        self._tags = np.concatenate([tags for _, tags in parts])[order]
        self._places: dict[int, int] = {
            at & 0xFFFFFFFF: at for at in self.addresses.tolist()
        }

    def __len__(self) -> int:
        return len(self.addresses)

    @property
    def size(self) -> int:
        """How many bytes a ``struct alloc_tag`` has."""
        return self._dtype.itemsize

    def _part(self, start: int, stop: int) -> tuple[NDArray[np.uint64], NDArray[Any]]:
        """The tags of a section, those that could be read."""
        count, rest = divmod(stop - start, self._dtype.itemsize)
        if rest or not 0 <= count <= _MOST_TAGS:
            raise Damaged(
                "the memory of this kernel is damaged: a section of allocation tags"
                f" would have {stop - start:,} bytes"
            )
        tags, known = read_array(self._prog, start, count, self._dtype)
        addresses = np.uint64(start) + np.arange(count, dtype=np.uint64) * np.uint64(
            self._dtype.itemsize
        )
        return addresses[known], tags[known]

    def numbers(self, addresses: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """
        Return the number by which :meth:`at` knows each tag, 0 for none: the same for
        as long as the tag is where it is. Kernel and modules lie within 4 GiB.
        """
        for address in np.unique(addresses).tolist():
            self._places[address & 0xFFFFFFFF] = address
        return addresses.astype(np.uint32)

    def at(self, number: int) -> int:
        """
        Return the address of the tag with a number, 0 if no page was found to have it.
        """
        return self._places.get(number, 0)

    def place(self, address: int) -> TagPlace | None:
        """
        Return what a tag stands for; None for what is none, because its module is gone.

        :param address: ``struct alloc_tag *``
        """
        row = int(np.searchsorted(self.addresses, np.uint64(address)))
        if row < len(self) and int(self.addresses[row]) == address:
            tag = self._tags[row]
        else:
            # The kernel keeps the tags of a module that has left allocations behind,
            # and forgets where.
            tags, known = read_array(self._prog, address, 1, self._dtype)
            tag = tags[0]
            if not known[0] or int(tag["lineno"]) > _MOST_LINES:
                return None
        filename, function, modname = (
            self._text(int(tag[name])) for name in ("filename", "function", "modname")
        )
        if not filename or not function:
            return None
        return TagPlace(filename, int(tag["lineno"]), function, modname)

    def site(self, address: int) -> str:
        """
        Return the line of the source and the function that a tag stands for, as
        ``mm/slub.c:2425 alloc_slab_page``, with the module behind it; words in
        parentheses for what is none.

        :param address: ``struct alloc_tag *``
        """
        place = self.place(address)
        if place is None:
            return f"(the tag at {address:#x} of a module that is gone)"
        module = f" [{place.modname}]" if place.modname else ""
        return f"{place.filename}:{place.lineno} {place.function}{module}"

    def _text(self, address: int) -> str | None:
        """A text of a tag; None for NULL, and for what is none."""
        if address not in self._texts:
            text = None
            if address:
                try:
                    raw = self._prog.read_c_string(address, False, max_size=_MOST_NAME)
                    text = raw.decode() if len(raw) < _MOST_NAME else None
                except (*UNREADABLE, UnicodeDecodeError):
                    pass
            self._texts[address] = text if text and text.isprintable() else None
        return self._texts[address]

    def counters(self) -> TagCounters:
        """Sum up the counters of each tag over all CPUs (``alloc_tag_read()``)."""
        sums = np.zeros((len(self), 2), np.int64)
        known = np.ones(len(self), np.bool_)
        pointers = self._tags["counters"].astype(np.uint64)
        for offset in _per_cpu_offsets(self._prog):
            values, read = read_words(self._prog, pointers + np.uint64(offset), 2)
            sums += values.view(np.int64)
            known &= read
        return TagCounters(sums[:, 0], sums[:, 1], known)


def _tag_dtype(prog: Program) -> np.dtype[Any]:
    """How NumPy views a ``struct alloc_tag``."""
    tag = prog.type("struct alloc_tag")
    codetag, at = prog.type("struct codetag"), offset_of(tag, "ct")
    order = byte_order(prog)
    word = f"{order}u{sizeof(prog.type('unsigned long'))}"
    fields = {
        name: (word, at + offset_of(codetag, name))
        for name in ("filename", "function", "modname")
    }
    fields["lineno"] = (f"{order}u4", at + offset_of(codetag, "lineno"))
    fields["counters"] = (word, offset_of(tag, "counters"))
    return record_dtype(fields, sizeof(tag))


def _built_in(prog: Program) -> tuple[int, int]:
    """Where the section of the kernel's own tags begins and ends."""
    start, stop = (prog.symbol(f"__{end}_alloc_tags") for end in ("start", "stop"))
    return start.address, stop.address


def _of_modules(prog: Program) -> Iterator[tuple[int, int]]:
    """Where the section of each module's tags begins and ends."""
    known = prog["alloc_tag_cttype"].mod_idr.address_of_()
    for _, entry in limited(list, idr_for_each(known)):
        module = Object(prog, "struct codetag_module *", entry.value_())
        # That of the kernel itself has none.
        if module.mod:
            yield module.range.start.value_(), module.range.stop.value_()


def _per_cpu_offsets(prog: Program) -> list[int]:
    """What is added to a per-CPU pointer, for each CPU that there may be."""
    try:
        offsets = prog["__per_cpu_offset"]
    except LookupError:
        # CONFIG_SMP=n
        return [0]
    return [offsets[cpu].value_() for cpu in for_each_possible_cpu(prog)]
