# SPDX-License-Identifier: GPL-2.0-or-later
"""The option that leaves names out of what is kept, and its key."""

from __future__ import annotations

from pathlib import Path

from pagedbg.errors import UsageError
from pagedbg.shell.command import argument

# Bytes: what has fewer can be guessed, and what has more is no key.
_LEAST, _MOST = 16, 1 << 12


def read_key(path: Path) -> bytes:
    """
    Read the key of ``--redact``.

    :raises UsageError: if it is none
    """
    try:
        with path.open("rb") as file:
            key = file.read(_MOST + 1).strip()
    except OSError as error:
        raise UsageError(
            f"the key {path} cannot be read: {error.strerror or error}"
        ) from None
    if not _LEAST <= len(key) <= _MOST:
        raise UsageError(
            f"{path} holds no key: {_LEAST} bytes to {_MOST:,}, which nobody can guess,"
            " are one; openssl rand -hex 32 writes some"
        )
    return key


REDACT = argument(
    "--redact",
    metavar="KEYFILE",
    type=Path,
    help=(
        "leave out names of processes, paths, hosts and addresses; their stand-ins are"
        " made with the key in a file"
    ),
)
