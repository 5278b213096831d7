# SPDX-License-Identifier: GPL-2.0-or-later
"""
drgn's own prompt and scripts, on a dump for which nobody has debug info and without a
command of pagedbg's.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from known import ORDINARY, SAMPLE, Oracle

import pagedbg
from pagedbg.errors import PagedbgError

DRGN = Path(sys.executable).with_name("drgn")
README = Path(__file__).parents[2] / "README.md"


def drgn(script: Path, *options: str, core: Path = ORDINARY) -> str:
    """What drgn prints that runs a script on a dump."""
    done = subprocess.run(
        [DRGN, "-q", *options, "-c", core, script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_script_has_types_and_variables_without_asking(
    tmp_path: Path, oracle: Oracle
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from drgn.helpers.linux import find_task, task_state_to_char\n"
        'print(prog["init_uts_ns"].name.release.string_().decode())\n'
        "print(find_task(prog, 1).comm.string_().decode())\n"
        "print(task_state_to_char(find_task(prog, 1)))\n"
        'print(prog.symbol("vfs_read").name)\n'
    )
    assert drgn(script).splitlines() == [
        oracle.release,
        "virtme-ng-init",
        "S",
        "vfs_read",
    ]


def test_the_helpers_in_the_readme_run_as_they_are_written(tmp_path: Path) -> None:
    section = README.read_text().partition("\n## From drgn\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^    >>> (?!%)(.*)$", section, re.MULTILINE)
    assert len(lines) >= 4
    script = tmp_path / "script.py"
    script.write_text("\n".join(lines) + "\n")
    trace = drgn(script, core=SAMPLE)
    assert "__alloc_pages" in trace
    assert "leaky_rx_refill" in trace


def test_nothing_is_read_before_something_is_missed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "def ours(): return sorted(n for n in sys.modules if n.startswith('pagedbg'))\n"
        "print(*ours())\n"
        "prog.type('struct page')\n"
        "print('pagedbg.target.btf' in ours())\n"
    )
    before, after = drgn(script, "--no-default-symbols").splitlines()
    assert before.split() == ["pagedbg", "pagedbg.plugin", "pagedbg.target"]
    assert after == "True"


def test_a_script_can_open_a_kernel_by_itself(oracle: Oracle) -> None:
    open_program: Any = pagedbg.open
    prog = open_program(str(ORDINARY))
    assert prog["init_uts_ns"].name.release.string_().decode() == oracle.release
    with pytest.raises(PagedbgError, match="is no dump"):
        open_program(str(README))
