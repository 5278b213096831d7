# SPDX-License-Identifier: GPL-2.0-or-later
"""
The program: what is installed as ``pagedbg``, and ``python -m pagedbg``.

Ctrl-C ends it without a word until :func:`pagedbg.cli.main` says otherwise: while Python imports, it would say in a traceback where it was.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys

from pagedbg.trust import isolate


def main() -> int:
    """Run pagedbg and return the exit status; as root in a Python that imports nothing of somebody else's."""
    isolate()
    # What is imported from here on is root's, too.
    from pagedbg.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
