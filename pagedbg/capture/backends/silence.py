# SPDX-License-Identifier: GPL-2.0-or-later
"""
Whether what is attached sees anything: its probes may be switched off in the kernel,
and then nothing is counted as missed.
"""

from __future__ import annotations

from pagedbg.target.switches import SWITCHES, is_off


def silenced(attach: str) -> str | None:
    """
    Say why nothing is recorded at present by what is attached.

    :param attach: how it is, as in a capture's ``meta.json``
    :return: a sentence without its full stop, with a way out; None if nothing is known
        to be in the way
    """
    off = [each for each in SWITCHES if attach in each.silences and is_off(each)]
    if not off:
        return None
    return (
        f"{' and '.join(switch.off for switch in off)}, so that no event is seen:"
        f" {'; '.join(switch.way_out for switch in off)}"
    )
