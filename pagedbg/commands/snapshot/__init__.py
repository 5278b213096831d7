# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands that keep what a kernel's memory was like, for another day."""
