# SPDX-License-Identifier: GPL-2.0-or-later
"""
A recorder in dumps that makedumpfile has filtered as hard as can be: this machine's,
and that of a newer Debian, which loses no pages of slabs.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from booted import PAGEDBG, PATIENCE, boot, dump, pagedbg
from roots import make, packages, run

from pagedbg.mm.lost_slabs import LOST_SLABS, slabs_are_lost
from pagedbg.target.opening import open_target

pytestmark = pytest.mark.rare

SUITE = "trixie"
PACKAGES = ("makedumpfile", "liblzo2-2")
LEVEL = 31

BLOCKS = 20
SCRIPT = f"""
trace set --orders 3 --comm sh
trace start --flight --backend bpf
!echo alloc 3 {BLOCKS} >/proc/pagedbg_churn
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dump, with all pages, of a guest with a flight recorder."""
    out = tmp_path_factory.mktemp("flight")
    with boot("6.12", "filtered", memory="512M") as machine:
        machine.load_churn()
        machine.run([PAGEDBG, "--no-pager"], stdin=SCRIPT.encode()).check()
        dump.dump(machine.guest, out / "vmcore", raw=out / "whole", timeout=PATIENCE)
    return out / "whole"


def recorded(core: Path) -> list[dict[str, Any]]:
    """The events in the rings of the dump's only recorder."""
    shown = pagedbg("-c", core, "trace", "show", "--format", "jsonl")
    assert shown.status == 0, shown.stderr
    return [json.loads(line) for line in shown.stdout.splitlines()]


def test_a_newer_one_loses_nothing_of_a_recorder(whole: Path, tmp_path: Path) -> None:
    root = make(SUITE, say=print)
    layers = [packages(SUITE, PACKAGES, say=print)]
    command = ["makedumpfile", "-F", "-c", "-d", str(LEVEL), f"/srv/{whole.name}"]
    flat, core = tmp_path / "flat", tmp_path / "vmcore"
    with flat.open("wb") as file:
        binds = {"/srv": whole.parent}
        run(root, command, layers=layers, binds=binds, stdout=file, check=True)
    with flat.open("rb") as file:
        subprocess.run(["makedumpfile", "-R", core], stdin=file, check=True)
    assert not slabs_are_lost(open_target(str(core)).prog)
    events = recorded(core)
    assert events == recorded(whole)
    assert [row["event"] for row in events].count("set") >= BLOCKS
    doctor = pagedbg("-c", core, "doctor", "--format", "json")
    assert doctor.status == 0, doctor.stderr
    assert LOST_SLABS not in doctor.stdout


def test_of_an_older_one_it_is_said_what_is_lost(whole: Path, tmp_path: Path) -> None:
    core = tmp_path / "vmcore"
    dump.filter_dump(whole, core, level=LEVEL)
    if not slabs_are_lost(open_target(str(core)).prog):
        pytest.skip("this machine's makedumpfile is a newer one")
    told = pagedbg("-c", core, "-e", "doctor --format json", "-e", "trace recover")
    assert told.status == 0, told.stderr
    assert LOST_SLABS in told.stdout
    # Maps are looked for by their names where their index is lost.
    assert recorded(core) == recorded(whole)
