# SPDX-License-Identifier: GPL-2.0-or-later
"""
Attach and detach so many times, in a guest where pages come and go meanwhile; each time
something must have been recorded, and page_owner must go on filing the stacks that it
did: what is attached is in none of them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from churn import churn
from depot import SETTLED, stacks

from pagedbg.capture.backends.bpf import BpfBackend
from pagedbg.capture.backends.bpf_programs import COMBINED
from pagedbg.schema.event_filter import EventFilter
from pagedbg.schema.filter_record import pack
from pagedbg.schema.freezing import UNFROZEN
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
                attach=COMBINED,
                filter_=pack(EventFilter(), RecordedNames()),
                freeze_on=UNFROZEN,
                untold=facts["untold"],
            )
            assert not backend.failed, backend.failed
            while not backend.counts()["head"].sum():
                assert os.waitpid(load, os.WNOHANG) == (0, 0)
            backend.close()
            if turn == SETTLED:
                before = stacks()
        # A stack with something of ours in it would be a new one each time.
        after = stacks()
        assert before is not None and after is not None
        assert after - before < (times - SETTLED) // 2, (before, after)
    finally:
        os.kill(load, signal.SIGKILL)
        os.waitpid(load, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
