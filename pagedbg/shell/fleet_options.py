# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands take that ask a fleet."""

from __future__ import annotations

from pathlib import Path

from drgn.commands import argument

LAKE = argument(
    "lake",
    metavar="LAKE",
    type=Path,
    help="the directory that fleet add has filled",
)
