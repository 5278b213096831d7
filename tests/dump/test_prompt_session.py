# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole session at the prompt, on a dump and in a real terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from known import ORDINARY

PROMPT = "pagedbg>"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[pexpect.spawn[str]]:
    """pagedbg at its prompt."""
    environment = {
        **os.environ,
        "TERM": "xterm",
        "XDG_STATE_HOME": str(tmp_path),
        "PROMPT_TOOLKIT_NO_CPR": "1",
        "PAGER": "cat",
    }
    command = ["-m", "pagedbg", "-c", str(ORDINARY)]
    child = pexpect.spawn(
        sys.executable,
        command,
        env=environment,
        dimensions=(40, 120),
        encoding="utf-8",
        timeout=60,
        cwd=tmp_path,
    )
    child.expect_exact(ORDINARY.name)
    child.expect_exact(PROMPT)
    yield child
    child.close(force=True)


def test_from_the_first_look_to_one_page(
    terminal: pexpect.spawn[str], tmp_path: Path
) -> None:
    terminal.sendline("owners --orders 9 --module pagedbg_blocks --by function")
    terminal.expect(r"pagedbg_alloc_order9 +1 +512 +2\.0 MiB")
    terminal.expect_exact(PROMPT)
    # A pipe and a file are the shell's.
    terminal.sendline("owners --by order | head -1")
    terminal.expect(r"order +blocks +pages +bytes +share")
    terminal.expect_exact(PROMPT)
    terminal.sendline("owners --orders 9 --format jsonl > blocks")
    terminal.expect_exact(PROMPT)
    terminal.sendline("!wc -l blocks")
    terminal.expect(r"\d+ blocks\r\n")
    terminal.expect_exact(PROMPT)
    # What is mistyped costs nothing but a sentence.
    terminal.sendline("owners --orders x")
    terminal.expect_exact("names no orders")
    terminal.expect_exact(PROMPT)
    terminal.sendeof()
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 0
    assert (tmp_path / "blocks").read_text().count("\n") == 3


def test_tab_offers_the_zones_and_the_flags_of_this_kernel(
    terminal: pexpect.spawn[str],
) -> None:
    terminal.send("owners --zone DMA\t")
    terminal.expect_exact("DMA32")
    terminal.sendcontrol("u")
    terminal.send("owners --gfp __GFP_RECL\t")
    terminal.expect_exact("__GFP_RECLAIMABLE")
    terminal.sendcontrol("u")
    terminal.send("owners --comm tai\t")
    # Drawn at once, or the last letter after the cursor was moved.
    terminal.expect(r"tai(?:\x1b\[\??[0-9;]*[A-Za-z])*l")


def test_what_this_kernel_does_not_have_is_marked_while_it_is_typed(
    terminal: pexpect.spawn[str],
) -> None:
    terminal.send("owners --zone Nromal --top")
    # Underlined, once the zones are known.
    terminal.expect(r"\x1b\[[0-9;]*;4mNromal")
