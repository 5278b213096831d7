# SPDX-License-Identifier: GPL-2.0-or-later
"""The process that records, and whoever starts it."""
