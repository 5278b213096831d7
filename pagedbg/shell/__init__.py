# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a command is: the list of them, their options, parser and failures; completion, and
the prompt.
"""
