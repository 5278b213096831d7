# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands that ask many hosts at once, whose snapshots are in a lake."""
