# SPDX-License-Identifier: GPL-2.0-or-later
"""
Probes that are switched off are said to be; in files of the test's. What it means to a
kernel is in tests/vm/test_root.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pagedbg.capture.backends import silence
from pagedbg.capture.backends.backend import check_heard
from pagedbg.capture.backends.silence import silenced
from pagedbg.errors import PagedbgError
from pagedbg.target.switches import FTRACE, KPROBES, Switch, is_off


@pytest.fixture
def off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is switched off is named in this file, ``ftrace`` or ``kprobes``."""
    named = tmp_path / "off"

    def in_file(switch: Switch) -> bool:
        return {FTRACE: "ftrace", KPROBES: "kprobes"}[
            switch
        ] in named.read_text().split()

    monkeypatch.setattr(silence, "is_off", in_file)
    return named


@pytest.mark.parametrize(
    ("switched_off", "silent"),
    [
        ("", set()),
        ("ftrace", {"trampoline", "kprobe", "module"}),
        ("kprobes", {"kprobe", "module"}),
        ("ftrace kprobes", {"trampoline", "kprobe", "module"}),
    ],
)
def test_what_is_attached_in_which_way_sees_nothing(
    off: Path, switched_off: str, silent: set[str]
) -> None:
    off.write_text(switched_off)
    assert {
        attach
        for attach in ("trampoline", "kprobe", "tracepoint", "module")
        if silenced(attach)
    } == silent


def test_it_is_refused_with_a_way_out(off: Path) -> None:
    off.write_text("ftrace kprobes")
    with pytest.raises(
        PagedbgError,
        match=(
            r"ftrace_enabled is 0 and .* is 0, so that no event is seen: sysctl .*=1;"
            r" echo 1 >"
        ),
    ) as raised:
        check_heard("kprobe")
    assert "\n" not in str(raised.value)
    off.write_text("")
    check_heard("module")


@pytest.mark.parametrize(
    ("contents", "told"), [("0\n", True), ("1\n", False), (None, False)]
)
def test_a_switch_that_cannot_be_seen_is_not_said_to_be_off(
    tmp_path: Path, contents: str | None, told: bool
) -> None:
    if contents is not None:
        (tmp_path / "switch").write_text(contents)
    assert is_off(FTRACE._replace(path=tmp_path / "switch")) is told
