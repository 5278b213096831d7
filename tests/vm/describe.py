# SPDX-License-Identifier: GPL-2.0-or-later
"""
Inside a guest: print as JSON what a back end is told of the kernel. A program by
itself, since drgn and libbcc are never loaded into one process.
"""

from __future__ import annotations

import dataclasses
import json

from pagedbg.capture.backends.hooks import describe_kernel
from pagedbg.target.opening import open_target

if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(describe_kernel(open_target()))))
