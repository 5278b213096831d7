# SPDX-License-Identifier: GPL-2.0-or-later
"""
Inside a guest that has Python and nothing of pagedbg: what its kernel says of all pages
before and after a moment at which it is dumped from outside, as soon as that says
``dump`` and gets a line for it. Again, if meanwhile free blocks have come or gone, or a
process was started: it may have been given the pages of one that ended, and ended.

    held_still.py DIRECTORY
"""

import sys

PROC = ("kpageflags", "buddyinfo")

# How often it is looked again.
LOOKS = 50


def read(name):
    """Read one of these files: whole numbers at once, or the kernel refuses."""
    with open(f"/proc/{name}", "rb", buffering=0) as file:
        return b"".join(iter(lambda: file.read(1 << 20), b""))


def started():
    """How many processes and threads were started since boot."""
    with open("/proc/stat", encoding="ascii") as stat:
        return next(int(line.split()[1]) for line in stat if line[:9] == "processes")


def main(directory):
    # All memory that it takes.
    for name in PROC:
        read(name)
    for _ in range(LOOKS):
        processes = started()
        before = {name: read(name) for name in PROC}
        print("dump", flush=True)
        sys.stdin.readline()
        after = {name: read(name) for name in reversed(PROC)}
        if before["buddyinfo"] == after["buddyinfo"] and started() == processes:
            break
    else:
        sys.exit(f"held_still: something happened during each of {LOOKS} looks")
    for when, said in (("before", before), ("after", after)):
        for name, data in said.items():
            with open(f"{directory}/{name}-{when}", "wb") as file:
                file.write(data)


if __name__ == "__main__":
    main(sys.argv[1])
