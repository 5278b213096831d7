# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands, one file for one command, and nothing else."""
