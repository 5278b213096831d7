# SPDX-License-Identifier: GPL-2.0-or-later
"""What was recording in a dump, and what its rings still hold."""
