# SPDX-License-Identifier: GPL-2.0-or-later
"""
What becomes of a guest that hangs, or whose kernel crashes: it costs no more than its
limit, and its console is kept and told.
"""

from __future__ import annotations

import pytest
from booted import CONSOLES, boot
from guest import CRASHED, TIMED_OUT, Guest
from kernels import LabError


def test_a_command_that_hangs_ends_its_guest_and_tells_the_console() -> None:
    with boot("6.12", "hung", memory="256M") as machine:
        machine.sh("echo '<0>on its way' >/dev/kmsg")
        done = machine.run(["sleep", "infinity"], timeout=2)
        assert done.status == TIMED_OUT
        assert "the time limit has passed" in str(done.failure)
        assert "on its way" in str(done.failure)
        with pytest.raises(LabError, match="not running"):
            machine.sh("true")
    assert "on its way" in (CONSOLES / "hung-6.12").read_text()


def test_a_kernel_that_crashes_ends_its_guest_and_tells_the_console() -> None:
    with boot("6.12", "crashed", memory="256M") as machine:
        done = machine.run(["sh", "-c", "echo c >/proc/sysrq-trigger"])
        assert done.status == CRASHED
        assert "Kernel panic" in str(done.failure)
        with pytest.raises(LabError, match="the guest's kernel crashed"):
            done.check()
    assert "Kernel panic" in (CONSOLES / "crashed-6.12").read_text()


def test_a_guest_that_does_not_boot_is_given_up() -> None:
    machine = Guest("6.12", memory="256M")
    with pytest.raises(LabError, match="the time limit has passed"):
        machine.start(timeout=1.0)
