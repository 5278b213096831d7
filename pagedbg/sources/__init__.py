# SPDX-License-Identifier: GPL-2.0-or-later
"""
Relations out of a kernel or a capture, the names of what is in them, and what a kernel
offers.
"""
