# SPDX-License-Identifier: GPL-2.0-or-later
"""
DMA buffers
-----------

Helpers for ``include/linux/dma-buf.h``: the pages behind buffers that devices share, of
those exporters that keep a list of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from drgn import Object, Program, cast, sizeof
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.list import list_for_each_entry
from numpy.typing import NDArray

from pagedbg.mm._page_layout import page_layout
from pagedbg.mm.bulk_read import (
    byte_order,
    c_string,
    offset_of,
    read_array,
    record_dtype,
)
from pagedbg.target.links import Damaged, bounded

__all__ = ("DmaBuf", "for_each_dma_buf", "has_dma_buf_list")

# Where they are listed, of which a kernel has one. All are, or begin with, a struct
# list_head.
_LISTS = ("dmabuf_list", "db_list", "debugfs_list")

# include/linux/scatterlist.h, and how many entries there are up to a chain's link.
_SG_CHAIN, _SG_END, _SG_FLAGS = 0x1, 0x2, 0x3
_MOST_ENTRIES = 1 << 20
_ENTRIES_PER_READ = 128

# Of 4 KiB, 256 GiB.
_MOST_PAGES = 1 << 26


class DmaBuf(NamedTuple):
    """A buffer (``struct dma_buf``)."""

    name: str
    pfns: NDArray[np.int64]
    """The page frames behind it; none of an exporter that is not known here."""


@takes_program_or_default
def for_each_dma_buf(prog: Program) -> Iterator[DmaBuf]:
    """
    Iterate over the DMA buffers of a kernel; there are none where it does not list
    them.

    :raises Damaged: if the list leads elsewhere, or a buffer is too large
    """
    head = _list(prog)
    if head is None:
        return
    for buffer in bounded(
        list_for_each_entry("struct dma_buf", head, "list_node"),
    ):
        file = buffer.file.read_()
        if file.private_data.value_() != buffer.value_():
            raise Damaged("the list of DMA buffers leads to what is none")
        exporter = _text(buffer.exp_name)
        name = f"DMA buffer {file.f_inode.i_ino.value_()} of {exporter}"
        if buffer.name:
            name += f" ({_text(buffer.name)})"
        yield DmaBuf(name, _pfns(buffer))


def has_dma_buf_list(prog: Program) -> bool:
    """Return whether a kernel lists its DMA buffers."""
    return _list(prog) is not None


def _list(prog: Program) -> Object | None:
    for name in _LISTS:
        try:
            at = prog.symbol(name).address
        except LookupError:
            continue
        return Object(prog, "struct list_head", address=at).address_of_()
    return None


def _pfns(buffer: Object) -> NDArray[np.int64]:
    try:
        ops = buffer.prog_.symbol(buffer.ops.value_()).name
    except LookupError:
        ops = ""
    if ops == "udmabuf_ops":
        return _of_udmabuf(cast("struct udmabuf *", buffer.priv))
    if ops == "system_heap_buf_ops":
        return _of_system_heap(cast("struct system_heap_buffer *", buffer.priv))
    return np.zeros(0, np.int64)


def _of_udmabuf(held: Object) -> NDArray[np.int64]:
    """
    Those of a file that user space has made a buffer of.

    :param held: ``struct udmabuf *``
    """
    prog, count = held.prog_, held.pagecount.value_()
    if count > _MOST_PAGES:
        raise Damaged(f"a DMA buffer would have {count:,} pages")
    word = np.dtype(f"{byte_order(prog)}u8")
    # In later kernels these are folios, and where in them a page begins.
    of_folios = held.type_.type.has_member("folios")
    pages, known = read_array(
        prog, (held.folios if of_folios else held.pages).value_(), count, word
    )
    found = page_layout(prog).pfns(pages.astype(np.uint64))
    if of_folios:
        offsets, read = read_array(prog, held.offsets.value_(), count, word)
        found = found + (offsets // prog["PAGE_SIZE"].value_()).astype(np.int64)
        known = known & read
    return found[known]


def _of_system_heap(held: Object) -> NDArray[np.int64]:
    """
    Those that were allocated for a buffer.

    :param held: ``struct system_heap_buffer *``
    """
    prog = held.prog_
    page_size = prog["PAGE_SIZE"].value_()
    if held.len.value_() > _MOST_PAGES * page_size:
        raise Damaged(f"a DMA buffer would have {held.len.value_():,} bytes")
    kind = prog.type("struct scatterlist")
    order = byte_order(prog)
    dtype = record_dtype(
        {
            "page_link": (f"{order}u8", offset_of(kind, "page_link")),
            "length": (f"{order}u4", offset_of(kind, "length")),
        },
        sizeof(kind),
    )
    parts = [np.zeros(0, np.int64)]
    left = -(-held.len.value_() // page_size)
    layout = page_layout(prog)
    at, seen = held.sg_table.sgl.value_(), 0
    while at and left > 0:
        entries, known = read_array(prog, at, _ENTRIES_PER_READ, dtype)
        following = 0
        for place, (link, length) in enumerate(entries.tolist()):
            seen += 1
            if not known[place] or seen > _MOST_ENTRIES:
                raise Damaged("the pages of a DMA buffer cannot be followed")
            if link & _SG_CHAIN:
                following = link & ~_SG_FLAGS
                break
            pages = min(-(-length // page_size), left)
            (first,) = layout.pfns(np.array([link & ~_SG_FLAGS], np.uint64))
            parts.append(np.arange(first, first + pages, dtype=np.int64))
            left -= pages
            if link & _SG_END or left <= 0:
                return np.concatenate(parts)
        else:
            following = at + _ENTRIES_PER_READ * dtype.itemsize
        at = following
    return np.concatenate(parts)


def _text(string: Object) -> str:
    return c_string(string).decode("utf-8", "backslashreplace")
