# SPDX-License-Identifier: GPL-2.0-or-later
"""
Memory control groups
---------------------

Helpers for ``include/linux/memcontrol.h``: to which memory cgroup a page is charged.
"""

from __future__ import annotations

import operator

from drgn import NULL, IntegerLike, Object, Program
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.cgroup import cgroup_path
from drgn.helpers.linux.mm import compound_head

from pagedbg.target.links import limited

__all__ = (
    "memcg_data_memcg",
    "memcg_online",
    "memcg_path",
    "page_memcg_check",
)

# include/linux/cgroup-defs.h, CSS_ONLINE
_CSS_ONLINE = 1 << 1


def _objexts_bit(prog: Program) -> int:
    # Since Linux kernel commit 21c690a349ba ("mm: introduce slabobj_ext to support slab
    # object extensions") (in v6.10) the enumerator is MEMCG_DATA_OBJEXTS.
    try:
        return int(prog["MEMCG_DATA_OBJEXTS"].value_())
    except LookupError:
        return int(prog["MEMCG_DATA_OBJCGS"].value_())


def _flags_mask(prog: Program) -> int:
    # OBJEXTS_FLAGS_MASK takes in one flag more than MEMCG_DATA_FLAGS_MASK.
    try:
        return int(prog["__NR_OBJEXTS_FLAGS"].value_()) - 1
    except LookupError:
        return int(prog["__NR_MEMCG_DATA_FLAGS"].value_()) - 1


@takes_program_or_default
def memcg_data_memcg(prog: Program, memcg_data: IntegerLike) -> Object:
    """
    Return the memory cgroup that the word ``memcg_data`` of a head page points to, as
    ``page_memcg_check()``.

    :param memcg_data: ``unsigned long``
    :return: ``struct mem_cgroup *``, ``NULL`` if not charged, or charged object by
        object (slab).
    """
    data = operator.index(memcg_data)
    pointer = data & ~_flags_mask(prog)
    if not pointer or data & _objexts_bit(prog):
        return NULL(prog, "struct mem_cgroup *")
    # In 7.x every charged page points to an object cgroup, which then has the member
    # is_root; before that, only the kernel's own pages do, and the others to the memory
    # cgroup itself.
    if data & prog["MEMCG_DATA_KMEM"].value_() or prog.type(
        "struct obj_cgroup"
    ).has_member("is_root"):
        return Object(prog, "struct obj_cgroup *", pointer).memcg.read_()
    return Object(prog, "struct mem_cgroup *", pointer)


def page_memcg_check(page: Object) -> Object:
    """
    Return the memory cgroup that a page is charged to.

    :param page: ``struct page *``
    :return: ``struct mem_cgroup *``, ``NULL`` if there is none.
    """
    try:
        memcg_data = compound_head(page).memcg_data.value_()
    except AttributeError:
        # CONFIG_MEMCG=n
        return NULL(page.prog_, "struct mem_cgroup *")
    return memcg_data_memcg(page.prog_, memcg_data)


def memcg_online(memcg: Object) -> bool:
    """
    Return whether a memory cgroup still exists for user space.

    :param memcg: ``struct mem_cgroup *``
    """
    return bool(memcg.css.flags & _CSS_ONLINE)


def memcg_path(memcg: Object) -> str:
    """
    Get the path of a memory cgroup, followed by `` (offline)`` if the group was
    removed.

    :param memcg: ``struct mem_cgroup *``
    """
    path = limited(cgroup_path, memcg.css.cgroup).decode("utf-8", "backslashreplace")
    return path if memcg_online(memcg) else f"{path} (offline)"
