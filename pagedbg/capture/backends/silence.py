# SPDX-License-Identifier: GPL-2.0-or-later
"""
Whether what is attached sees anything: its probes may be switched off in the kernel,
and then nothing is counted as missed.
"""

from __future__ import annotations

from pagedbg.target.switches import FTRACE, KPROBES, WAYS_OUT, is_off

# By how it is attached (:mod:`pagedbg.capture.backends.bpf`,
# :mod:`pagedbg.capture.backends.kmod`), what each way needs to be on. The others are
# tracepoints.
_NEEDS = {
    "trampoline": (FTRACE,),
    "kprobe": (FTRACE, KPROBES),
    "module": (FTRACE, KPROBES),
}

_SAID = {FTRACE: "kernel.ftrace_enabled is 0", KPROBES: f"{KPROBES} is 0"}


def silenced(attach: str) -> str | None:
    """
    Say why nothing is recorded at present by what is attached.

    :param attach: how it is, as in a capture's ``meta.json``
    :return: a sentence without its full stop, with a way out; None if nothing is known
        to be in the way
    """
    off = [switch for switch in _NEEDS.get(attach, ()) if is_off(switch)]
    if not off:
        return None
    return (
        f"{' and '.join(_SAID[switch] for switch in off)}, so that no event is seen:"
        f" {'; '.join(WAYS_OUT[switch] for switch in off)}"
    )
