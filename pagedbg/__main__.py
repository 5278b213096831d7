# SPDX-License-Identifier: GPL-2.0-or-later
"""
The program: what is installed as ``pagedbg``, and ``python -m pagedbg``.

Ctrl-C ends it without a word until :func:`pagedbg.cli.main` says otherwise: while Python imports, it would say in a traceback where it was.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys

from pagedbg.cli import main

__all__ = ("main",)

if __name__ == "__main__":
    sys.exit(main())
