# SPDX-License-Identifier: GPL-2.0-or-later
"""
A capture survives a power cut: a guest that records on a disk of its own is ended at a
random moment, and its disk is looked at.
"""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from booted import PAGEDBG, boot

from pagedbg.capture.directory import Capture
from pagedbg.schema.capture_meta import decode
from pagedbg.schema.loss import LossKind

pytestmark = pytest.mark.vm

# What the last seconds are: the recorder brings events to the disk every two, and
# everything takes its time under emulation.
LAST_SECONDS = 10

ORDER = 6
DISK, META = "/run/disk", "/run/disk/capture/meta.json"

# A shell that writes is recorded in small steps, and all of what is recorded is its
# own.
LOAD = f"while :; do echo pairs {ORDER} 20 >/proc/pagedbg_churn; sleep 0.05; done"


# What is done before the cut, which comes at another moment each time.
SCRIPT = f"""
    mkdir {DISK} && mount -t ext4 /dev/vda {DISK}
    ({LOAD}) >/dev/null 2>&1 </dev/null &
    setsid {PAGEDBG} record --orders {ORDER} -o {DISK}/capture --duration 10m >/run/said 2>&1 </dev/null &
    until grep -q '"mono_ns"' {META} 2>/dev/null; do kill -0 $! || {{ cat /run/said >&2; exit 1; }}; sleep 0.2; done
"""  # noqa: E501


def test_a_capture_survives_a_power_cut_up_to_its_last_seconds(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
    # The cut is as hard as that of a machine's power: what the guest has not written to
    # its disk is gone.
    with boot(
        "6.12",
        "power",
        qemu_opts=["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"],
    ) as machine:
        machine.load_churn()
        machine.sh(SCRIPT)
        time.sleep(random.uniform(2, 6))
        before = decode(machine.run(["cat", META]).check().stdout).counts
        time.sleep(LAST_SECONDS + random.uniform(0, 2))
        machine.guest.stop()
    subprocess.run(["e2fsck", "-fy", disk], check=False, capture_output=True)
    subprocess.run(
        ["debugfs", "-R", f"rdump /capture {tmp_path}", disk],
        check=True,
        capture_output=True,
    )

    capture = Capture(tmp_path / "capture")
    events = capture.events()
    assert before.kept > 0
    assert len(events) >= before.kept
    # No event is there that was not, and what is said to be gone is.
    lost = {loss.kind: loss.count for loss in capture.losses}
    assert lost.keys() <= {
        LossKind.KILLED,
        LossKind.GONE,
        LossKind.DAMAGED,
        LossKind.MISSED,
    }
    assert LossKind.KILLED in lost
    for cpu, count in enumerate(capture.meta.counts.cpus):
        numbers = events["seq"][events["cpu"] == cpu]
        assert sorted(numbers.tolist()) == list(range(1, len(numbers) + 1))
        assert len(numbers) >= count.written or lost.get(LossKind.GONE)
    assert (events["order"] == ORDER).all()
    assert np.isin(events["event"], (1, 2)).all()
