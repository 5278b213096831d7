# SPDX-License-Identifier: GPL-2.0-or-later
"""Which programs a kernel wants, and their image."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Final

from pagedbg.capture.backends.bpf_image import Image, build

TRAMPOLINE: Final = "trampoline"
KPROBE: Final = "kprobe"
TRACEPOINT: Final = "tracepoint"
"""
How programs are attached. A tracepoint stands in for both set and reset where
page_owner is off. Where it is on, for set alone: that spares page_owner from walking
its stack through a trampoline, but misses what is allocated in bulk or as a contiguous
range.
"""


_SPLITS = 4096


_CALLS = 4096


_STACKS = 16384


# A return probe finds the stack pointer where the function's caller has it: above the
# return address, which a probe at entry points to.
_SP_AT_RETURN = 8 if platform.machine() == "x86_64" else 0


def hooked(
    functions: Mapping[str, str], constants: Mapping[str, int | str], attach: str
) -> dict[str, str]:
    """
    What programs are attached to: ``functions`` by event, but for what a tracepoint
    stands in for.
    """
    return {
        **functions,
        **(
            {"set": "mm_page_alloc"}
            if attach == TRACEPOINT and constants["PAGE_OWNER"]
            else {}
        ),
    }


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
        "SP_AT_RETURN": _SP_AT_RETURN,
        **{
            "HOOK_" + event.upper().replace(" ", "_"): name
            for event, name in functions.items()
        },
        **constants,
    }
    return build(defines)
