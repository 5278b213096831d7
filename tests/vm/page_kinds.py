# SPDX-License-Identifier: GPL-2.0-or-later
"""
Inside a guest: what pagedbg's decoder says of all pages, and what /proc/kpageflags,
kpagecount and kpagecgroup say right before and after. A program by itself, so that
nothing else is done in between.

    page_kinds.py OUTPUT.npz
"""

from __future__ import annotations

import ctypes
import sys

import numpy as np

from pagedbg.mm.page_array import PageDecoder, Pages
from pagedbg.mm.page_kinds import KINDS
from pagedbg.target.opening import open_target

PROC = ("kpageflags", "kpagecount", "kpagecgroup")

# How often it is looked again, if a process was started meanwhile.
LOOKS = 200

# malloc.h, and include/uapi/linux/prctl.h
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
PR_SET_THP_DISABLE = 41


def said() -> dict[str, np.ndarray]:
    """What the kernel says, an element a page frame."""
    return {name: np.frombuffer(read(f"/proc/{name}"), np.uint64) for name in PROC}


def read(path: str) -> bytes:
    """Read one of these files: whole numbers at once, or the kernel refuses."""
    with open(path, "rb", buffering=0) as file:
        return b"".join(iter(lambda: file.read(1 << 20), b""))


def keep_memory() -> None:
    """
    What is freed stays ours: to be given pages anew would change those we look at. And
    khugepaged makes no huge pages of it.
    """
    libc = ctypes.CDLL(None)
    assert libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)
    assert libc.mallopt(M_MMAP_MAX, 0)
    assert libc.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0


def look(
    decoder: PageDecoder, end: int
) -> tuple[dict[str, np.ndarray], list[Pages], dict[str, np.ndarray]]:
    """What the kernel says, what we find, and what the kernel says then."""
    before = said()
    return before, list(decoder.pieces(0, end)), said()


def started() -> int:
    """How many processes and threads were started since boot."""
    with open("/proc/stat", encoding="ascii") as stat:
        return next(int(line.split()[1]) for line in stat if line[:9] == "processes")


def undisturbed(
    decoder: PageDecoder, end: int
) -> tuple[dict[str, np.ndarray], list[Pages], dict[str, np.ndarray]]:
    """
    A look during which no process was started. One that starts and ends during it maps
    some hundred pages of its libraries once more, and leaves no trace before and after.
    """
    for _ in range(LOOKS):
        processes = started()
        found = look(decoder, end)
        if started() == processes:
            return found
    raise SystemExit(f"page_kinds: processes were started during each of {LOOKS} looks")


def main(output: str) -> None:
    keep_memory()
    prog = open_target().prog
    end = prog["max_pfn"].value_()
    decoder = PageDecoder(prog)
    # All memory that it takes, and all that is looked up once.
    look(decoder, end)
    before, pieces, after = undisturbed(decoder, end)
    memcg = np.concatenate([piece.memcg_data for piece in pieces])
    groups, group = np.unique(memcg, return_inverse=True)
    np.savez_compressed(
        output,
        kinds=np.array(pieces[-1].kinds[: len(KINDS)]),
        kind=np.concatenate([piece.kind for piece in pieces]),
        detail=np.concatenate([piece.detail for piece in pieces]),
        mapcount=np.concatenate([piece.mapcount for piece in pieces]),
        group=group,
        groups=np.array([decoder.names.memcg(data) or "" for data in groups.tolist()]),
        **{f"{name}_before": values[:end] for name, values in before.items()},
        **{f"{name}_after": values[:end] for name, values in after.items()},
    )


if __name__ == "__main__":
    main(sys.argv[1])
