# SPDX-License-Identifier: GPL-2.0-or-later
"""What tells a machine from others is what systemd makes of its machine id."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pagedbg.capture.machine_identity import APPLICATION, machine_identity


@pytest.mark.once
@pytest.mark.skipif(
    shutil.which("systemd-id128") is None or machine_identity() is None,
    reason="without systemd's tool, or a machine id",
)
def test_it_is_what_systemd_says() -> None:
    said = subprocess.run(
        ["systemd-id128", "machine-id", f"--app-specific={APPLICATION}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert machine_identity() == said.stdout.strip()


@pytest.mark.parametrize("text", ["", "uninitialized\n", "0" * 31, "\udcff" * 32])
def test_there_is_none_without_a_machine_id(tmp_path: Path, text: str) -> None:
    file = tmp_path / "machine-id"
    file.write_text(text, errors="surrogateescape")
    assert machine_identity(file) is None
    assert machine_identity(tmp_path / "none") is None
