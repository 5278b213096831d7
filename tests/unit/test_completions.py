# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``make install`` has bash, zsh and fish complete: keys typed in real shells."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

# Shells and shtab are there where pagedbg is developed.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]

SHELLS = {
    "bash": ["--noprofile", "--norc", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "--private", "-i"],
}

# Each finds the completion where it lies when Tab is pressed. Its prompt is READY.
START = {
    "bash": ". /usr/share/bash-completion/bash_completion; PS1=REA''DY",
    "zsh": (
        "fpath=($SHARE/zsh/site-functions $fpath); autoload -U compinit; compinit -D;"
        " PS1=REA''DY"
    ),
    "fish": (
        "set fish_complete_path $SHARE/fish/vendor_completions.d;"
        " function fish_prompt; echo REA''DY; end"
    ),
}

# What is typed before Tab, and the words that it has become.
TYPED = {
    "pagedbg own": "owners",
    "pagedbg trace fol": "trace follow",
    "pagedbg -c core trace show --ev": "-c core trace show --events",
    "pagedbg --sample owners --no-st": "--sample owners --no-stack",
    "pagedbg owners --by mod": "owners --by module",
    "pagedbg owners --by module,fun": "owners --by module,function",
    "pagedbg owners --format mark": "owners --format markdown",
    "pagedbg owners --state fre": "owners --state freed",
    "pagedbg record --events reset,mig": "record --events reset,migrate",
    "pagedbg --format mark": "--format markdown",
    "pagedbg inspect phy": "inspect phys",
    "pagedbg set tim": "set timing",
    "pagedbg help corr": "help correlate",
    "pagedbg sql --schema page_r": "sql --schema page_runs",
    "pagedbg -c vmc": "-c vmcore",
    "pagedbg owners -o vmc": "owners -o vmcore",
    "pagedbg diff vmc": "diff vmcore",
    "pagedbg trace load vm": "trace load vm-captures",
}


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands for /usr/local/share."""
    made = tmp_path_factory.mktemp("share")
    subprocess.run([sys.executable, ROOT / "contrib/completions", made], check=True)
    return made


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes(shell: str, share: Path, tmp_path: Path) -> None:
    # In place of pagedbg, what says with which words it was called.
    program = tmp_path / "bin/pagedbg"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nprintf '<%s>' \"$@\" END\n")
    program.chmod(0o755)
    (tmp_path / "vmcore").touch()
    (tmp_path / "vm-captures").mkdir()
    environment = {
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "SHARE": str(share),
        "TERM": "dumb" if shell == "bash" else "xterm",
        "XDG_DATA_DIRS": f"{share}:/usr/share",
    }
    terminal = pexpect.spawn(
        shell,
        SHELLS[shell],
        cwd=tmp_path,
        env=environment,
        encoding="utf-8",
        timeout=60,
        dimensions=(50, 200),
    )
    terminal.sendline(START[shell])
    for typed, words in TYPED.items():
        terminal.expect_exact("READY")
        terminal.send(f"{typed}\t\r")
        # Nothing but the program writes that; a directory may end with a slash.
        terminal.expect(r"((?:<[^<>]*>)+)<END>")
        said = terminal.match.group(1).replace("/>", ">")
        assert said == "".join(f"<{word}>" for word in words.split()), typed
    terminal.close(force=True)
