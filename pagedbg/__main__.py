# SPDX-License-Identifier: GPL-2.0-or-later
"""
The program: what is installed as ``pagedbg``, and ``python -m pagedbg``.

Ctrl-C ends it without a word until :func:`pagedbg.cli.main` says otherwise: while
Python imports, it would say in a traceback where it was.
"""

# Not signal, which is a file that Python would look for in the current directory, too,
# before isolate() was called.
import _signal  # type: ignore[import-not-found]
import gc
import sys

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

from pagedbg.trust import isolate


def main() -> int:
    """
    Run pagedbg and return the exit status; as root in a Python that imports nothing of
    somebody else's.
    """
    # Python that starts again would take a Ctrl-C before this file does. It is kept
    # until then.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGINT})
    isolate()
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {_signal.SIGINT})
    # What is made until a kernel is open stays: none of it is looked through for
    # garbage.
    gc.disable()
    # What is imported from here on is root's, too.
    from pagedbg.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
