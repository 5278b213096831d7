# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tests share."""

import signal

from hypothesis import settings

# How long an example takes says more about the machine, which may be building kernels, than about the code.
settings.register_profile("pagedbg", deadline=None)
settings.load_profile("pagedbg")

# A shell that starts the tests in the background has them ignore Ctrl-C, and nohup a hang-up; what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
