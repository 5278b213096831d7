# SPDX-License-Identifier: GPL-2.0-or-later
"""
Events of page_owner as they happen: recorded in the kernel, drained into a directory,
read again.
"""
