# SPDX-License-Identifier: GPL-2.0-or-later
"""
Reverse mapping
---------------

Helpers for ``include/linux/rmap.h``: who maps a page.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterator
from typing import NamedTuple

from drgn import NULL, IntegerLike, Object, container_of, sizeof
from drgn.helpers.linux.list import hlist_for_each_entry
from drgn.helpers.linux.mm import compound_head, follow_pfn, page_index, page_to_pfn
from drgn.helpers.linux.pid import for_each_task

from pagedbg.target.links import UNREADABLE, bounded

__all__ = (
    "Mapping",
    "Mappings",
    "anon_vma_interval_tree_for_each",
    "mm_owner",
    "page_mappings",
    "vma_interval_tree_for_each",
)

# The two low bits of page->mapping: anonymous, and (with it) KSM. Their names changed
# (PAGE_MAPPING_ANON, FOLIO_MAPPING_ANON), their values never did.
_MAPPING_ANON = 0x1
_MAPPING_KSM = 0x3
_MAPPING_FLAGS = 0x3


class Mapping(NamedTuple):
    """
    A page is mapped at ``address`` of the address space ``mm`` (``struct mm_struct
    *``), that of process ``pid`` (None: not known).
    """

    mm: Object
    address: int
    pid: int | None
    comm: str | None


class Mappings(NamedTuple):
    """
    The mappings that were found, and whether all were looked at: the search is cut
    short by number and by time.
    """

    mappings: list[Mapping]
    complete: bool


def _interval_tree_for_each(
    root: Object, entry: str, rb: str, first: int
) -> Iterator[Object]:
    """
    Iterate over the entries of an interval tree
    (``include/linux/interval_tree_generic.h``), left to right, without the subtrees
    that end before *first*. Whether an entry itself meets it is for the caller to see.

    :param root: ``struct rb_root_cached``
    :param entry: Type of the entries, whose node is its member *rb* and whose
        ``rb_subtree_last`` is beside it.
    """
    subtree_last = rb.removesuffix("rb") + "rb_subtree_last"
    nodes = [root.rb_root.rb_node.read_()]
    while nodes:
        node = nodes.pop()
        if not node:
            continue
        item = container_of(node, entry, rb)
        last = item
        for member in subtree_last.split("."):
            last = last.member_(member)
        if last.value_() >= first:
            yield item
            nodes += [node.rb_right.read_(), node.rb_left.read_()]


def _vma_pages(vma: Object) -> int:
    return int(
        (vma.vm_end.value_() - vma.vm_start.value_())
        >> vma.prog_["PAGE_SHIFT"].value_()
    )


def _vma_anon_pgoff(vma: Object) -> int:
    """
    Return the index of the first anonymous page of a VMA.

    :param vma: ``struct vm_area_struct *``
    """
    # In 7.3 a private mapping of a file keeps a second offset, by which its anonymous
    # pages are found.
    try:
        return int(
            vma.__vm_anon_pgoff_hi.value_() << 32 | vma.__vm_anon_pgoff_lo.value_()
        )
    except AttributeError:
        return int(vma.vm_pgoff.value_())


def anon_vma_interval_tree_for_each(
    anon_vma: Object, index: IntegerLike
) -> Iterator[tuple[Object, int]]:
    """
    Iterate over the VMAs that an anonymous page may be mapped by.

    :param anon_vma: ``struct anon_vma *``
    :param index: ``pgoff_t``, the page's index
    :return: Iterator of (``struct vm_area_struct *``, address that *index* has in it).
    """
    index = operator.index(index)
    page_shift = anon_vma.prog_["PAGE_SHIFT"].value_()
    for avc in bounded(
        _interval_tree_for_each(anon_vma.rb_root, "struct anon_vma_chain", "rb", index)
    ):
        vma = avc.vma.read_()
        start = _vma_anon_pgoff(vma)
        if start <= index < start + _vma_pages(vma):
            yield vma, vma.vm_start.value_() + ((index - start) << page_shift)


def vma_interval_tree_for_each(
    mapping: Object, index: IntegerLike
) -> Iterator[tuple[Object, int]]:
    """
    Iterate over the VMAs that a page of a file may be mapped by.

    :param mapping: ``struct address_space *``
    :param index: ``pgoff_t``, the page's index in the file
    :return: Iterator of (``struct vm_area_struct *``, address that *index* has in it).
    """
    index = operator.index(index)
    page_shift = mapping.prog_["PAGE_SHIFT"].value_()
    for vma in bounded(
        _interval_tree_for_each(
            mapping.i_mmap, "struct vm_area_struct", "shared.rb", index
        )
    ):
        start = vma.vm_pgoff.value_()
        if start <= index < start + _vma_pages(vma):
            yield vma, vma.vm_start.value_() + ((index - start) << page_shift)


def _ksm_for_each(stable_node: Object) -> Iterator[tuple[Object, int]]:
    """
    Iterate over the address spaces that a KSM page was merged in (not over those forked
    from them since).

    :param stable_node: ``struct ksm_stable_node *``
    :return: Iterator of (``struct mm_struct *``, address).
    """
    page_mask = -stable_node.prog_["PAGE_SIZE"].value_()
    for item in bounded(
        hlist_for_each_entry(
            "struct ksm_rmap_item", stable_node.hlist.address_of_(), "hlist"
        )
    ):
        yield item.mm.read_(), item.address.value_() & page_mask


def mm_owner(mm: Object) -> Object:
    """
    Return a task that an address space belongs to, ``NULL`` if there is none any more.

    :param mm: ``struct mm_struct *``
    :return: ``struct task_struct *``
    """
    try:
        return mm.owner.read_()
    except AttributeError:
        pass
    # CONFIG_MEMCG=n
    for task in bounded(for_each_task(mm.prog_)):
        if task.mm == mm:
            return task.read_()
    return NULL(mm.prog_, "struct task_struct *")


def _candidates(page: Object) -> Iterator[tuple[Object, int]]:
    """Iterate over (``struct mm_struct *``, address) where a page may be mapped."""
    prog = page.prog_
    head = compound_head(page)
    mapping = head.mapping.value_()
    index = page_index(head).value_() + (page.value_() - head.value_()) // sizeof(
        prog.type("struct page")
    )
    if mapping & _MAPPING_FLAGS == _MAPPING_KSM:
        yield from _ksm_for_each(
            Object(prog, "struct ksm_stable_node *", mapping & ~_MAPPING_FLAGS)
        )
    elif mapping & _MAPPING_ANON:
        for vma, address in anon_vma_interval_tree_for_each(
            Object(prog, "struct anon_vma *", mapping & ~_MAPPING_FLAGS), index
        ):
            yield vma.vm_mm.read_(), address
    elif mapping and not mapping & _MAPPING_FLAGS:
        for vma, address in vma_interval_tree_for_each(
            Object(prog, "struct address_space *", mapping), index
        ):
            yield vma.vm_mm.read_(), address


def page_mappings(page: Object, limit: int = 16, seconds: float = 0.5) -> Mappings:
    """
    Find where an anonymous page or one of a file is mapped, as ``rmap_walk()`` does,
    and check each place in its page table.

    :param page: ``struct page *``, not of the slab allocator or any other page with a
        type of its own
    :param limit: how many mappings to return at most
    :param seconds: how long to look
    """
    pfn = page_to_pfn(page).value_()
    until = time.monotonic() + seconds
    mappings: list[Mapping] = []
    complete = True
    try:
        for mm, address in _candidates(page):
            if len(mappings) >= limit or time.monotonic() > until:
                return Mappings(mappings, False)
            try:
                if follow_pfn(mm, address).value_() != pfn:
                    continue
            except UNREADABLE as error:
                # Mostly it is not mapped there: never touched, copied on write, or
                # swapped out. Else the page table could not be read.
                complete = complete and "not mapped" in str(error)
                continue
            task = mm_owner(mm)
            mappings.append(
                Mapping(
                    mm,
                    address,
                    task.tgid.value_(),
                    task.comm.string_().decode("utf-8", "backslashreplace"),
                )
                if task
                else Mapping(mm, address, None, None)
            )
    except UNREADABLE:
        # The tree changed under us, is not in the dump, or is damaged.
        return Mappings(mappings, False)
    return Mappings(mappings, complete)
