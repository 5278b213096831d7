# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recorder that is this process would write into ``meta.json``."""

from __future__ import annotations

import os
from typing import Any

from pagedbg.capture.this_boot import boot_id, process_start
from pagedbg.schema.capture_meta import Begun, Kernel, Meta, Process, Since
from pagedbg.schema.event_filter import EventFilter
from pagedbg.schema.recorded_names import RecordedNames


def meta(**more: Any) -> Meta:
    """It, with other values for some of its members."""
    said: dict[str, Any] = {
        "kernel": Kernel("6.12.0", "", boot_id(), 4096, True),
        "backend": "bpf",
        "attach": "trampoline",
        "functions": {"set": "__set_page_owner"},
        "failed": {},
        "slots": 64,
        "ring": False,
        "filters": [Since(1000, EventFilter())],
        "begun": Begun(1000, "", 900),
        "names": RecordedNames(),
        "recorder": Process(os.getpid(), process_start(os.getpid())),
    }
    return Meta(**{**said, **more})
