# SPDX-License-Identifier: GPL-2.0-or-later
"""
The state of a page
-------------------

Helpers for ``include/linux/page-flags.h`` and ``mm_types.h``: what a page is used for. The order of the questions is that of
``stable_page_flags()`` (``fs/proc/page.c``), and /proc/kpageflags and /proc/kpagecount are what the answers are tested against.

``struct page`` is read in pieces of 2 MiB, never member by member; a drgn Object is made only for what has a name: a slab cache, a file.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from drgn import FaultError, IntegerLike, Object, Program, ProgramFlags, container_of, offsetof, sizeof
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.block import part_name
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.fs import d_path
from drgn.helpers.linux.ioport import for_each_resource
from drgn.helpers.linux.kconfig import get_kconfig
from drgn.helpers.linux.mm import page_to_pfn, pfn_to_page
from drgn.helpers.linux.mmzone import _section_flags, nr_to_section
from drgn.helpers.linux.percpu import per_cpu_ptr
from drgn.helpers.linux.swap import swap_file_path
from numpy.typing import NDArray

from pagedbg.mm._read import byte_order, read_array
from pagedbg.mm._sections import pages_per_section_shift, sections
from pagedbg.mm.gfp import format_flags, trace_print_flags
from pagedbg.mm.memcontrol import memcg_data_memcg, memcg_path
from pagedbg.mm.migrate import decode_migratetype
from pagedbg.mm.pageblock import max_page_order, pageblock_order
from pagedbg.mm.zone import for_each_populated_zone, page_flags_zonenum

__all__ = (
    "ABSENT",
    "KINDS",
    "PageState",
    "PageTypes",
    "decode_page_flags",
    "inode_name",
    "page_refcount",
    "page_state",
    "page_states",
    "page_types",
    "pfn_state",
)

ABSENT = {
    "beyond the end": "it lies beyond the end of memory",
    "hole": "it lies in a hole: there is no memory there",
    "offline section": "its section of memory is offline",
    "not initialised": "its struct page was never initialised",
    "not in the dump": "its struct page is not in the dump",
    "unreadable": "its struct page cannot be read",
}
"""The kinds of page frames of which nothing is known, with the end of a sentence that says so."""

KINDS = {
    "free": "free",
    "slab": "slab objects",
    "large kmalloc": "a kmalloc() too large for the slab allocator",
    "anon": "anonymous memory of processes",
    "ksm": "anonymous memory merged by KSM",
    "swap cache": "a page on its way from or to swap",
    "file": "page cache of a file",
    "shmem": "shared memory or tmpfs",
    "block device": "page cache of a block device",
    "hugetlb": "a huge page of hugetlbfs",
    "page table": "a page table",
    "page pool": "a network receive buffer (page_pool)",
    "zsmalloc": "compressed memory (zsmalloc)",
    "movable": "a driver's movable page",
    "kernel": "memory of the kernel",
    "zero": "the page of zeroes that reads of untouched memory share",
    "reserved": "reserved at boot",
    "offline": "logically offline: a balloon's or a hypervisor's",
    "guard": "a guard page (debug_pagealloc)",
    "unaccepted": "not yet accepted from the hypervisor",
    "hwpoison": "taken out of use after a memory error",
    "device": "memory of a device (ZONE_DEVICE)",
    "no references": "on no free list and not referenced: isolated, frozen, being freed, or a tail of a block allocated without __GFP_COMP",
    **ABSENT,
}
"""What a page can be, with words for it."""

# The two low bits of page->mapping. Their names changed, their values never did: anonymous; movable by its driver (before 7.x); both: KSM.
_MAPPING_ANON = 0x1
_MAPPING_MOVABLE = 0x2
_MAPPING_FLAGS = 0x3

# include/linux/poison.h: PP_SIGNATURE = 0x40 + POISON_POINTER_DELTA. Below and above bit 6, pp_magic has flags and an index of its own.
_POISON_POINTER_DELTA = 0xDEAD000000000000
_PP_MASK = 0xFFFF00000000007C
_PP_SIGNATURE = 0x40 + _POISON_POINTER_DELTA

# mm/mmzone.h, PAGE_ALLOC_COSTLY_ORDER: up to it, orders have per-CPU lists of their own.
_COSTLY_ORDER = 3
_MAX_PCP_STEPS = 20000

# 2 MiB of struct page, and a section of x86-64.
_PAGES_PER_PIECE = 1 << 15


@dataclasses.dataclass(frozen=True)
class PageState:
    """What one page frame is. Where there is no ``struct page`` (:data:`ABSENT`), everything but ``pfn`` and ``kind`` is None."""

    pfn: int
    kind: str
    """One of :data:`KINDS`."""
    detail: str | None = None
    """The slab cache, the file, the free block …"""
    page: int | None = None
    """Address of its ``struct page``."""
    flags: int | None = None
    """``page->flags``."""
    refcount: int | None = None
    mapcount: int | None = None
    """How many page table entries map it, as /proc/kpagecount has it."""
    head_pfn: int | None = None
    """The first page of the compound page or free block that it is in; itself if in none."""
    order: int | None = None
    """The order of that compound page or free block."""
    mapping: int | None = None
    """``folio->mapping``, with its low bits."""
    index: int | None = None
    """Where there is a mapping: the page's index in it."""
    memcg: str | None = None
    """The path of the memory cgroup that it is charged to."""

    @property
    def compound(self) -> bool:
        """Whether this is part of a compound page."""
        return bool(self.order) and self.kind != "free"


