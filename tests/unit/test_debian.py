# SPDX-License-Identifier: GPL-2.0-or-later
"""contrib/debian: the package is of this version, and its bcc is Debian's."""

from __future__ import annotations

from pathlib import Path

import pytest

import pagedbg

# Of the checkout, whatever it runs on.
pytestmark = pytest.mark.once

PACKAGING = Path(__file__).parents[2] / "contrib/debian"


def test_the_package_has_pagedbg_s_version() -> None:
    newest, *_ = (PACKAGING / "changelog").read_text().splitlines()
    assert newest.startswith(f"pagedbg ({pagedbg.__version__}) ")


def test_it_depends_on_debian_s_bcc() -> None:
    source, binary = (PACKAGING / "control").read_text().split("\n\n")
    for field, paragraph in (("Build-Depends", source), ("Depends", binary)):
        (names,) = (
            line.removeprefix(f"{field}: ").split(", ")
            for line in paragraph.splitlines()
            if line.startswith(f"{field}: ")
        )
        assert "python3-bpfcc" in names
