# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel that is looked at: running or dumped, with or without debug info."""

# What drgn calls our finders of symbols, types and variables.
FINDER = "pagedbg"
