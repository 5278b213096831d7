# SPDX-License-Identifier: GPL-2.0-or-later
"""
The process that seals full segments of a capture, while it goes on and, if there is
much, for a while after that.

On standard input comes the path of the directory as JSON, and then a line for each
segment: its number. It ends with its input. It gives way to all else that runs, and
loads nothing before the first segment: most captures have one that is never full.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path

# The lowest of all.
_NICE = 19


def main() -> None:
    """Seal what is asked for."""
    os.nice(_NICE)
    directory = Path(json.loads(sys.stdin.readline()))
    for first in sys.stdin:
        from pagedbg.capture.sealing import seal_segments

        seal_segments(directory, map(int, itertools.chain([first], sys.stdin)))


if __name__ == "__main__":
    main()
