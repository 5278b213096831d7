# SPDX-License-Identifier: GPL-2.0-or-later
"""
Migration
---------

Helpers for ``include/linux/migrate.h`` and ``migrate_mode.h``: the kernel's own names
of migratetypes and of reasons to migrate.
"""

from __future__ import annotations

import operator

from drgn import IntegerLike, Program
from drgn.helpers.common.prog import takes_program_or_default

from pagedbg.mm.bulk_read import c_string, number

__all__ = (
    "decode_migrate_reason",
    "decode_migratetype",
    "migrate_reason_names",
    "migratetype_names",
)


# There are six migratetypes and ten reasons.
_MOST_NAMES = 64


def _string_table(prog: Program, name: str, end: str) -> tuple[str, ...]:
    """
    Read ``const char * const name[end]``, ``end`` being the enumerator that counts the
    entries.
    """
    key = f"pagedbg_{name}"
    try:
        return prog.cache[key]  # type: ignore[no-any-return]
    except KeyError:
        pass
    table = prog[name]
    result = tuple(
        c_string(table[i]).decode("ascii", "replace")
        for i in range(number(prog, end, _MOST_NAMES))
    )
    prog.cache[key] = result
    return result


@takes_program_or_default
def migratetype_names(prog: Program) -> tuple[str, ...]:
    """
    Return the names of ``enum migratetype`` in its order, from ``const char * const
    migratetype_names[MIGRATE_TYPES]`` (``mm/page_alloc.c``).

    >>> migratetype_names()
    ('Unmovable', 'Movable', 'Reclaimable', 'HighAtomic', 'CMA', 'Isolate')
    """
    return _string_table(prog, "migratetype_names", "MIGRATE_TYPES")


@takes_program_or_default
def migrate_reason_names(prog: Program) -> tuple[str, ...]:
    """
    Return the names of ``enum migrate_reason`` in its order, from ``const char
    *migrate_reason_names[MR_TYPES]`` (``mm/debug.c``).

    >>> migrate_reason_names()[0]
    'compaction'
    """
    return _string_table(prog, "migrate_reason_names", "MR_TYPES")


@takes_program_or_default
def decode_migratetype(prog: Program, migratetype: IntegerLike) -> str:
    """
    Get the name of a migratetype, or its number where it has none.

    :param migratetype: ``enum migratetype``
    """
    value = operator.index(migratetype)
    names = migratetype_names(prog)
    return names[value] if 0 <= value < len(names) else str(value)


@takes_program_or_default
def decode_migrate_reason(prog: Program, reason: IntegerLike) -> str | None:
    """
    Get the name of a reason to migrate, ``None`` where the page was never migrated.

    :param reason: ``short``, ``page_owner::last_migrate_reason``
    """
    value = operator.index(reason)
    # "Never" is -1; in 7.3 it became an enumerator with a name of its own, MR_NEVER.
    try:
        never = prog["MR_NEVER"].value_()
    except LookupError:
        never = -1
    if value in (-1, never):
        return None
    names = migrate_reason_names(prog)
    return names[value] if 0 <= value < len(names) else str(value)
