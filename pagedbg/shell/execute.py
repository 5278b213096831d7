# SPDX-License-Identifier: GPL-2.0-or-later
"""Running one line of a prompt or a script."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from pagedbg.errors import PagedbgError
from pagedbg.output import pager
from pagedbg.output.interrupt import Interrupts
from pagedbg.output.paragraphs import fitted
from pagedbg.session import Session
from pagedbg.shell.aliases import expanded
from pagedbg.shell.command import NAMESPACE
from pagedbg.shell.failures import exit_status


class Leave(SystemExit):
    """
    Raised by ``exit``: a SystemExit, so that nothing on the way takes it for an error.
    """


def execute(session: Session, line: str, where: str = "") -> int:
    """
    Run one line of a prompt or a script and return its exit status; errors go to
    standard error.

    An empty line and a ``# comment`` do nothing, ``!command`` is the shell's: so the
    line must be what somebody wrote as a line (see
    :mod:`pagedbg.output.lines`).

    :param where: Put before an error: the file and line that it comes from.
    """
    line = line.strip(" \t\r\n")
    if not line or line.startswith("#"):
        return 0
    if line.startswith("!"):
        sys.stdout.flush()
        with Interrupts():
            return subprocess.call(
                line[1:].strip() or os.environ.get("SHELL", "sh"), shell=True
            )
    start = time.monotonic()
    try:
        NAMESPACE.run(session.prog, expanded(session, line))
    except PagedbgError as error:
        if not isinstance(error, pager.PipelineError):
            print(fitted(where + str(error), sys.stderr), file=sys.stderr)
        return exit_status(error)
    finally:
        if session.settings.timing:
            print(f"{time.monotonic() - start:.3f} s", file=sys.stderr)
    return 0
