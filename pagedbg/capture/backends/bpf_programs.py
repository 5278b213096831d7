# SPDX-License-Identifier: GPL-2.0-or-later
"""Which programs a kernel wants, and their image."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Final

from pagedbg.capture.backends.bpf_image import CAST_CALL, VALUE_MARK, Image, build
from pagedbg.schema.event_record import TRACEPOINTS

TRAMPOLINE: Final = "trampoline"
KPROBE: Final = "kprobe"
TRACEPOINT: Final = "tracepoint"
COMBINED: Final = "combined"
"""
How programs are attached, see ``bpf/capture.bpf.c``. Tracepoints stand in for set and
reset; with page_owner on, they miss what compaction and ``alloc_contig_range()``
allocate, which the combined way hears of by itself.
"""

_SPLITS = 4096


_CALLS = 4096


_STACKS = 16384


PENDING: Final = 4096
"""Places in the table of allocations that nobody tells of (``bpf/pending.h``)."""


# A return probe finds the stack pointer where the function's caller has it: above the
# return address, which a probe at entry points to.
_SP_AT_RETURN = 8 if platform.machine() == "x86_64" else 0


def hooked(functions: Mapping[str, str], attach: str) -> dict[str, str]:
    """
    What programs are attached to: ``functions`` by event, but for what a tracepoint
    stands in for.
    """
    tracepoints = TRACEPOINTS if attach in (TRACEPOINT, COMBINED) else {}
    return {**functions, **tracepoints}


def image_for(
    functions: Mapping[str, str],
    constants: Mapping[str, int | str],
    cpus: int,
    slots: int,
    attach: str,
) -> Image:
    """
    The programs for a kernel, from the cache or compiled; on any machine.

    :param functions: as from :func:`hooked`; this and the others as for
        :meth:`BpfBackend.load`
    :param cpus: how many CPUs the kernel may have
    :raises PagedbgError: if they cannot be compiled
    """
    defines: dict[str, int | str] = {
        "CPUS": cpus,
        "SLOTS": slots,
        "HOOKS": attach.upper(),
        "SPLITS": _SPLITS,
        "CALLS": _CALLS,
        "STACKS": _STACKS,
        "PENDING": PENDING,
        "CAST_CALL": CAST_CALL,
        "VALUE_MARK": VALUE_MARK,
        "SP_AT_RETURN": _SP_AT_RETURN,
        "STORES_IN_ORDER": int(platform.machine() == "x86_64"),
        **{
            "HOOK_" + event.upper().replace(" ", "_"): name
            for event, name in functions.items()
        },
        **constants,
    }
    return build(defines)
