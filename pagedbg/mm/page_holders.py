# SPDX-License-Identifier: GPL-2.0-or-later
"""
Holders of pages
----------------

Whom the kernel's own structures name: the task whose stack a page is, the process whose
page table, the device whose page pool, the DMA buffer or the pool of compressed memory
that it is part of, the balloon that it is in, the CMA area that it was taken out of,
the kernel's own structure that has it for itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from drgn import Object, Program, TypeKind
from drgn.helpers.linux.device import dev_name
from drgn.helpers.linux.pid import for_each_task
from numpy.typing import NDArray

from pagedbg.mm._direct_map import direct_pfns
from pagedbg.mm._kernel_holders import SOURCES, Held
from pagedbg.mm._kernel_use import KernelUses
from pagedbg.mm._page_members import page_members
from pagedbg.mm.balloon import in_balloon
from pagedbg.mm.cma import for_each_cma_area
from pagedbg.mm.dma_buf import for_each_dma_buf
from pagedbg.mm.page_array import Pages
from pagedbg.mm.page_tables import page_table_pfns
from pagedbg.mm.zsmalloc import zs_pool_name, zs_pools
from pagedbg.target.declarations import find_symbol
from pagedbg.target.links import UNREADABLE, bounded

__all__ = ("PageHolders", "stack_size")

# Page tables that are no process's.
_MMS = ("init_mm", "poking_mm", "text_poke_mm")

# What the kernel has for itself may look like this: a block that is too large for slabs
# has no type before 6.11, and one that is no compound page has tails without
# references.
_OWN_KINDS = ("kernel", "large kmalloc", "no references")


# What could not be read if it fails, and the walk.
_Walk = tuple[str, Callable[[], Iterator[Held]]]


class PageHolders:
    """
    Whom the kernel's structures name as the holder of a page; made for one answer and
    then dropped, since a live kernel changes. They are walked when a page of a kind
    that they tell of is met. :attr:`unread` says which of them could not be read.

    :param uses: returns what the kernel uses its pages for
    """

    KINDS = (
        *("kernel stack", "page table", "page pool", "shmem", "hugetlb"),
        *("zsmalloc", "offline", *_OWN_KINDS),
    )
    """The kinds of pages that have a holder."""

    def __init__(self, prog: Program, uses: Callable[[], KernelUses]) -> None:
        self._prog = prog
        self._uses = uses
        self.unread: list[str] = []
        self._names = [""]
        self.structures = [""]
        """By the number of a holder, the structure that names it."""
        self._pools: dict[tuple[str, int], int] = {}
        self._known: dict[str, tuple[NDArray[np.int64], NDArray[np.uint32]]] = {}

    def find(self, pages: Pages) -> NDArray[np.uint32]:
        """Return the number of each page's holder, 0 where none is known."""
        found = np.zeros(len(pages), np.uint32)
        for kind in self.KINDS:
            at = np.flatnonzero(pages.kind == pages.kinds.index(kind))
            if len(at):
                found[at] = self.of_kind(kind, pages.first + at)
        return found

    def of_kind(self, kind: str, pfns: NDArray[np.int64]) -> NDArray[np.uint32]:
        """
        The same of pages of one kind.

        :param pfns: their page frames, in order
        """
        found = np.zeros(len(pfns), np.uint32)
        if kind in _POOLS:
            pointers = self._pointers(kind, pfns)
            for pointer in np.unique(pointers[pointers != 0]).tolist():
                found[pointers == pointer] = self._pool(kind, pointer)
            return found
        if kind == "offline":
            found[in_balloon(self._prog, pfns)] = self._balloon
            return found
        if kind not in self._known:
            self._known[kind] = self._walk(kind)
        known, numbers = self._known[kind]
        # Those that are known are few; of two that name one page the first counts.
        start, end = np.searchsorted(known, (pfns[0], pfns[-1] + 1)).tolist()
        known, numbers = known[start:end][::-1], numbers[start:end][::-1]
        places = np.searchsorted(pfns, known)
        there = pfns[places] == known
        found[places[there]] = numbers[there]
        return found

    def _walk(self, kind: str) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """All pages of a kind that have a holder, in order, and the holders."""
        walks: dict[str, tuple[_Walk, ...]] = {
            "kernel stack": (("the list of tasks", self._stacks),),
            "page table": (("page tables", self._page_tables),),
            "shmem": (("DMA buffers", self._dma_bufs),),
            "hugetlb": (("DMA buffers", self._dma_bufs),),
        }
        if kind in _OWN_KINDS:
            return self._own
        return self._all(walks[kind])

    @functools.cached_property
    def _own(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """
        The same of those that the kernel has for itself. Upper page tables have no type
        of their own before 6.15. CMA areas come last: what is part of a DMA buffer is
        its.
        """
        return self._all(
            (
                *(
                    (what, functools.partial(s, self._prog))
                    for what, s in SOURCES.items()
                ),
                ("page tables", self._page_tables),
                ("the list of tasks", self._stacks),
                ("DMA buffers", self._dma_bufs),
                ("CMA areas", self._cma_areas),
            )
        )

    def _all(
        self, walks: Iterable[_Walk]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """What some walks find, as far as they come."""
        parts, numbers = [np.zeros(0, np.int64)], [0]
        for what, walk in walks:
            try:
                for pfns, name, structure in walk():
                    parts.append(pfns)
                    numbers.append(self._numbered(name, structure))
            except UNREADABLE:
                self._missing(what)
        return _sorted(parts, numbers)

    def _missing(self, what: str) -> None:
        if what not in self.unread:
            self.unread.append(what)

    def _numbered(self, name: str, structure: str) -> int:
        """The number of a new holder."""
        self._names.append(name)
        self.structures.append(structure)
        return len(self._names) - 1

    def name(self, number: int) -> str | None:
        """Return the name of a holder; None for 0."""
        return self._names[number] or None

    @functools.cached_property
    def _tasks(self) -> list[tuple[Object, str]]:
        """Tasks, and what they are called; those up to one that cannot be read."""
        found = []
        try:
            for task in bounded(for_each_task(self._prog)):
                name = f"{_text(task.comm.string_())} (pid {task.pid.value_()})"
                found.append((task, name))
        except UNREADABLE:
            self._missing("the list of tasks")
        return found

    def _stacks(self) -> Iterator[Held]:
        """The stacks of tasks, which vmalloc() has made if CONFIG_VMAP_STACK=y."""
        uses, size = self._uses(), stack_size(self._prog)
        for task, name in self._tasks:
            address = task.stack.value_()
            pfns = uses.stack_pfns(address)
            if pfns is None:
                pfns = direct_pfns(self._prog, address, size)
            yield pfns, f"stack of {name}", "task_struct"

    def _page_tables(self) -> Iterator[Held]:
        """The page tables of each process once, and of the kernel."""
        yield from self._tables

    @functools.cached_property
    def _tables(self) -> list[Held]:
        seen: set[int] = set()
        found: list[Held] = []
        for mm, name in (*self._mms(), *((t.mm.read_(), n) for t, n in self._tasks)):
            if mm.value_() and mm.value_() not in seen:
                seen.add(mm.value_())
                try:
                    tables = np.concatenate(list(page_table_pfns(self._prog, mm)))
                except UNREADABLE:
                    self._missing("some page tables")
                    continue
                found.append((tables, f"page tables of {name}", "mm_struct"))
        return found

    def _mms(self) -> Iterator[tuple[Object, str]]:
        """The kernel's own address spaces, and what they are called."""
        for name in _MMS:
            try:
                mm = self._prog[name]
            except LookupError:
                continue
            if mm.type_.kind != TypeKind.POINTER:
                mm = mm.address_of_()
            yield mm.read_(), "the kernel" if name == "init_mm" else name

    def _cma_areas(self) -> Iterator[Held]:
        """What was allocated out of CMA areas."""
        for area in for_each_cma_area(self._prog):
            yield area.used_pfns(), f"CMA area {area.name}", "cma"

    def _dma_bufs(self) -> Iterator[Held]:
        yield from self._buffers

    @functools.cached_property
    def _buffers(self) -> list[Held]:
        """DMA buffers; those up to one that cannot be read."""
        found: list[Held] = []
        buffers = for_each_dma_buf(self._prog)
        try:
            # What has come before an error stays in.
            found.extend((each.pfns, each.name, "dma_buf") for each in buffers)
        except UNREADABLE:
            self._missing("DMA buffers")
        return found

    @functools.cached_property
    def _balloon(self) -> int:
        """The number of the balloon as a holder."""
        return self._numbered("balloon", "balloon_dev_info")

    def _pointers(self, kind: str, pfns: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The pools that pages of a kind lead to, 0 for none."""
        try:
            return _POOLS[kind].of(self._prog, pfns)
        except LookupError:
            return np.zeros(len(pfns), np.uint64)

    def _pool(self, kind: str, pointer: int) -> int:
        """The number of a pool as a holder."""
        if (kind, pointer) not in self._pools:
            structure, name = _POOLS[kind].structure, _POOLS[kind].name
            self._pools[kind, pointer] = self._numbered(
                name(self._prog, pointer), structure
            )
        return self._pools[kind, pointer]


def _sorted(
    parts: list[NDArray[np.int64]], numbers: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Page frames in order, and whose each is."""
    pfns = np.concatenate(parts)
    whose = np.repeat(np.array(numbers, np.uint32), [len(part) for part in parts])
    order = np.argsort(pfns, kind="stable")
    return pfns[order], whose[order]


def stack_size(prog: Program) -> int:
    """
    Return THREAD_SIZE by the stack of the first task, which is part of the kernel; 0 if
    it is not known.
    """
    # Since v6.10 it is called a stack.
    for what in ("stack", "task"):
        start = find_symbol(prog, f"__start_init_{what}")
        end = find_symbol(prog, f"__end_init_{what}")
        if start and end:
            return int(end.address - start.address)
    return 0


def _page_pools(prog: Program, pfns: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The ``struct page_pool *`` of pages that have one."""
    return page_members(prog, "pp", pfns)


def _page_pool_name(prog: Program, pointer: int) -> str:
    """What a page pool is called."""
    name = f"page pool at {pointer:#x}"
    try:
        pool = Object(prog, "struct page_pool *", pointer)
        if pool.type_.type.has_member("user"):
            name = f"page pool {pool.user.id.value_()}"
        if pool.type_.type.has_member("slow"):
            device = pool.slow.netdev.read_()
            if device:
                return f"{name} of {_text(device.name.string_())}"
        if pool.p.dev:
            return f"{name} of {_text(dev_name(pool.p.dev))}"
    except UNREADABLE:
        pass
    return name


def _zs_pool_name(prog: Program, pointer: int) -> str:
    """What a pool of compressed memory is called."""
    try:
        name = zs_pool_name(prog, pointer)
    except UNREADABLE:
        return f"zsmalloc pool at {pointer:#x}"
    return f"zsmalloc pool {name}"


class _Pools(NamedTuple):
    """Pools, to which each page of a kind leads."""

    structure: str
    of: Callable[[Program, NDArray[np.int64]], NDArray[np.uint64]]
    name: Callable[[Program, int], str]


_POOLS = {
    "page pool": _Pools("page_pool", _page_pools, _page_pool_name),
    "zsmalloc": _Pools("zs_pool", zs_pools, _zs_pool_name),
}


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
