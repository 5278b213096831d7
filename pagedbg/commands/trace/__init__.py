# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands that record and show events."""
