# SPDX-License-Identifier: GPL-2.0-or-later
"""
The option that leaves names out of what is kept, and its key; and that by which what is
kept without names is asked for some.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pagedbg.analysis.stand_ins import StandIns
from pagedbg.errors import UsageError
from pagedbg.schema.filter_words import NamePatterns
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

ASK_REDACTED = argument(
    "--redact",
    metavar="KEYFILE",
    type=Path,
    help=(
        "the lake has stand-ins, made with the key in a file: look for those of the"
        " names that --comm and --memcg give"
    ),
)

# What the names are that may be asked for, each by the option that takes it.
_ASKED = {"comm": "process", "memcg": "path"}


def ask_for_stand_ins(args: argparse.Namespace) -> None:
    """
    Where ``--redact`` is given, have the filters ask for what stands for their names.

    :raises UsageError: if there is no name, or what may be many
    """
    if args.redact is None:
        return
    names = StandIns(read_key(args.redact))
    given = [option for option in _ASKED if getattr(args, option) is not None]
    if not given:
        raise UsageError("--redact: there is no name; give --comm or --memcg")
    for option in given:
        asked: NamePatterns = getattr(args, option)
        for name in asked.patterns:
            if any(letter in name for letter in "*?["):
                raise UsageError(
                    f"--{option}: with --redact {name!r} matches nothing; give names as"
                    " they are"
                )
        said = tuple(names.stand_in(_ASKED[option], name) for name in asked.patterns)
        setattr(args, option, NamePatterns(said))
