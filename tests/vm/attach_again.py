# SPDX-License-Identifier: GPL-2.0-or-later
"""Attach and detach so many times, in a guest where pages come and go meanwhile; each time something must have been recorded."""

from __future__ import annotations

import json
import subprocess
import sys

from pagedbg.capture.bpf import TRAMPOLINE, BpfBackend
from pagedbg.capture.filter import everything

# drgn and libbcc are never loaded into one process.
FACTS = """
import dataclasses, json
from pagedbg.capture.hooks import describe_kernel
from pagedbg.target import open_target
print(json.dumps(dataclasses.asdict(describe_kernel(open_target()))))
"""


def main(times: int) -> None:
    facts = json.loads(subprocess.run([sys.executable, "-c", FACTS], check=True, capture_output=True, text=True).stdout)
    functions = {event: facts["functions"][event] for event in ("set", "reset")}
    load = subprocess.Popen(["sh", "-c", "while echo pairs 0 300 >/proc/pagedbg_churn; do sleep 0.02; done"])
    try:
        for turn in range(times):
            backend = BpfBackend.load(
                functions, facts["constants"], facts["addresses"], slots=1024, attach=TRAMPOLINE, filter_=everything()
            )
            assert not backend.failed, backend.failed
            while not backend.counts()["head"].sum():
                assert load.poll() is None
            backend.close()
            assert turn < times
    finally:
        load.kill()
        load.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
