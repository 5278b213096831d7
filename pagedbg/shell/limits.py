# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes and spans of time as they are typed."""

from __future__ import annotations

import re

from pagedbg.errors import UsageError
from pagedbg.schema.filter_words import duration

_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def parse_size(text: str) -> int:
    """``64M`` in bytes; at least what a few hundred events need."""
    match = re.fullmatch(r"(\d+)([kmg]?)b?", text.lower())
    if not match:
        raise UsageError(f"{text!r} is no size; write 64M or 1G")
    size = int(match[1]) * _SIZES[match[2]]
    if size < 64 << 10:
        raise UsageError(f"{text!r} is too small for anything; write 64M or 1G")
    return size


def parse_duration(text: str) -> float:
    """``30s`` in seconds."""
    seconds = duration(text) / 1e9
    if seconds <= 0:
        raise UsageError(f"{text!r} is no time; write 30s, 5m or 2h")
    return seconds


def parse_seconds(text: str) -> float:
    """``2`` or ``0.5``: how long to wait before a screen is drawn again."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.1 <= seconds <= 86400:
        raise UsageError(f"{text!r} is no number of seconds from 0.1 to a day; write 2")
    return seconds
