# SPDX-License-Identifier: GPL-2.0-or-later
"""What a command needs of the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pagedbg.errors import PagedbgError
from pagedbg.session import Session
from pagedbg.sources.capabilities import capabilities_of


def require(session: Session, *needs: str) -> None:
    """
    Check that the target has some capabilities.

    :raises PagedbgError: if one is missing: what it is, and how to get it
    """
    if not needs:
        return
    capabilities: Mapping[str, Any] = capabilities_of(session.target)
    for need in needs:
        capability = capabilities.get(need)
        if capability is None:
            is_ = "a dump" if session.target.guest is None else "seen from outside"
            raise PagedbgError(
                f"{session.target.name} is {is_}: this needs the kernel that"
                " pagedbg itself runs on."
            )
        if not capability.state:
            said = ". ".join(
                part.rstrip(".")
                for part in (f"needs {need}: {capability.detail}", capability.remedy)
                if part
            )
            raise PagedbgError(f"{said}.")
