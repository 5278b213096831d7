# SPDX-License-Identifier: GPL-2.0-or-later
"""
What C libraries write to standard error, kept for whoever wants to say it in one
sentence.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import IO


@contextlib.contextmanager
def quiet() -> Iterator[Callable[[], str]]:
    """
    Keep what is written to standard error; the value is a function that returns it,
    then and afterwards.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    written = b""

    def said() -> str:
        return (written or _content(file)).decode(errors="replace")

    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            written = _content(file)


def _content(file: IO[bytes]) -> bytes:
    if file.closed:
        return b""
    file.seek(0)
    return file.read()
