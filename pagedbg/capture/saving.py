# SPDX-License-Identifier: GPL-2.0-or-later
"""
Keeping a capture: a copy in a better place, and the pages of its allocations as they
are at that time.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.directory import Capture
from pagedbg.capture.files import PAGES, CaptureError, Folder
from pagedbg.capture.held_file import HEAD
from pagedbg.capture.sealing import seal_segments
from pagedbg.capture.this_boot import now
from pagedbg.capture.writer import CaptureWriter
from pagedbg.schema.capture_meta import Ended


def copy_capture(
    capture: Capture,
    to: Path,
    pages: NDArray[Any] | None,
    stacks: Iterable[tuple[int, list[str]]],
) -> None:
    """
    Write what is sound of a capture into a directory, which is there whole in the end
    or not at all. Of one that is being recorded, up to now.

    :param to: a path at which there is nothing yet
    :param pages: records of pages to be kept with it, None for none
    :param stacks: more stacks, by handle, innermost frame first
    :raises CaptureError: if it cannot be written, with the reason
    """
    new = to.with_name(to.name + ".new")
    writer = CaptureWriter(new)
    try:
        meta = msgspec.structs.replace(capture.meta)
        if capture.at_work:
            meta.ended = Ended(**now(), by="trace save")
        writer.begin(meta)
        if capture.held is not None:
            # What is damaged is not copied: it may be a hole of any size.
            with capture.reading(HEAD):
                capture.held.summaries()
                capture.held.freed()
            writer.take_held(capture.held)
        for records in capture.counted(writer.take_sealed):
            if writer.append(records) < len(records):
                raise OSError(errno.ENOSPC, writer.fault)
        for handle, stack in (*capture.stacks(), *stacks):
            line = json.dumps({"handle": handle, "stack": stack}).encode() + b"\n"
            if os.write(writer.stacks, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        writer.close()
        if not meta.held:
            seal_segments(new, writer.take_full())
        if pages is not None:
            keep_pages(new, pages)
        new.rename(to)
    except BaseException as error:
        shutil.rmtree(new, ignore_errors=True)
        if isinstance(error, OSError):
            raise CaptureError(f"{to}: {error.strerror}.") from None
        raise


def keep_pages(capture: Path, pages: NDArray[Any]) -> None:
    """
    Write records of pages into the directory of a capture.

    :raises OSError: if they cannot be written
    """
    with Folder(capture) as folder:
        with open(
            folder.open(PAGES, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb"
        ) as file:
            np.save(file, pages, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        folder.sync()
