# SPDX-License-Identifier: GPL-2.0-or-later
"""
Attach and detach so many times, in a guest where pages come and go meanwhile; each time
something must have been recorded.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from churn import churn

from pagedbg.capture.backends.bpf import BpfBackend
from pagedbg.capture.backends.bpf_programs import TRAMPOLINE
from pagedbg.schema.event_filter import EventFilter
from pagedbg.schema.filter_record import pack
from pagedbg.schema.recorded_names import RecordedNames

DESCRIBE = Path(__file__).with_name("describe.py")


def main(times: int) -> None:
    facts = json.loads(
        subprocess.run(
            [sys.executable, DESCRIBE], check=True, capture_output=True, text=True
        ).stdout
    )
    functions = {event: facts["functions"][event] for event in ("set", "reset")}
    load = churn("pairs 0 50")
    try:
        for turn in range(times):
            backend = BpfBackend.load(
                functions,
                facts["constants"],
                facts["addresses"],
                slots=1024,
                attach=TRAMPOLINE,
                filter_=pack(EventFilter(), RecordedNames()),
            )
            assert not backend.failed, backend.failed
            while not backend.counts()["head"].sum():
                assert os.waitpid(load, os.WNOHANG) == (0, 0)
            backend.close()
            assert turn < times
    finally:
        os.kill(load, signal.SIGKILL)
        os.waitpid(load, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
