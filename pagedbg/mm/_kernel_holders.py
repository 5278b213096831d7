# SPDX-License-Identifier: GPL-2.0-or-later
"""
The kernel's own structures that have whole pages for themselves, and what lists them:
from a structure to its pages, since these do not lead back to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from drgn import Program
from numpy.typing import NDArray

from pagedbg.mm.blk_mq import for_each_disk_requests
from pagedbg.mm.bpf import for_each_bpf_ringbuf
from pagedbg.mm.btf import for_each_btf
from pagedbg.mm.ftrace import ftrace_pages
from pagedbg.mm.genalloc import for_each_dma_pool
from pagedbg.mm.mempool import for_each_page_mempool
from pagedbg.mm.pipe_fs import for_each_pipe
from pagedbg.mm.system_hash import for_each_system_hash
from pagedbg.mm.trace import for_each_trace_array, saved_cmdlines_pfns
from pagedbg.mm.virtio_ring import for_each_virtio_rings

__all__ = ("SOURCES", "Held")

Held = tuple[NDArray[np.int64], str, str]
"""Pages, the name of who holds them, and whose structure it is that says so."""


def _named(
    structure: str,
    words: str,
    walk: Callable[[Program], Iterator[tuple[str, NDArray[np.int64]]]],
) -> Callable[[Program], Iterator[Held]]:
    """What yields holders whose names have words before them."""

    def found(prog: Program) -> Iterator[Held]:
        for name, pfns in walk(prog):
            yield pfns, f"{words} {name}", structure

    return found


def _trace_arrays(prog: Program) -> Iterator[Held]:
    for name, pfns in for_each_trace_array(prog):
        holder = f"trace buffers of {name}" if name else "trace buffers"
        yield pfns, holder, "trace_array"
    yield saved_cmdlines_pfns(prog), "names of traced tasks", "saved_cmdlines_buffer"


def _ftrace(prog: Program) -> Iterator[Held]:
    for pfns in ftrace_pages(prog):
        yield pfns, "functions that can be traced", "ftrace_page"


SOURCES: dict[str, Callable[[Program], Iterator[Held]]] = {
    "BTF": _named("btf", "BTF", for_each_btf),
    "BPF ring buffers": _named("bpf_ringbuf", "BPF ring buffer", for_each_bpf_ringbuf),
    "memory pools": _named("mempool", "memory pool", for_each_page_mempool),
    "virtio rings": _named("virtqueue", "virtio rings of", for_each_virtio_rings),
    "hash tables": _named("hash table", "hash table", for_each_system_hash),
    "the tracer's functions": _ftrace,
    "trace buffers": _trace_arrays,
    "requests of disks": _named("blk_mq_tags", "requests of", for_each_disk_requests),
    "pipes": _named("pipe_inode_info", "pipe", for_each_pipe),
    "pools for DMA": _named("gen_pool", "DMA pool", for_each_dma_pool),
}
"""By what could not be read if one of them fails."""