class PageTypes(NamedTuple):
    """How ``page->page_type`` tells what a page without a map count is."""

    name: Callable[[int], str | None]
    """From a value as ``unsigned int`` to the kernel's name in lower case (``buddy``, ``offline``, ``table`` …)."""
    is_type: Callable[[int], bool]
    """Whether a value as ``unsigned int`` is any type, rather than a map count."""


def _enumerators(prog: Program, name: str, prefix: str) -> dict[str, int]:
    """Return the enumerators, without their prefix and in lower case, of the enum that *name* is one of."""
    found = prog[name].type_.enumerators
    assert found is not None
    return {e.name[len(prefix) :].lower(): e.value for e in found if e.name.startswith(prefix)}


@takes_program_or_default
def page_types(prog: Program) -> PageTypes:
    """Return how this kernel encodes page types."""
    try:
        return prog.cache["pagedbg_page_types"]  # type: ignore[no-any-return]
    except KeyError:
        pass
    result = _page_types(prog)
    prog.cache["pagedbg_page_types"] = result
    return result


def _page_types(prog: Program) -> PageTypes:
    # Since Linux kernel commit 4ffca5a96678 ("mm: support only one page_type per page") (in v6.12) the type is an enum pagetype in the top
    # byte: PGTY_buddy = 0xf0 and so on. Values from 0x80 to below 0xff in that byte are no map counts.
    try:
        names = {value: name for name, value in _enumerators(prog, "PGTY_buddy", "PGTY_").items() if name != "mapcount_underflow"}
    except LookupError:
        pass
    else:
        return PageTypes(lambda value: names.get(value >> 24), lambda value: 0x80000000 <= value < 0xFF000000)
    # Before that, a type is a bit that is *clear* in a negative number.
    # Since about v6.11 the bits are an enum pagetype, before that macros.
    try:
        bits = _enumerators(prog, "PG_buddy", "PG_")
        base = prog["PAGE_TYPE_BASE"].value_() & 0xFFFFFFFF
    except LookupError:
        bits = {"buddy": 0x80, "offline": 0x100, "table": 0x200, "guard": 0x400}
        base = 0xF0000000
        # Those that came later tell their values to dump tools: NUMBER(PAGE_SLAB_MAPCOUNT_VALUE) is ~PG_slab.
        vmcoreinfo = prog["VMCOREINFO"].string_()
        for name, value in re.findall(rb"^NUMBER\(PAGE_(\w+)_MAPCOUNT_VALUE\)=(-?\d+)$", vmcoreinfo, re.MULTILINE):
            bits[name.decode().lower()] = ~int(value) & 0xFFFFFFFF

    def negative_bits(value: int) -> str | None:
        return next((name for name, bit in bits.items() if value & (base | bit) == base), None)

    # PAGE_MAPCOUNT_RESERVE is -128: anything below it is a type.
    return PageTypes(negative_bits, lambda value: 0x80000000 <= value < 0xFFFFFF80)


def page_refcount(page: Object) -> int:
    """
    Return the reference count of a page itself (a tail page has none, see its head).

    :param page: ``struct page *``
    """
    return int(page._refcount.counter.value_())


def inode_name(inode: Object) -> str:
    """
    Get a path of an inode, marked `` (deleted)`` where it is, or for want of one its number, file system and device.

    :param inode: ``struct inode *``
    """
    sb = inode.i_sb.read_()
    number = f"inode {inode.i_ino.value_()} of {_text(sb.s_type.name)} ({_text(sb.s_id)})"
    first = inode.i_dentry.first.read_()
    if not first:
        return number
    # Before Linux kernel commit 3b7d764a37d0 ("struct dentry: make ->d_u anonymous") (in v7.1), the union had a name.
    member = "d_alias" if inode.prog_.type("struct dentry").has_member("d_alias") else "d_u.d_alias"
    dentry = container_of(first, "struct dentry", member)
    d_op = dentry.d_op.read_()
    if d_op and d_op.d_dname:
        # A file without a directory: memfd:NAME, SYSV00000000, dev/zero. As simple_dname() in fs/d_path.c.
        return f"/{_text(dentry.d_name.name)} (deleted)"
    try:
        path = d_path(dentry).decode("utf-8", "backslashreplace")
    except ValueError:
        # Mounted nowhere.
        return number
    except FaultError:
        # A directory above it is not in the dump.
        return _end_of_path(dentry) or number
    deleted = not dentry.d_hash.pprev and dentry.d_parent != dentry
    return f"{path} (deleted)" if deleted else path


