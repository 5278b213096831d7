# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user may call something: an alias, or a query that is saved."""

import re

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def could_be_name(text: str) -> bool:
    """Whether a text may be such a name."""
    return _NAME.fullmatch(text) is not None
