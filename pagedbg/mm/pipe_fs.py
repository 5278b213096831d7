# SPDX-License-Identifier: GPL-2.0-or-later
"""
Pipes
-----

Helpers for ``include/linux/pipe_fs_i.h``: the pages that wait in pipes to be read.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from drgn import Object, Program, TypeKind, cast, sizeof
from drgn.helpers.linux.pid import for_each_task
from numpy.typing import NDArray

from pagedbg.mm._page_layout import page_layout
from pagedbg.mm.bulk_read import (
    byte_order,
    offset_of,
    read_array,
    read_words,
    record_dtype,
)
from pagedbg.target.declarations import find_symbol
from pagedbg.target.links import Damaged, bounded

__all__ = ("for_each_pipe",)

# What a file has that is a pipe; one without a name has its own in 7.x.
_OPERATIONS = ("pipefifo_fops", "pipeanon_fops")

# sysctl_nr_open is no more by default.
_MOST_FILES = 1 << 20

# PIPE_MAX_SIZE by default is 256; who may, makes longer ones.
_MOST_BUFFERS = 1 << 20


def for_each_pipe(prog: Program) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """
    Iterate over the pipes that processes have open: the number of the inode of each, as
    /proc/PID/fd has it, and the pages in it.
    """
    operations = [s.address for name in _OPERATIONS if (s := find_symbol(prog, name))]
    kind = prog.type("struct file")
    files = np.unique(np.concatenate([np.zeros(0, np.uint64), *_open_files(prog)]))
    words, _ = read_words(prog, files + np.uint64(offset_of(kind, "f_op")))
    seen: set[int] = set()
    for address in files[np.isin(words[:, 0], operations)].tolist():
        file = Object(prog, prog.pointer_type(kind), address)
        pipe = cast("struct pipe_inode_info *", file.private_data)
        # Both ends, and what is left of a file that was closed while we looked.
        if pipe.value_() and pipe.value_() not in seen:
            seen.add(pipe.value_())
            yield str(file.f_inode.i_ino.value_()), _pages(pipe)


def _open_files(prog: Program) -> Iterator[NDArray[np.uint64]]:
    """The ``struct file *`` that each process has open."""
    word = np.dtype(f"{byte_order(prog)}u8")
    for task in bounded(for_each_task(prog)):
        files = task.files.read_()
        if files and task.pid.value_() == task.tgid.value_():
            table = files.fdt.read_()
            count = min(table.max_fds.value_(), _MOST_FILES)
            found, _ = read_array(prog, table.fd.value_(), count, word)
            yield found[found != 0].astype(np.uint64)


def _pages(pipe: Object) -> NDArray[np.int64]:
    """The pages of a ``struct pipe_inode_info *``, and those kept for the next."""
    prog = pipe.prog_
    size = pipe.ring_size.value_()
    if not 0 < size <= _MOST_BUFFERS or size & (size - 1):
        raise Damaged(
            f"the memory of this kernel is damaged: a pipe would have {size} buffers"
        )
    kind = prog.type("struct pipe_buffer")
    fields = {"page": (f"{byte_order(prog)}u8", offset_of(kind, "page"))}
    buffers, _ = read_array(
        prog, pipe.bufs.value_(), size, record_dtype(fields, sizeof(kind))
    )
    head, tail = int(pipe.head), int(pipe.tail)
    used = np.arange(tail, tail + min((head - tail) % (1 << 32), size)) % size
    pages = buffers["page"][used].astype(np.uint64).tolist()
    known = np.array([page for page in (*pages, *_spare(pipe)) if page], np.uint64)
    return page_layout(prog).pfns(known)


def _spare(pipe: Object) -> list[int]:
    """The ``struct page *`` that are kept for what is written next, 0 among them."""
    if pipe.type_.type.has_member("prealloc"):
        # 7.x
        kept = pipe.prealloc.pages
        return [page.value_() for page in kept][: int(pipe.prealloc.count)]
    kept = pipe.tmp_page
    if kept.type_.kind == TypeKind.ARRAY:
        # Since v6.15 there are two.
        return [page.value_() for page in kept]
    return [kept.value_()]
