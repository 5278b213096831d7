# SPDX-License-Identifier: GPL-2.0-or-later
"""A table as text, JSON or CSV; the pager; and what makes text safe for a terminal."""
