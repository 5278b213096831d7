# SPDX-License-Identifier: GPL-2.0-or-later
"""
Whether the rings of what records with no recorder are frozen: looked at without taking
them over.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np

from pagedbg.capture.backends.bpf import PINS
from pagedbg.capture.backends.bpf_calls import open_pinned
from pagedbg.capture.backends.kmod import DEVICE
from pagedbg.schema.capture_meta import KMOD, Backend
from pagedbg.schema.event_record import FROZEN, HEADER
from pagedbg.schema.filter_record import FILTERS
from pagedbg.schema.freezing import Frozen, frozen_by


def frozen_rings(backend: Backend) -> Frozen | None:
    """
    What has stopped the rings of the module, or of BPF programs that are pinned; None
    if they are written, or are none of these.

    :raises OSError: if they cannot be read
    """
    if backend == KMOD:
        descriptor = os.open(DEVICE, os.O_RDONLY | os.O_CLOEXEC)
        header = _first_page(descriptor)
        at = int(np.frombuffer(header, HEADER, 1)["filters_at"][0])
        filters = header[at:]
    else:
        header = _first_page(open_pinned(_pinned("pagedbg_header")))
        filters = _first_page(open_pinned(_pinned("pagedbg_filter")))
    if not int(np.frombuffer(header, HEADER, 1)["active"][0]) & FROZEN:
        return None
    return frozen_by(np.frombuffer(filters, FILTERS, 1)["freeze"][0])


def _pinned(name: str) -> Path:
    return PINS / f"map:{name}"


def _first_page(descriptor: int) -> bytes:
    """What is in the first page of a file, which is closed."""
    try:
        with mmap.mmap(descriptor, mmap.PAGESIZE, prot=mmap.PROT_READ) as page:
            return bytes(page)
    finally:
        os.close(descriptor)
