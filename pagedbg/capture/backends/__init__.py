# SPDX-License-Identifier: GPL-2.0-or-later
"""What records events in the kernel: BPF programs, or a module."""
