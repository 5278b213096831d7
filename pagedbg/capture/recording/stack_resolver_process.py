# SPDX-License-Identifier: GPL-2.0-or-later
"""
The process that writes the stacks of a capture, while it goes on: a module may be gone
when it ends, and its symbols with it.

On standard input comes a line for each handle: ``{"handle": N}``, and ``"pcs": [...]``
where the stack is not in the kernel's depot. Standard output is the file, opened for
appending. It ends with its input. Nothing is loaded before the first line: most of the
time there is nothing to do.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, TextIO

# More than a prompt's worth of handles at once makes each pool to be read once.
_MOST = 4096


def main() -> None:
    """Write the stacks that are asked for, as JSON lines."""
    # Whatever a library may have to say does not belong into the file.
    with open(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        batches = _batches(sys.stdin)
        for first in batches:
            _resolve(itertools.chain([first], batches), out)


def _resolve(batches: Iterator[list[dict[str, Any]]], out: TextIO) -> None:
    from pagedbg.mm.stackdepot import StackDepot
    from pagedbg.target.opening import open_target

    # None of drgn's plugins names a stack.
    os.environ["DRGN_DISABLE_PLUGINS"] = "*"
    target = open_target()
    depot: StackDepot | None = None
    for asked in batches:
        target.symbolize.forget_modules()
        stacks: dict[int, list[int]] = {
            entry["handle"]: entry["pcs"] for entry in asked if "pcs" in entry
        }
        handles = [entry["handle"] for entry in asked if "pcs" not in entry]
        if handles:
            depot = depot or StackDepot(target.prog)
            stacks.update(
                (handle, list(pcs))
                for handle, pcs in depot.fetch_many(handles).items()
                if handle not in depot.faults
            )
        for handle, pcs in stacks.items():
            out.write(
                json.dumps({"handle": handle, "stack": target.symbolize(pcs)}) + "\n"
            )
        out.flush()


def _batches(file: TextIO) -> Iterator[list[dict[str, Any]]]:
    """Lines as they come, those that are there already together."""
    batch = []
    for line in file:
        batch.append(json.loads(line))
        if len(batch) == _MOST or not select.select([file], [], [], 0)[0]:
            yield batch
            batch = []
    if batch:
        yield batch


if __name__ == "__main__":
    main()
