# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps that QEMU makes of a guest which had no way to tell it its vmcoreinfo."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from booted import boot, modules, pagedbg


def test_its_dumps_are_opened_by_what_is_in_their_memory(tmp_path: Path) -> None:
    elf, flat, kdump = (tmp_path / name for name in ("elf", "flat", "kdump"))
    with boot("6.12", "bare", memory="256M", vmcoreinfo=False) as machine:
        machine.run(["insmod", modules.blocks_module(machine.kernel)]).check()
        release = machine.sh("uname -r").strip()
        lines = machine.sh("cat /proc/pagedbg_blocks").splitlines()
        machine.guest.qmp("stop")
        for path, more in ((elf, {}), (flat, {"format": "kdump-zlib"})):
            machine.guest.qmp(
                "dump-guest-memory", paging=False, protocol=f"file:{path}", **more
            )
    with flat.open("rb") as file:
        subprocess.run(["makedumpfile", "-R", kdump], stdin=file, check=True)
    blocks = {
        (int(order), int(pfn))
        for name, order, pfn, _ in map(str.split, lines)
        if name.startswith("order")
    }
    assert len(blocks) == 4
    for path in (elf, kdump):
        answer = pagedbg(
            *("-c", path, "-e", "status --format jsonl"),
            *("-e", "owners --module pagedbg_blocks --format jsonl"),
        )
        assert (answer.status, answer.stderr) == (0, ""), path
        status, *rows = map(json.loads, answer.stdout.splitlines())
        assert status["release"] == release
        assert {(row["order"], row["pfn"]) for row in rows} >= blocks, path
