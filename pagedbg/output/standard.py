# SPDX-License-Identifier: GPL-2.0-or-later
"""
Standard input, output and error of the process: there, whatever the caller has closed,
printable, and written out at the end.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from pagedbg.output.printable import printed, raw

__all__ = ("finish", "standard_streams")

# Nothing is read, writing output fails as it does on a closed descriptor, and errors
# are lost.
_INSTEAD = (
    ("stdin", "r", os.O_RDONLY),
    ("stdout", "w", os.O_RDONLY),
    ("stderr", "w", os.O_WRONLY),
)


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """
    Have all three for the time of a block, and text for people printable.

    A descriptor that is closed must be opened first of all: the next file would get its
    number, and our output.
    """
    for number, (name, mode, flags) in enumerate(_INSTEAD):
        try:
            os.fstat(number)
        except OSError:
            # It gets the lowest number that is free.
            os.set_inheritable(os.open(os.devnull, flags), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - it stays open
    # A task may be named in bytes that are no text at all, and so may be a file in a
    # script.
    _have_errors_as(sys.stdin, "surrogateescape")
    _have_errors_as(sys.stdout, "backslashreplace")
    with (
        contextlib.redirect_stdout(printed(sys.stdout)),
        contextlib.redirect_stderr(printed(sys.stderr, unheard=True)),
    ):
        yield


def _have_errors_as(stream: TextIO, errors: str) -> None:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=errors)


def finish(status: int) -> int:
    """
    Write what is left and return the exit status; if that fails keep Python from
    trying, and complaining, once more at its end.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop(1)
        if isinstance(error, BrokenPipeError):
            status = 141
        elif not status:
            print(f"pagedbg: standard output: {error.strerror}", file=sys.stderr)
            status = 1
    try:
        raw(sys.stderr).flush()
    except OSError:
        _drop(2)
    return status


def _drop(number: int) -> None:
    """Have what is still to be written go nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