def _end_of_path(dentry: Object) -> str | None:
    """
    Get as much of the end of a path as can be read.

    :param dentry: ``struct dentry *``
    """
    names: list[str] = []
    try:
        while (parent := dentry.d_parent.read_()) != dentry:
            names.insert(0, _text(dentry.d_name.name))
            dentry = parent
    except FaultError:
        pass
    return f"…/{'/'.join(names)}" if names else None


def _text(string: Object) -> str:
    return str(string.string_().decode("utf-8", "backslashreplace"))


@takes_program_or_default
def decode_page_flags(prog: Program, flags: IntegerLike) -> str:
    """
    Get the names of page flags as the kernel's ``%pGp`` prints them, without node, zone and what else is kept in the upper bits.

    >>> decode_page_flags(0x100000000000048)
    'uptodate|head'

    :param flags: ``unsigned long``
    """
    mask = (1 << prog["__NR_PAGEFLAGS"].value_()) - 1
    return format_flags(trace_print_flags(prog, "pageflag_names"), operator.index(flags) & mask)


class _Layout(NamedTuple):
    """Where the members of ``struct page`` and ``struct folio`` that are read here lie."""

    page: np.dtype[Any]
    size: int
    page0: int
    compound_has_mask: bool
    order: tuple[int, int]
    entire_mapcount: int | None
    large_mapcount: int | None
    pg: Mapping[str, int]


def _layout(prog: Program) -> _Layout:
    try:
        return prog.cache["pagedbg_page_layout"]  # type: ignore[no-any-return]
    except KeyError:
        pass
    page = prog.type("struct page")
    size = sizeof(page)
    word = f"{byte_order(prog)}u{sizeof(prog.type('unsigned long'))}"
    # Since Linux kernel commit d50569612c29 ("mm: rename the 'compound_head' field in the 'struct page' to 'compound_info'") (in v7.1).
    compound = "compound_info" if page.has_member("compound_info") else "compound_head"
    # Since Linux kernel commit acc53a0b4c15 ("mm: rename page->index to page->__folio_index") (in v6.16).
    index = "__folio_index" if page.has_member("__folio_index") else "index"
    fields = {
        "flags": (word, offsetof(page, "flags")),
        "compound": (word, offsetof(page, compound)),
        "mapping": (word, offsetof(page, "mapping")),
        "pgoff": (word, offsetof(page, index)),
        "private": (word, offsetof(page, "private")),
        "type": (f"{byte_order(prog)}u4", offsetof(page, "_mapcount")),
        "refcount": (f"{byte_order(prog)}i4", offsetof(page, "_refcount")),
        "lru": (word, offsetof(page, "lru")),
    }
    # CONFIG_SLOB (until v6.3) has no caches; "mapping" stands in for what is not looked at then.
    slab = prog.type("struct slab")
    fields["slab_cache"] = (word, offsetof(slab, "slab_cache") if slab.has_member("slab_cache") else offsetof(page, "mapping"))
    # CONFIG_MEMCG=n, the same.
    fields["memcg_data"] = (word, offsetof(page, "memcg_data") if page.has_member("memcg_data") else offsetof(page, "flags"))
    folio = prog.type("struct folio")
    # Since Linux kernel commit ebc1baf5c9b4 ("mm: free up a word in the first tail page") (in v6.6), the order is the low byte of _flags_1.
    if folio.has_member("_folio_order"):
        order = (offsetof(folio, "_folio_order"), 1)
    else:
        order = (offsetof(folio, "_flags_1"), sizeof(prog.type("unsigned long")))
    # In 6.1 the map count of a compound page as a whole is still in the first tail page.
    if folio.has_member("_entire_mapcount"):
        entire = offsetof(folio, "_entire_mapcount")
    elif page.has_member("compound_mapcount"):
        entire = size + offsetof(page, "compound_mapcount")
    else:
        entire = None
    pg = {}
    for name in ("head", "slab", "reserved", "swapbacked", "swapcache", "hwpoison", "double_map", "writeback"):
        try:
            pg[name] = 1 << prog[f"PG_{name}"].value_()
        except LookupError:
            pg[name] = 0
    layout = _Layout(
        page=np.dtype(
            {
                "names": list(fields),
                "formats": [f for f, _ in fields.values()],
                "offsets": [o for _, o in fields.values()],
                "itemsize": size,
            }
        ),
        size=size,
        page0=pfn_to_page(prog, 0).value_(),
        # Since Linux kernel commit 8c846c879e22 ("mm: rework compound_head() for power-of-2 sizeof(struct page)") (in v7.1).
        compound_has_mask=size & (size - 1) == 0 and prog.type("struct zone").has_member("vmemmap_tails"),
        order=order,
        entire_mapcount=entire,
        # CONFIG_NO_PAGE_MAPCOUNT came together with _mm_ids (in v6.15).
        large_mapcount=offsetof(folio, "_large_mapcount") if folio.has_member("_mm_ids") else None,
        pg=pg,
    )
    prog.cache["pagedbg_page_layout"] = layout
    return layout


