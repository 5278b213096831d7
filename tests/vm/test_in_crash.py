# SPDX-License-Identifier: GPL-2.0-or-later
"""pagedbg at the prompt of crash(8), by contrib/crash: on what crash has open."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from booted import LAB, PAGEDBG, PATIENCE, Live, pagedbg

ALIAS = (LAB.parent / "crash/crashrc").read_text()

# Whoever takes this for words or for a command finds no dump.
NAME = "a dump; touch 'hurt' \"$(touch hurt)\" | "

# Standard input, and where there is one the terminal, is crash's.
COMMANDS = f"""\
pagedbg owners --by comm --orders '>=1' --top 3 --format jsonl >owners
pagedbg status | cat >status
pagedbg nonsense 2>refused
pagedbg
!{PAGEDBG} --crash zones --format jsonl -o zones
q
"""


# The newest kernel that Debian 12's crash can open.
@pytest.mark.parametrize("live", ["6.1"], indirect=True)
def test_commands_run_on_what_crash_has_open(live: Live, tmp_path: Path) -> None:
    (tmp_path / "rc").write_text(ALIAS.replace("/usr/local/bin/pagedbg", str(PAGEDBG)))
    os.symlink(live.core, tmp_path / NAME)
    crash = subprocess.run(
        ["crash", "-s", "-i", "rc", live.kernel.vmlinux, NAME],
        cwd=tmp_path,
        input=COMMANDS,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        start_new_session=True,
    )
    said = crash.stdout + crash.stderr
    assert crash.returncode == 0, said
    for name, command in (
        ("owners", "owners --by comm --orders >=1 --top 3"),
        ("zones", "zones"),
    ):
        direct = pagedbg("-c", live.core, *command.split(), "--format", "jsonl")
        assert direct.stdout and (tmp_path / name).read_text() == direct.stdout, said
    status = (tmp_path / "status").read_text()
    assert f"{live.core} (kdump" in status and "types from debug info" in status
    assert (tmp_path / "refused").read_text().startswith("nonsense: no such command")
    assert not (tmp_path / "hurt").exists()
    # With no terminal there is no prompt, and what eval says is no command of ours.
    assert "hexadecimal" not in said


@pytest.mark.parametrize("live", ["6.1"], indirect=True)
def test_a_dump_that_was_deleted_is_open_still(live: Live, tmp_path: Path) -> None:
    (tmp_path / "vmcore").hardlink_to(live.core)
    crash = subprocess.run(
        ["crash", "-s", live.kernel.vmlinux, "vmcore"],
        cwd=tmp_path,
        input=f"!rm vmcore\n!{PAGEDBG} --crash zones --format jsonl >zones\nq\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    zones = [json.loads(line) for line in (tmp_path / "zones").read_text().splitlines()]
    assert [row["zone"] for row in zones] == ["DMA", "DMA32"], crash.stdout
