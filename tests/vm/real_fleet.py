# SPDX-License-Identifier: GPL-2.0-or-later
"""
A lake that guests of the lab have filled: two hosts over three days, of which one comes
to run another kernel, with a driver that leaks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from booted import OUT, PAGEDBG, PATIENCE, boot, modules, pagedbg

FRAMES = 1500
"""
What the driver receives before each snapshot. A page of each is lost, and the other 15
of its buffer are no buffer any more: there has to be memory for many more.
"""

BEFORE, AFTER = "2025-03-02", "2025-03-03"
"""The days of which there is something of both hosts."""


class Boot(NamedTuple):
    """
    A host from boot to end, with the times to which its clock is set for a snapshot.
    Around midnight minutes are two days, and a clock can be believed.
    """

    host: str
    kernel: str
    times: Sequence[str]
    leaks: bool = False


BOOTS = (
    Boot("web1", "6.1", ("2025-03-01 12:00",)),
    Boot("web1", "6.12", ("2025-03-02 23:40", "2025-03-03 00:10"), leaks=True),
    # The last is not believed: it has not run for half a day.
    Boot("web2", "6.1", ("2025-03-02 23:40", "2025-03-03 00:10", "2025-03-03 12:10")),
)

SET = "web2 at 2025-03-03T12:10:"
"""What is said of the snapshot that is not believed begins with this."""


def fill_lake(lake: Path, saved: Path) -> None:
    """:param saved: an empty directory, for what the guests have saved"""
    for each in BOOTS:
        _save(each, saved)
    done = pagedbg("fleet", "add", lake, saved)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout == f"Snapshots added to {lake}: 6.\n"


def _save(each: Boot, saved: Path) -> None:
    """Have a guest save what it is to save."""
    name = f"{each.host}-{each.kernel}"
    with boot(each.kernel, f"fleet-{each.host}", out=saved, memory="640M") as machine:
        # All guests have the files of this machine, whose id is one.
        id_ = hashlib.md5(each.host.encode()).hexdigest()
        machine.sh(f"hostname {each.host}; echo {id_} >/etc/machine-id")
        work = ":"
        if each.leaks:
            machine.run(["insmod", modules.leaky_module(machine.kernel)]).check()
            work = f"echo rx {FRAMES} >/proc/leaky"
        # One process, since it takes longer to start than all else.
        commands: list[str] = []
        for number, time in enumerate(each.times):
            commands += ["-e", f"!{work} && date -u -s '{time}'"]
            commands += ["-e", f"snapshot save {OUT / name}-{number}"]
        machine.run([PAGEDBG, *commands], timeout=2 * PATIENCE).check()
