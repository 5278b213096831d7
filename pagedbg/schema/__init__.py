# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a row is: relations and their columns, filter words, what is recorded, and tables.
It knows no kernel and no screen.
"""
