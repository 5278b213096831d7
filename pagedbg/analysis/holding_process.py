# SPDX-License-Identifier: GPL-2.0-or-later
"""
The process that folds full segments into what is still held, while a recording goes on.

On standard input comes the path of the directory as JSON, and then lines of two
numbers: the segments before the first may be folded, and those before the second are
full. ``forget`` says that what was folded is forgotten. It ends with its input, and
gives way to all else that runs. What cannot be read or written is tried again with the
next line: all that it needs is on the disk.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

# The lowest of all.
_NICE = 19


def main() -> None:
    """Fold what is asked for."""
    os.nice(_NICE)
    directory = Path(json.loads(sys.stdin.readline()))
    holding = None
    for line in sys.stdin:
        from pagedbg.analysis.holding import Holding
        from pagedbg.capture.sealed import SealError

        if line == "forget\n":
            holding = None
            continue
        try:
            holding = holding or Holding(directory)
            holding.fold(*map(int, line.split()))
        except (OSError, SealError, MemoryError):
            holding = None


if __name__ == "__main__":
    main()
