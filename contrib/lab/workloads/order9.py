# SPDX-License-Identifier: GPL-2.0-or-later
"""
Programs that come and go on a machine with the driver ``meter``: each looks into much
memory that it does not use, which takes page tables, opens some files, and most of them
end. See ``order9.sh``.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys

# An address space of so many bytes has a page table for each 2 MiB.
TABLES = 420
PMD = 2 << 20

PROGRAMS, STAY = 36, 4

MAP_NORESERVE = 0x4000


def program() -> mmap.mmap:
    """What one program does; it keeps what it returns."""
    memory = mmap.mmap(
        -1,
        TABLES * PMD,
        flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE,
    )
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for i in range(TABLES):
        # Only read, so that there is nothing but the table.
        _ = memory[i * PMD]
        if i % 8 == 0:
            os.pipe()
        if i == TABLES // 2:
            os.close(os.open("/proc/meter", os.O_RDONLY))
    return memory


def main() -> None:
    """Have them all live at a time, and most of them end."""
    with open("/proc/self/comm", "w") as file:
        file.write("scan")
    children = []
    for _ in range(PROGRAMS):
        done, ready = os.pipe()
        child = os.fork()
        if not child:
            _held = program()
            os.write(ready, b"1")
            signal.pause()
            os._exit(0)
        if os.read(done, 1) != b"1":
            sys.exit("a program has failed")
        os.close(done)
        os.close(ready)
        children.append(child)
    # Those that stay are neither the first nor the last.
    keep = set(children[6 :: PROGRAMS // STAY][:STAY])
    for child in children:
        if child not in keep:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    print("kept", len(keep), file=sys.stderr)
    signal.pause()


if __name__ == "__main__":
    main()
