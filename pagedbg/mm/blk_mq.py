# SPDX-License-Identifier: GPL-2.0-or-later
"""
Block devices' requests
-----------------------

Helpers for ``include/linux/blk-mq.h``: the memory of the requests of block devices,
which is allocated with each device.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from drgn import Object, Program, cast
from drgn.helpers.linux.block import disk_name, for_each_disk
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.mm import page_to_pfn
from drgn.helpers.linux.xarray import xa_for_each
from numpy.typing import NDArray

from pagedbg.mm._direct_map import pfns_of_block, together
from pagedbg.target.links import Damaged, bounded, limited

__all__ = ("for_each_disk_requests",)

# A queue for each CPU.
_MOST_QUEUES = 1 << 13


def for_each_disk_requests(
    prog: Program,
) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """
    Iterate over block devices: the name of each, and the pages of its requests. Those
    that several devices share are the first one's.
    """
    seen: set[int] = set()
    for disk in bounded(for_each_disk(prog)):
        parts = []
        for tags in _tags(disk.queue.read_()):
            if tags.value_() and tags.value_() not in seen:
                seen.add(tags.value_())
                parts += [*_pages(tags)]
        if parts:
            name = disk_name(disk).decode("utf-8", "backslashreplace")
            yield name, together(parts)


def _tags(queue: Object) -> Iterator[Object]:
    """The ``struct blk_mq_tags *`` of a queue, NULL among them."""
    tag_set = queue.tag_set.read_()
    if not tag_set:
        # A driver that takes no requests.
        return
    count = tag_set.nr_hw_queues.value_()
    if not 0 <= count <= _MOST_QUEUES:
        raise Damaged(
            f"the memory of this kernel is damaged: a disk would have {count} queues"
        )
    yield from (tag_set.tags[i].read_() for i in range(count))
    for context in _contexts(queue):
        if context:
            yield context.sched_tags.read_()


def _contexts(queue: Object) -> Iterator[Object]:
    """The ``struct blk_mq_hw_ctx *`` of a queue."""
    # Between Linux kernel commits 4e5cc99e1e48 ("blk-mq: manage hctx map via xarray")
    # (in v5.18) and d0c98769ee7d ("blk-mq: use array manage hctx map instead of
    # xarray") (in v6.19), they are in an xarray.
    if not queue.type_.type.has_member("queue_hw_ctx"):
        type_ = queue.prog_.type("struct blk_mq_hw_ctx *")
        for _, entry in limited(list, xa_for_each(queue.hctx_table.address_of_())):
            yield cast(type_, entry)
        return
    count = queue.nr_hw_queues.value_()
    if queue.queue_hw_ctx and 0 <= count <= _MOST_QUEUES:
        yield from (queue.queue_hw_ctx[i].read_() for i in range(count))


def _pages(tags: Object) -> Iterator[NDArray[np.int64]]:
    """The blocks of pages of requests: ``blk_mq_alloc_rqs()``."""
    for page in bounded(
        list_for_each_entry("struct page", tags.page_list.address_of_(), "lru")
    ):
        yield pfns_of_block(page_to_pfn(page).value_(), page.private.value_())
