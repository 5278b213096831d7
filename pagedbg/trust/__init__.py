# SPDX-License-Identifier: GPL-2.0-or-later
"""
Whom pagedbg trusts: as root, only root. Every file that is executed or loaded, every
program and every Python that is started, and every place that something is kept in is
had from here.

Root may stand in a directory of somebody else, with an environment of somebody else
(``sudo -E``). So a file is taken only if root owns it and every directory on its way,
links included, and nobody else may write to them; and what is started gets an
environment of ours. Who is not root trusts his own environment: it can do nothing that
he could not.

This is imported before anything else is, when Python may still look for modules in
places that are not to be trusted: beside its own files it imports only what Python has
loaded by then.
"""

from __future__ import annotations

from pagedbg.trust.files import (
    Untrusted,
    cache_directory,
    check,
    config_directory,
    is_trusted,
    open_private,
    read,
    state_directory,
)
from pagedbg.trust.programs import (
    NoCurrentDirectory,
    chosen_environment,
    environment,
    isolate,
    program,
    python,
    search_path,
)

__all__ = (
    "NoCurrentDirectory",
    "Untrusted",
    "cache_directory",
    "check",
    "chosen_environment",
    "config_directory",
    "environment",
    "is_trusted",
    "isolate",
    "open_private",
    "program",
    "python",
    "read",
    "search_path",
    "state_directory",
)
