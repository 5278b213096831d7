# SPDX-License-Identifier: GPL-2.0-or-later
"""What tracing needs of the running kernel, and of this machine."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pagedbg import trust
from pagedbg.sources.probes import Probes
from pagedbg.target.switches import FTRACE, KPROBES, Switch, is_off

if TYPE_CHECKING:
    from pagedbg.target.target import Target

__all__ = ("TRACING_PROBES",)

TRACING_PROBES = Probes()


@TRACING_PROBES.add(
    "root", cost="kernel memory cannot be read", remedy="sudo pagedbg", only_live=True
)
def _root(target: Target) -> tuple[bool, str]:
    return os.geteuid() == 0, f"uid {os.geteuid()}"


@TRACING_PROBES.add(
    "not locked down",
    cost="kernel memory, BPF and modules are closed",
    remedy="Boot without lockdown=, or with Secure Boot off",
    only_live=True,
)
def _lockdown(target: Target) -> tuple[bool, str]:
    path = Path("/sys/kernel/security/lockdown")
    mode = re.search(r"\[(\w+)\]", path.read_text()) if path.exists() else None
    return mode is None or mode[1] == "none", (
        f"lockdown={mode[1]}" if mode else "no lockdown in this kernel"
    )


@TRACING_PROBES.add(
    "kprobes",
    cost="no tracing with a kernel module",
    remedy="Build the kernel with CONFIG_KPROBES=y",
    only_live=True,
)
def _kprobes(target: Target) -> tuple[bool, str]:
    return (
        (True, "CONFIG_KPROBES=y")
        if target.has_symbol("register_kprobe")
        else (False, "this kernel has no kprobes")
    )


@TRACING_PROBES.add(
    "tracepoints",
    cost="nothing is recorded where page_owner is off",
    remedy="Build the kernel with CONFIG_TRACEPOINTS=y",
    only_live=True,
)
def _tracepoints(target: Target) -> tuple[bool, str]:
    return (
        (True, "kmem:mm_page_alloc and kmem:mm_page_free")
        if target.has_symbol("__traceiter_mm_page_alloc")
        else (False, "this kernel has none of allocations")
    )


@TRACING_PROBES.add(
    "ftrace on",
    cost="only tracepoints see anything: trace start --attach tracepoint",
    remedy=FTRACE.way_out,
    only_live=True,
)
def _ftrace_on(target: Target) -> tuple[bool, str]:
    return _switched_on(FTRACE)


@TRACING_PROBES.add(
    "kprobes on",
    cost="the kernel module and kprobes of BPF see nothing",
    remedy=KPROBES.way_out,
    only_live=True,
)
def _kprobes_on(target: Target) -> tuple[bool, str]:
    return _switched_on(KPROBES)


def _switched_on(switch: Switch) -> tuple[bool, str]:
    return (False, switch.off) if is_off(switch) else (True, "not switched off")


@TRACING_PROBES.add(
    "BPF",
    cost="no tracing with BPF",
    remedy="Build the kernel with CONFIG_BPF_SYSCALL=y and CONFIG_BPF_EVENTS=y",
    only_live=True,
)
def _bpf(target: Target) -> tuple[bool, str]:
    return (
        (True, "CONFIG_BPF_EVENTS=y")
        if target.has_symbol("bpf_trace_run1")
        else (False, "this kernel has no BPF tracing")
    )


@TRACING_PROBES.add(
    "bcc",
    cost="no tracing with BPF",
    remedy="apt install python3-bpfcc (the bcc on PyPI is something else)",
    only_live=True,
)
def _bcc(target: Target) -> tuple[bool, str]:
    # bcc is looked for and not imported: that loads all of LLVM.
    found = importlib.util.find_spec("bcc")
    real = found is not None and any(
        (Path(place) / "libbcc.py").exists()
        for place in found.submodule_search_locations or ()
    )
    return (
        real,
        (
            "installed"
            if real
            else (
                "not installed"
                if found is None
                else "another package of that name is installed"
            )
        ),
    )


@TRACING_PROBES.add(
    "kernel headers",
    cost="the kernel module cannot be built",
    remedy=(
        "apt install linux-headers-$(uname -r), or your distribution's package of that"
        " name"
    ),
    only_live=True,
)
def _headers(target: Target) -> tuple[bool, str]:
    build = Path("/lib/modules", os.uname().release, "build")
    return (build / "Makefile").exists(), (
        str(build) if build.exists() else f"{build} is not there"
    )


@TRACING_PROBES.add(
    "compiler",
    cost="the kernel module cannot be built",
    remedy="apt install build-essential",
    only_live=True,
)
def _compiler(target: Target) -> tuple[bool, str]:
    missing = [tool for tool in ("gcc", "make") if trust.program(tool) is None]
    return (
        not missing,
        f"{' and '.join(missing)} not found" if missing else "gcc and make",
    )
