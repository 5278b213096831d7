# SPDX-License-Identifier: GPL-2.0-or-later
"""Inside a guest: pages that come and go while something else is tried."""

from __future__ import annotations

import os
import time
from typing import NoReturn


def churn(*words: str, pause: float = 0.03) -> int:
    """
    Start a process that has contrib/lab/churn do this again and again, and return its
    pid. A shell would spend its time with starting sleep.
    """
    return os.fork() or _again_and_again(words, pause)


def _again_and_again(words: tuple[str, ...], pause: float) -> NoReturn:
    try:
        descriptor = os.open("/proc/pagedbg_churn", os.O_WRONLY)
        while True:
            for each in words:
                os.write(descriptor, each.encode())
            time.sleep(pause)
    finally:
        os._exit(1)
