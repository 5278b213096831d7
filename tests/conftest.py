# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tests share."""

from hypothesis import settings

# How long an example takes says more about the machine, which may be building kernels, than about the code.
settings.register_profile("pagedbg", deadline=None)
settings.load_profile("pagedbg")