class _Words(NamedTuple):
    """The members of one ``struct page`` that are read here, some of them different views of the same word; as in :func:`_layout()`."""

    flags: int
    compound: int
    mapping: int
    pgoff: int
    private: int
    type: int
    refcount: int
    lru: int
    slab_cache: int
    memcg_data: int


class _Head(NamedTuple):
    """What is the same for all pages of a compound page, or of a page that is none."""

    kind: str
    detail: str | None
    order: int
    mapping: int
    pgoff: int
    memcg: str | None
    entire_mapcount: int
    average_mapcount: int | None


class _Reader:
    """Classifies pages, and remembers the names it met; made for one answer and then dropped, since a live kernel changes."""

    def __init__(self, prog: Program) -> None:
        self.prog = prog
        self.layout = _layout(prog)
        self.types = page_types(prog)
        self._heads: dict[int, _Head] = {}
        self._caches: dict[int, str | None] = {}
        self._files: dict[int, tuple[str, str | None]] = {}
        self._memcgs: dict[int, str | None] = {}
        self._pcp: dict[int, tuple[int, int] | None] = {}
        self._pcp_areas: list[tuple[int, int, int]] | None = None
        self._resources: list[tuple[int, int, str]] | None = None
        self._resources_whole = False
        self._little = "little" if byte_order(prog) == "<" else "big"
        self._device_zone = self._enumerator("ZONE_DEVICE", -1)
        self._max_order = max_page_order(prog)
        self._zero_pfns = self._find_zero_pfns()
        self._caches_known = prog.type("struct slab").has_member("slab_cache")
        self._memcg_known = prog.type("struct page").has_member("memcg_data")
        self._missing = "unreadable" if prog.flags & ProgramFlags.IS_LIVE else "not in the dump"

    # ---- which page frames exist ----

    def segments(self, start: int, end: int) -> Iterator[tuple[int, int, str]]:
        """Cut page frames into stretches, each with the kind that says why there is no page, or the empty string."""
        prog = self.prog
        try:
            prog.symbol("mem_section")
        except LookupError:
            # CONFIG_FLATMEM
            first = prog["ARCH_PFN_OFFSET"].value_()
            valid = [(first, first + prog["max_mapnr"].value_(), "")]
        else:
            valid = list(self._sparse_segments(start, end))
        last_pfn = prog["max_pfn"].value_()
        at = start
        for a, b, kind in valid:
            a, b = max(a, at), min(b, end)
            if a >= b:
                continue
            yield from self._absent(at, a, last_pfn)
            yield a, b, kind
            at = b
        yield from self._absent(at, end, last_pfn)

    @staticmethod
    def _absent(start: int, end: int, last_pfn: int) -> Iterator[tuple[int, int, str]]:
        if start < min(end, last_pfn):
            yield start, min(end, last_pfn), "hole"
        if max(start, last_pfn) < end:
            yield max(start, last_pfn), end, "beyond the end"

    def _sparse_segments(self, start: int, end: int) -> Iterator[tuple[int, int, str]]:
        prog = self.prog
        flags = _section_flags(prog)
        online, early = flags["SECTION_IS_ONLINE"], flags["SECTION_IS_EARLY"]
        last_pfn = prog["max_pfn"].value_()
        shift = pages_per_section_shift(prog)
        for nr, mem_map in sections(prog, "section_mem_map", start >> shift, ((end - 1) >> shift) + 1):
            a, b = nr << shift, (nr + 1) << shift
            kind = "" if mem_map & online else "offline section"
            if mem_map & early:
                # Its memory map is whole, though memory may end within it.
                yield a, min(b, last_pfn), kind
            else:
                yield from ((a + c, a + d, kind) for c, d in self._subsections(nr, b - a))

    def _subsections(self, nr: int, pages: int) -> Iterator[tuple[int, int]]:
        """Iterate over the parts of a section, as page numbers in it, that memory was added to later (``pfn_section_valid()``)."""
        usage = nr_to_section(self.prog, nr).usage.read_()
        try:
            words = [w.value_() for w in usage.subsection_map]
        except AttributeError:
            # CONFIG_SPARSEMEM_VMEMMAP=n
            yield 0, pages
            return
        bits = 8 * sizeof(self.prog.type("unsigned long"))
        bitmap = sum(w << (i * bits) for i, w in enumerate(words))
        # SUBSECTION_SHIFT is 21 everywhere: 2 MiB.
        step = 1 << (21 - self.prog["PAGE_SHIFT"].value_())
        for i in range(pages // step):
            if bitmap >> i & 1:
                yield i * step, (i + 1) * step

    # ---- the pages of a stretch ----

    def states(self, start: int, end: int) -> Iterator[PageState]:
        """Classify pages, piece by piece."""
        for a, b, kind in self.segments(start, end):
            if kind and kind != "offline section":
                for pfn in range(a, b):
                    yield PageState(pfn, kind)
                continue
            for piece in range(a, b, _PAGES_PER_PIECE):
                yield from self._piece(piece, min(piece + _PAGES_PER_PIECE, b), bool(kind))

    def _piece(self, start: int, end: int, offline: bool) -> Iterator[PageState]:
        layout = self.layout
        # A free block is marked on its first page only: begin where the largest one would. And one page more, for compound_head().
        low = start >> self._max_order << self._max_order
        pages, known = read_array(self.prog, layout.page0 + low * layout.size, end + 1 - low, layout.page)
        blocks = self._free_blocks(pages[:-1], known[:-1], low)
        skip = start - low
        words = [_Words(*row) for row in pages.tolist()]
        # Everything but the words that stay zero in a page in use.
        blank = (pages["flags"] == 0) & (pages["refcount"] == 0) & (pages["type"] == 0) & (pages["compound"] == 0) & (pages["mapping"] == 0)
        poisoned = pages["flags"] == np.array(-1).astype(layout.page["flags"])
        for i in range(skip, end - low):
            pfn, page = low + i, words[i]
            address = layout.page0 + pfn * layout.size
            if not known[i]:
                yield PageState(pfn, "offline section" if offline else self._missing, page=address)
                continue
            if blank[i] or poisoned[i]:
                kind = self._missing if blank[i] and self._missing == "not in the dump" else "not initialised"
                yield PageState(pfn, "offline section" if offline else kind, page=address)
                continue
            if offline and page_flags_zonenum(self.prog, page.flags) != self._device_zone:
                yield PageState(pfn, "offline section", page=address)
                continue
            head = self._head_address(address, page, words[i + 1])
            alone = head == address and not page.flags & layout.pg["head"]
            shared = self._classify(pfn, page, None) if alone else self._compound(head)
            head_pfn = (head - layout.page0) // layout.size
            kind, detail, order = shared.kind, shared.detail, shared.order
            block = blocks.get(i) if page.refcount == 0 else None
            if block is None and page.refcount == 0 and kind == "no references":
                block = self._pcp_block(pfn)
            if block is not None:
                head_pfn, order, detail = block
                kind = "free"
            if page.flags & layout.pg["hwpoison"]:
                kind, detail = "hwpoison", None if kind in ("hwpoison", "kernel", "no references") else f"was {kind}"
            yield PageState(
                pfn,
                kind,
                detail,
                address,
                page.flags,
                page.refcount,
                self._mapcount(page.type, shared),
                head_pfn,
                order,
                shared.mapping,
                shared.pgoff + pfn - head_pfn if shared.mapping else None,
                shared.memcg,
            )

    def _free_blocks(self, pages: NDArray[Any], known: NDArray[np.bool_], low: int) -> _FreeBlocks:
        # Few pages have a type at all: most are mapped, or have a map count of -1.
        candidates = np.flatnonzero(known & (pages["type"] >= 0x80000000) & (pages["type"] != 0xFFFFFFFF))
        types = pages["type"][candidates]
        buddies = [value for value in np.unique(types).tolist() if self.types.name(value) == "buddy"]
        heads = candidates[np.isin(types, buddies)]
        return _FreeBlocks(heads, pages["private"][heads], low, self._max_order)

    def _head_address(self, address: int, page: _Words, following: _Words) -> int:
        """``compound_head()``"""
        if page.compound & 1:
            return address & page.compound if self.layout.compound_has_mask else page.compound - 1
        # Before 7.1 a huge page whose memory map was freed (HVO) has pages that look like a head and are none.
        if page.flags & self.layout.pg["head"] and following.compound & 1 and not self.layout.compound_has_mask:
            return following.compound - 1
        return address

    def _compound(self, address: int) -> _Head:
        """Classify a compound page by the address of its head."""
        try:
            return self._heads[address]
        except KeyError:
            pass
        layout = self.layout
        pfn = (address - layout.page0) // layout.size
        try:
            data = self.prog.read(address, 3 * layout.size)
        except FaultError:
            result = _Head(self._missing, "its head page cannot be read", 0, 0, 0, None, 0, None)
        else:
            result = self._classify(pfn, _Words(*np.frombuffer(data, layout.page, 1)[0].item()), data)
        self._heads[address] = result
        return result

    def _classify(self, pfn: int, page: _Words, folio: bytes | None) -> _Head:
        """Say what a page, or from three ``struct page`` the compound page that begins there, is."""
        layout, pg = self.layout, self.layout.pg
        flags, mapping = page.flags, page.mapping
        order = entire = 0
        average = None
        if folio is not None:
            offset, size = layout.order
            order = int.from_bytes(folio[offset : offset + size], self._little) & 0xFF  # type: ignore[arg-type]
            if layout.entire_mapcount is not None:
                entire = self._int(folio, layout.entire_mapcount) + 1
            average = self._average_mapcount(folio, order, entire)
        kind: str
        detail: str | None = None
        file_mapping = 0
        type_name = self.types.name(page.type)
        if type_name == "buddy":
            kind, order = "free", page.private
        elif self._is_slab(flags, type_name):
            kind, detail = "slab", self._cache_name(page.slab_cache)
        elif self._is_hugetlb(type_name, folio):
            kind = "hugetlb"
            size_text = _size(self.prog["PAGE_SIZE"].value_() << order)
            if mapping and not mapping & _MAPPING_FLAGS:
                file_mapping = mapping
                detail = f"{size_text}, {self._file(mapping)[1]}"
            elif mapping & _MAPPING_ANON:
                file_mapping = mapping
                detail = f"{size_text}, anonymous"
            else:
                detail = f"{size_text}, {'in use' if page.refcount > 0 else 'free in its pool'}"
        elif type_name is not None:
            kind = _TYPE_KINDS.get(type_name, type_name.replace("_", " "))
        elif pfn in self._zero_pfns:
            kind, detail = "zero", self._zero_pfns[pfn]
        elif page_flags_zonenum(self.prog, flags) == self._device_zone:
            kind = "device"
        elif flags & pg["reserved"]:
            kind, detail = "reserved", self._resource(pfn)
        elif mapping & _MAPPING_ANON:
            kind = "ksm" if mapping & _MAPPING_FLAGS == _MAPPING_FLAGS else "anon"
            file_mapping = mapping
            details = [f"part of {_size(self.prog['PAGE_SIZE'].value_() << order)}"] if order else []
            if flags & pg["swapcache"] and flags & pg["swapbacked"]:
                details.append(f"also in swap: {self._swap_slot(page.private)}")
            detail = ", ".join(details) or None
        elif flags & pg["swapcache"] and flags & pg["swapbacked"] and page.refcount > 0:
            kind, detail = "swap cache", self._swap_slot(page.private)
        elif mapping & _MAPPING_FLAGS == _MAPPING_MOVABLE:
            kind = "movable"
        elif mapping and page.refcount > 0 and self._file(mapping)[0]:
            kind, detail = self._file(mapping)
            if kind == "file" and flags & pg["swapbacked"]:
                kind = "shmem"
            file_mapping = mapping
        elif page.refcount == 0:
            kind = "no references"
        elif page.lru & _PP_MASK == _PP_SIGNATURE:
            kind = "page pool"
        else:
            kind = "kernel"
        memcg = None
        if kind not in ("slab", "free", "no references", "reserved", "zero", "device"):
            memcg = self._memcg(page.memcg_data)
        return _Head(kind, detail, order, file_mapping, page.pgoff, memcg, entire, average)

    def _int(self, data: bytes, offset: int) -> int:
        return int.from_bytes(data[offset : offset + 4], self._little, signed=True)  # type: ignore[arg-type]

    def _enumerator(self, name: str, default: int) -> int:
        try:
            return int(self.prog[name].value_())
        except LookupError:
            return default

    # ---- counts ----

    def _mapcount(self, value: int, head: _Head) -> int:
        """``folio_precise_page_mapcount()``, and for 6.1 ``__page_mapcount()``."""
        if head.average_mapcount is not None:
            return head.average_mapcount
        return (0 if self.types.is_type(value) else ((value + 1) & 0xFFFFFFFF)) + head.entire_mapcount

    def _average_mapcount(self, folio: bytes, order: int, entire: int) -> int | None:
        """``folio_average_page_mapcount()``, for a kernel that no longer counts page by page (CONFIG_PAGE_MAPCOUNT=n, 7.x)."""
        if self.layout.large_mapcount is None or self._page_mapcount:
            return None
        mapcount = self._int(folio, self.layout.large_mapcount) + 1
        if mapcount <= entire:
            return max(entire, 0)
        return max((mapcount - entire + (1 << order >> 1) >> order) + entire, 1)

    @functools.cached_property
    def _page_mapcount(self) -> bool:
        """``CONFIG_PAGE_MAPCOUNT``"""
        try:
            config = get_kconfig(self.prog)
        except (LookupError, FaultError):
            # CONFIG_IKCONFIG=n. The default of every architecture is to count.
            return True
        return "CONFIG_NO_PAGE_MAPCOUNT" not in config

    # ---- free lists ----

    def _pcp_block(self, pfn: int) -> tuple[int, int, str] | None:
        """Find a page that is on no list of the buddy allocator on a per-CPU list: (first page, order, words for it)."""
        for order in (*range(min(_COSTLY_ORDER, self._max_order) + 1), pageblock_order(self.prog)):
            head = pfn >> order << order
            found = self._pcp_list(head)
            if found is None:
                continue
            cpu, nr = found
            types = self._enumerator("MIGRATE_PCPTYPES", 3)
            if nr < types * (_COSTLY_ORDER + 1):
                list_order, name = nr // types, f", {decode_migratetype(self.prog, nr % types)}"
            else:
                list_order, name = pageblock_order(self.prog), ""
            if list_order >= order:
                return head, list_order, f"order {list_order} on CPU {cpu}'s list{name}"
        return None

    def _pcp_list(self, pfn: int) -> tuple[int, int] | None:
        """
        Follow the list that a free page is on to its head, and if that is one of the lists of ``struct per_cpu_pages``, return the CPU and
        the number of the list.
        """
        layout = self.layout
        first = address = layout.page0 + pfn * layout.size
        if first in self._pcp:
            return self._pcp[first]
        fields = layout.page.fields
        assert fields is not None
        lru, refcount = fields["lru"][1], fields["refcount"][1]
        word = sizeof(self.prog.type("unsigned long"))
        last = layout.page0 + self.prog["max_pfn"].value_() * layout.size
        visited: set[int] = set()
        result = None
        try:
            if self._int(self.prog.read(first + refcount, 4), 0) == 0:
                # A page on no list links to itself.
                while address not in visited and len(visited) < _MAX_PCP_STEPS:
                    if address in self._pcp:
                        result = self._pcp[address]
                        break
                    if not layout.page0 <= address < last:
                        result = self._pcp_area(address + lru)
                        break
                    visited.add(address)
                    address = int.from_bytes(self.prog.read(address + lru, word), self._little) - lru  # type: ignore[arg-type]
        except FaultError:
            pass
        for address in visited or [first]:
            self._pcp[address] = result
        return result

    def _pcp_area(self, address: int) -> tuple[int, int] | None:
        prog = self.prog
        pcp_type = prog.type("struct per_cpu_pages")
        lists = offsetof(pcp_type, "lists")
        if self._pcp_areas is None:
            self._pcp_areas = []
            for zone in for_each_populated_zone(prog):
                pageset = zone.per_cpu_pageset.read_()
                for cpu in for_each_possible_cpu(prog):
                    area = per_cpu_ptr(pageset, cpu).value_()
                    self._pcp_areas.append((area + lists, area + sizeof(pcp_type), cpu))
        for start, end, cpu in self._pcp_areas:
            if start <= address < end:
                return cpu, (address - start) // sizeof(prog.type("struct list_head"))
        return None

    # ---- names ----

    def _is_slab(self, flags: int, type_name: str | None) -> bool:
        # Since Linux kernel commit 46df8e73a4a3 ("mm: free up PG_slab") (in v6.10) it is a page type.
        return type_name == "slab" or bool(flags & self.layout.pg["slab"])

    def _is_hugetlb(self, type_name: str | None, folio: bytes | None) -> bool:
        if type_name == "hugetlb":
            return True
        if folio is None:
            return False
        # Before Linux kernel commit d99e3140a4d3 ("mm: turn folio_test_hugetlb into a PageType") (in v6.9), a flag of the first tail page.
        # Before Linux kernel commit 9c5ccf2db04b ("mm: remove HUGETLB_PAGE_DTOR") (in v6.6), the compound page's destructor.
        prog = self.prog
        try:
            dtor = prog["HUGETLB_PAGE_DTOR"].value_()
        except LookupError:
            pass
        else:
            struct, member = ("struct folio", "_folio_dtor") if prog.type("struct folio").has_member("_folio_dtor") else ("struct page", "")
            offset = offsetof(prog.type(struct), member) if member else self.layout.size + offsetof(prog.type(struct), "compound_dtor")
            return bool(folio[offset] == dtor)
        bit = self._enumerator("PG_hugetlb", -1)
        if bit < 0:
            return False
        offset, size = self.layout.order
        return bool(int.from_bytes(folio[offset : offset + size], self._little) >> bit & 1)  # type: ignore[arg-type]

    def _cache_name(self, address: int) -> str | None:
        if not self._caches_known:
            return None
        if address not in self._caches:
            try:
                self._caches[address] = _text(Object(self.prog, "struct kmem_cache *", address).name)
            except FaultError:
                self._caches[address] = None
        return self._caches[address]

    def _file(self, mapping: int) -> tuple[str, str | None]:
        """Return what is mapped at a ``struct address_space *``: the kind, empty if it is no such thing, and its name."""
        if mapping not in self._files:
            try:
                self._files[mapping] = self._find_file(Object(self.prog, "struct address_space *", mapping))
            except FaultError:
                self._files[mapping] = ("", None)
        return self._files[mapping]

    def _find_file(self, mapping: Object) -> tuple[str, str | None]:
        host = mapping.host.read_()
        if not host:
            return "swap cache", None
        # Something else may be kept in page->mapping: an inode's i_mapping leads back, mostly to itself.
        if not host.i_mapping or not host.i_sb:
            return "", None
        if stat.S_ISBLK(host.i_mode.value_()):
            bdev = container_of(host, "struct bdev_inode", "vfs_inode").bdev
            return "block device", part_name(bdev.address_of_()).decode("utf-8", "backslashreplace")
        try:
            return "file", inode_name(host)
        except FaultError:
            return "file", f"inode {host.i_ino.value_()}"

    def _swap_slot(self, entry: int) -> str:
        # include/linux/swapops.h: the type of a swp_entry_t is in the five highest bits of an XArray value (63 bits).
        shift = 8 * sizeof(self.prog.type("unsigned long")) - 1 - 5
        nr, offset = entry >> shift, entry & ((1 << shift) - 1)
        try:
            path = swap_file_path(self.prog["swap_info"][nr].read_()).decode("utf-8", "backslashreplace")
        except (FaultError, ValueError, LookupError):
            path = f"swap area {nr}"
        return f"slot {offset} of {path}"

    def _memcg(self, data: int) -> str | None:
        if not data or not self._memcg_known:
            return None
        if data not in self._memcgs:
            try:
                memcg = memcg_data_memcg(self.prog, data)
                self._memcgs[data] = memcg_path(memcg) if memcg else None
            except FaultError:
                self._memcgs[data] = None
        return self._memcgs[data]

    def _find_zero_pfns(self) -> dict[int, str | None]:
        prog = self.prog
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

    def _resource(self, pfn: int) -> str | None:
        """Say what the machine's memory map, /proc/iomem, has at a page frame."""
        if self._resources is None:
            self._resources, self._resources_whole = _resources(self.prog)
        shift = self.prog["PAGE_SHIFT"].value_()
        start, end = pfn << shift, (pfn + 1 << shift) - 1
        inside = [(last - first, name) for first, last, name in self._resources if first <= end and start <= last]
        if not inside:
            return "no memory there" if self._resources_whole else None
        name = min(inside)[1]
        return name if any(n == "System RAM" for _, n in inside) else f"no memory there: {name}"


def _resources(prog: Program) -> tuple[list[tuple[int, int, str]], bool]:
    """Return the resources of /proc/iomem as (start, end, name), and whether all could be read."""
    found = []
    whole = True
    try:
        for resource in for_each_resource(prog["iomem_resource"].address_of_()):
            # The root is the whole address space and says nothing.
            if not resource.parent:
                continue
            try:
                name = _text(resource.name) if resource.name else "?"
            except FaultError:
                name = "?"
            found.append((resource.start.value_(), resource.end.value_(), name))
    except (LookupError, FaultError):
        whole = False
    return found, whole


class _FreeBlocks:
    """The blocks of the buddy allocator in a piece of the memory map, found by any page in them."""

    def __init__(self, heads: NDArray[Any], orders: NDArray[Any], low: int, max_order: int) -> None:
        self._heads = heads
        self._orders = orders
        self._low = low
        self._max_order = max_order

    def get(self, i: int) -> tuple[int, int, str] | None:
        """Return (first page, order, words for it) of the free block that element *i* of the piece is in."""
        k = int(np.searchsorted(self._heads, i, "right")) - 1
        if k < 0:
            return None
        head, order = int(self._heads[k]), int(self._orders[k])
        if order > self._max_order or i >= head + (1 << order):
            return None
        return self._low + head, order, f"order {order} of the buddy allocator"


_TYPE_KINDS = {"table": "page table", "guard": "guard", "offline": "offline", "zsmalloc": "zsmalloc", "unaccepted": "unaccepted"}


def _size(size: int) -> str:
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >> shift:
            return f"{size >> shift} {unit}"
    return f"{size} bytes"


@takes_program_or_default
def page_states(prog: Program, start_pfn: IntegerLike, end_pfn: IntegerLike) -> Iterator[PageState]:
    """
    Say what every page frame of a range is, in order. The memory map is read in pieces of 2 MiB.

    :param start_pfn: the first page frame number
    :param end_pfn: the one after the last
    """
    return _Reader(prog).states(operator.index(start_pfn), operator.index(end_pfn))


@takes_program_or_default
def pfn_state(prog: Program, pfn: IntegerLike) -> PageState:
    """Say what a page frame is, whether it exists or not."""
    pfn = operator.index(pfn)
    return next(page_states(prog, pfn, pfn + 1))


def page_state(page: Object) -> PageState:
    """
    Say what a page is.

    >>> page_state(virt_to_page(find_task(1).mm))
    PageState(pfn=16945, kind='slab', detail='mm_struct', ...)

    :param page: ``struct page *``
    """
    return pfn_state(page.prog_, page_to_pfn(page).value_())
