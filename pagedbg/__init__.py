# SPDX-License-Identifier: GPL-2.0-or-later
"""
Who holds these pages, since when, from which call path: on the running kernel or in a
dump.
"""

__version__ = "0.1.0"
