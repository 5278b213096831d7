# SPDX-License-Identifier: GPL-2.0-or-later
"""What tells this machine from others: made of its machine id, which stays secret."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

APPLICATION = "c51b1b7dd3d84f4b8d0c2e4f3ed7f0a6"
"""What the id is made for, so that other programs' are others."""


def machine_identity(file: Path = Path("/etc/machine-id")) -> str | None:
    """
    An id of this machine as ``systemd-id128 machine-id --app-specific`` gives it, by
    which nobody learns the machine id itself; None where there is none.
    """
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    if not re.fullmatch("[0-9a-f]{32}", text):
        return None
    key, application = bytes.fromhex(text), bytes.fromhex(APPLICATION)
    made = bytearray(hmac.digest(key, application, hashlib.sha256)[:16])
    # As a UUID of version 4.
    made[6] = made[6] & 0x0F | 0x40
    made[8] = made[8] & 0x3F | 0x80
    return made.hex()
